"""One process of a fleet under test, with the signals that an operator, a kernel or a bad day would send."""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from flotilla.contracts.providers import PROVIDERS
from flotilla.testkit.fork_client import (
    AS_IN_IMAGES,
    ENDED_WITH_ITS_PARENT,
    NOTHING,
    SERVICES,
    begun,
    can_fork,
    current_umask,
)
from flotilla.testkit.fork_server import StartRequest

LOG_TAIL_BYTES: Final = 6_000
EXIT_TIMEOUT_S: Final = 60.0
POLL_S: Final = 0.01

_OF_PROVIDERS: Final = {
    f"{name.partition('_')[0]}_"
    for provider in PROVIDERS
    for name in (provider.key, provider.address, *provider.variables)
    if name
}
_ADAPTERS: Final = {
    provider.name: f"flotilla.inference.adapters.{provider.adapter}" for provider in PROVIDERS if provider.adapter
}
_FOREIGN: Final = ("FLOTILLA_", "OTEL_", *sorted(_OF_PROVIDERS))
"""How the variables begin that a fleet or a provider reads."""


def clean_environ(given: Mapping[str, str]) -> dict[str, str]:
    """The environment of this process without any setting of a fleet or provider, and with those given."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return {**inherited, **given}


class Started(Protocol):
    """A process that was started here, as `asyncio.subprocess.Process` is one."""

    @property
    def pid(self) -> int:
        """The process id."""
        ...

    @property
    def returncode(self) -> int | None:
        """The exit code; negative is the signal that ended it, None while it runs."""
        ...

    async def wait(self) -> int:
        """The exit code, once it has ended."""
        ...


class Forked:
    """A child of the fork server, which says how it ended."""

    def __init__(self, pid: int, report_fd: int) -> None:
        self.pid: Final = pid
        self._report: int | None = report_fd
        self._returncode: int | None = None
        os.set_blocking(report_fd, False)

    @property
    def returncode(self) -> int | None:
        """See `Started`."""
        if self._report is not None:
            with contextlib.suppress(BlockingIOError):
                # Nothing, when the server itself has ended: whatever it started is not waited for any more.
                self._returncode = int(os.read(self._report, 64) or ENDED_WITH_ITS_PARENT)
                os.close(self._report)
                self._report = None
        return self._returncode

    async def wait(self) -> int:
        """See `Started`."""
        while (code := self.returncode) is None:  # noqa: ASYNC110  (its end is told through a pipe)
            await asyncio.sleep(POLL_S)
        return code


class FleetProcess:
    """
    A process, from its start to its end.

    Attributes:
        name: The instance or replica that it is; unique in its fleet.
        log: Its standard error.
    """

    def __init__(self, name: str, process: Started, log: Path) -> None:
        self.name: Final = name
        self.log: Final = log
        self._process: Final = process

    @classmethod
    async def spawn(
        cls, name: str, command: Sequence[str], environ: Mapping[str, str], log: Path, *, fork: bool = True
    ) -> "FleetProcess":
        """
        Start it, by the interpreter that runs the tests, in the log's folder.

        It finds what its image has, unless `environ` has a PYTHONPATH. A program that then begins like the services is forked
        from a process that has imported them, unless `fork` or `FLEET_FORKS=0` in the environment of the tests forbids it.
        """
        whole = clean_environ({"PYTHONPATH": str(AS_IN_IMAGES), **environ})
        with log.open("ab") as output:
            if fork and os.environ.get("FLEET_FORKS") != "0" and can_fork(command, whole):
                return cls(name, await _fork(command, whole, log.parent, output.fileno()), log)
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *command,
                env=whole,
                stdin=DEVNULL,
                stdout=output,
                stderr=output,
                cwd=log.parent,
                start_new_session=True,
            )
        return cls(name, process, log)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.returncode is None

    @property
    def returncode(self) -> int | None:
        """The exit code; negative is the signal that ended it, None while it runs."""
        return self._process.returncode

    def kill(self) -> None:
        """End it as a crash would: SIGKILL."""
        self._send(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask it to leave, as Kubernetes does: SIGTERM."""
        self._send(signal.SIGTERM)

    def freeze(self) -> None:
        """Stop it where it stands, with its connections open: SIGSTOP."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on: SIGCONT."""
        self._send(signal.SIGCONT)

    async def wait(self, timeout_s: float = EXIT_TIMEOUT_S) -> int:
        """
        The exit code, once it has ended.

        Raises:
            TimeoutError: It has not ended in time.
        """
        return await asyncio.wait_for(self._process.wait(), timeout_s)

    def log_text(self) -> str:
        """Everything that it wrote."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def log_tail(self) -> str:
        """The end of what it wrote, for a failed test's report."""
        return self.log_text()[-LOG_TAIL_BYTES:]

    def resident_bytes(self) -> int:
        """The memory that it occupies now (Linux)."""
        fields = Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def _send(self, which: signal.Signals) -> None:
        if self.is_running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, which)


async def _fork(command: Sequence[str], environ: Mapping[str, str], cwd: Path, output_fd: int) -> Forked:
    # To import a provider's SDK takes ten times the rest of a worker's start; those that need none do without its memory.
    adapter = _ADAPTERS.get(environ.get("FLOTILLA_PROVIDER", ""))
    server = await begun(SERVICES if adapter is None else (*SERVICES, adapter))
    request = StartRequest(command=[*command], environ=dict(environ), cwd=str(cwd), umask=current_umask())
    mine, theirs = os.pipe()
    try:
        with NOTHING.open("rb") as nothing:
            return Forked(server.start(request, (nothing.fileno(), output_fd, output_fd), theirs), mine)
    finally:
        os.close(theirs)
