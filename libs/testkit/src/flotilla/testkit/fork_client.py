"""
A test run's end of the fork server: which one starts a program, its beginning and its end.

The first process of a run that needs a server of these modules starts it; the last one that leaves ends it.
"""

import asyncio
import atexit
import contextlib
import hashlib
import os
import signal
import socket
import sys
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from flotilla.testkit.fork_server import READY, REQUEST_BYTES_MAX, StartRequest, alone

NOTHING: Final = Path(os.devnull)
AS_IN_IMAGES: Final = Path(__file__).with_name("as_in_images")
"""Before the path of services: what their images do not have is not there for them."""

SERVICES: Final = ("orchestrator", "local_inference", "cloud_inference", "portal", "flotilla.testkit.steered_worker")
"""The programs of a fleet, which see what their images have."""

OF_COMMANDS: Final = {"PYTHONWARNINGS": "error::ResourceWarning"}
"""What the interpreter reads as it starts, for other programs: one that leaves a file open says so on standard error."""

END_TIMEOUT_S: Final = 30.0
ENDED_WITH_ITS_PARENT: Final = -signal.SIGKILL
WAITING_MAX: Final = 128
"""Processes of a test run that may wait for their server to have begun."""

CONNECT_TRIES: Final = 5
RUN: Final = (
    Path(tempfile.gettempdir()) / f"flotilla-forks-{os.environ.get('PYTEST_XDIST_TESTRUNUID') or uuid.uuid4().hex}"
)
"""Where the servers of this test run are found; the last one removes it."""


class ForkClient:
    """
    The test run's end: starts children through the server, and the server if there is none yet.

    Args:
        modules: That the server imports; of a package also its `__main__`.
        environ: Beside the environment of the process that starts it.
    """

    def __init__(self, modules: Sequence[str], environ: Mapping[str, str]) -> None:
        self.pid: Final = os.getpid()
        self._socket: Final = _connect(modules, environ)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, REQUEST_BYTES_MAX)
        self._socket.recv(len(READY))  # once it has imported them

    def start(self, request: StartRequest, streams: tuple[int, int, int], report_fd: int) -> int:
        """
        Start a child with these standard streams: input, output, error; gives its process id.

        Its exit code comes as text to `report_fd`, negative when a signal ended it.

        Raises:
            OSError: The server has ended.
        """
        socket.send_fds(self._socket, [msgspec.json.encode(request)], [*streams, report_fd])
        answer = self._socket.recv(64)
        if not answer:
            raise ConnectionResetError("the fork server of the test kit has ended")
        return int(answer)

    def end(self) -> None:
        """Leave the server, which then kills what was started from here and has not ended; the last to leave ends it."""
        with self._socket, contextlib.suppress(OSError):
            self._socket.settimeout(END_TIMEOUT_S)
            self._socket.shutdown(socket.SHUT_WR)
            self._socket.recv(64)


def _connect(modules: Sequence[str], environ: Mapping[str, str]) -> socket.socket:
    """Connect to the run's server of these modules, which one process at a time may start."""
    digest = hashlib.sha256(msgspec.json.encode([modules, sorted(environ.items())])).hexdigest()
    path = RUN / digest[:16]
    for tries_left in reversed(range(CONNECT_TRIES)):
        RUN.mkdir(mode=0o700, exist_ok=True)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with alone(RUN):
                try:
                    connection.connect(str(path))
                except (ConnectionRefusedError, FileNotFoundError):
                    _begin(path, modules, environ)
                    connection.connect(str(path))
        except FileNotFoundError:
            # Another server was the last one, and has removed the folder at this moment.
            connection.close()
            if not tries_left:
                raise
            continue
        return connection
    raise AssertionError("unreachable")


def _begin(path: Path, modules: Sequence[str], environ: Mapping[str, str]) -> None:
    """Start a server; who connects waits until it has imported the modules."""
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener, NOTHING.open("rb") as nothing:
        listener.bind(str(path))
        listener.listen(WAITING_MAX)
        listener.set_inheritable(True)
        # Not as a child of `subprocess`: it may outlive the process that starts it, and nobody waits for it.
        os.posix_spawn(
            sys.executable,
            [sys.executable, "-m", "flotilla.testkit.fork_server", str(listener.fileno()), str(path), *modules],
            {**os.environ, **environ},
            file_actions=[(os.POSIX_SPAWN_DUP2, nothing.fileno(), 0)],
            setsid=True,
        )


_servers: Final[dict[tuple[str, ...], ForkClient]] = {}
_beginning: Final[dict[tuple[str, ...], asyncio.Future[ForkClient]]] = {}


def fork_client(modules: tuple[str, ...] = SERVICES) -> ForkClient:
    """The server of this process that has imported these modules, started when it is first needed."""
    server = _servers.get(modules)
    if server is None or server.pid != os.getpid():
        of_services = modules[: len(SERVICES)] == SERVICES
        server = ForkClient(modules, {"PYTHONPATH": str(AS_IN_IMAGES)} if of_services else OF_COMMANDS)
        _servers[modules] = server
        atexit.register(server.end)
    return server


async def begun(modules: tuple[str, ...]) -> ForkClient:
    """See `fork_client`; the loop goes on while the server imports, and whoever waits for it then, in their order."""
    server = _servers.get(modules)
    if server is not None and server.pid == os.getpid():
        return server
    if modules not in _beginning:
        _beginning[modules] = asyncio.ensure_future(asyncio.to_thread(fork_client, modules))
    try:
        return await asyncio.shield(_beginning[modules])
    finally:
        _beginning.pop(modules, None)


def can_fork(command: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Whether a start from the services' server is one by command: nothing is set that the interpreter reads first."""
    if len(command) > 1 and command[0] == "-m":
        fits = command[1] in SERVICES
    else:
        fits = command[0].endswith(".py") or (len(command) > 1 and command[0] == "-c")
    return fits and _of_python(environ) == _of_python({**os.environ, "PYTHONPATH": str(AS_IN_IMAGES)})


def current_umask() -> int:
    """What this process takes from the modes of the files that it makes; there is no way to ask without setting it."""
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


def _of_python(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name.startswith("PYTHON")}
