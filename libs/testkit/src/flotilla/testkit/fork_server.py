"""
Starts programs of a test by forking a process that has imported what they import: a start costs a tenth of the CPU.

    python -m flotilla.testkit.fork_server FD PATH MODULE...

One server for each set of modules, which all processes of a test run share; it ends when the last of them does. A child is
like one that was started by its command: a session, an environment, a folder and standard streams of its own, and nothing
else that is open. The server is its parent, so it tells of the child's end: over a pipe that came with the request.
"""

import asyncio
import atexit
import contextlib
import fcntl
import gc
import hashlib
import importlib
import os
import runpy
import selectors
import signal
import socket
import sys
import tempfile
import uuid
from collections.abc import Generator, Mapping, Sequence
from io import BufferedReader, BufferedWriter, FileIO, TextIOWrapper
from pathlib import Path
from types import FrameType, ModuleType
from typing import Final

import msgspec
from msgspec import Struct

NOTHING: Final = Path(os.devnull)
AS_IN_IMAGES: Final = Path(__file__).with_name("as_in_images")
"""Before the path of services: what their images do not have is not there for them."""

SERVICES: Final = ("orchestrator", "local_inference", "cloud_inference", "portal", "flotilla.testkit.steered_worker")
"""The programs of a fleet, which see what their images have."""

OF_COMMANDS: Final = {"PYTHONWARNINGS": "error::ResourceWarning"}
"""What the interpreter reads as it starts, for other programs: one that leaves a file open says so on standard error."""

REQUEST_BYTES_MAX: Final = 256 * 1024
END_TIMEOUT_S: Final = 30.0
ENDED_WITH_ITS_PARENT: Final = -signal.SIGKILL
WAITING_MAX: Final = 128
"""Processes of a test run that may wait for their server to have begun."""

CONNECT_TRIES: Final = 5
READY: Final = b"ready"
RUN: Final = (
    Path(tempfile.gettempdir()) / f"flotilla-forks-{os.environ.get('PYTEST_XDIST_TESTRUNUID') or uuid.uuid4().hex}"
)
"""Where the servers of this test run are found; the last one removes it."""

_STREAMS: Final = 3
_DESCRIPTORS: Final = _STREAMS + 1


class StartRequest(Struct, frozen=True, kw_only=True):
    """
    What to start.

    Attributes:
        command: The interpreter's arguments: `-m` and a module, `-c` and a text, or the path of a program, and what follows.
        environ: The whole environment.
        cwd: The folder that it runs in.
        umask: What it takes from the modes of the files that it makes.
    """

    command: list[str]
    environ: dict[str, str]
    cwd: str
    umask: int


class ForkServer:
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
            with _alone(RUN):
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


@contextlib.contextmanager
def _alone(run: Path) -> Generator[None]:
    """Hold the lock under which servers begin and end."""
    folder = os.open(run, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


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


_servers: Final[dict[tuple[str, ...], ForkServer]] = {}
_beginning: Final[dict[tuple[str, ...], asyncio.Future[ForkServer]]] = {}


def fork_server(modules: tuple[str, ...] = SERVICES) -> ForkServer:
    """The server of this process that has imported these modules, started when it is first needed."""
    server = _servers.get(modules)
    if server is None or server.pid != os.getpid():
        of_services = modules[: len(SERVICES)] == SERVICES
        server = ForkServer(modules, {"PYTHONPATH": str(AS_IN_IMAGES)} if of_services else OF_COMMANDS)
        _servers[modules] = server
        atexit.register(server.end)
    return server


async def begun(modules: tuple[str, ...]) -> ForkServer:
    """See `fork_server`; the loop goes on while the server imports, and whoever waits for it then, in their order."""
    server = _servers.get(modules)
    if server is not None and server.pid == os.getpid():
        return server
    if modules not in _beginning:
        _beginning[modules] = asyncio.ensure_future(asyncio.to_thread(fork_server, modules))
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


def serve(descriptor: int, path: Path, modules: Sequence[str]) -> int:
    """Fork on request until nobody is connected; in a child, runs its program and gives 0 if that just ends."""
    # Whatever else the process had open that started the server.
    os.closerange(_STREAMS, descriptor)
    os.closerange(descriptor + 1, os.sysconf("SC_OPEN_MAX"))
    for module in modules:
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(f"{module}.__main__")
        importlib.import_module(module)
    gc.collect()
    gc.freeze()
    server = _Server(socket.socket(fileno=descriptor), path)
    started = server.next_child()
    return 0 if started is None else _become(*started)


class _Server:
    """Whoever is connected, and what was started for them."""

    def __init__(self, listener: socket.socket, path: Path) -> None:
        self._listener = listener
        self._listener.setblocking(False)
        self._path = path
        self._woken, self._wakes = os.pipe()
        os.set_blocking(self._wakes, False)
        os.set_blocking(self._woken, False)
        signal.signal(signal.SIGCHLD, _heard)
        signal.set_wakeup_fd(self._wakes, warn_on_full_buffer=False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._clients: dict[int, socket.socket] = {}
        self._reports: dict[int, tuple[int, int]] = {}

    def next_child(self) -> tuple[StartRequest, list[int]] | None:
        """Fork on request; returns in each child, with what it is to become, and in the server when nobody is connected."""
        while True:
            for key, _ in self._selector.select():
                if key.fd == self._woken:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._woken, 4096)
                    self._tell_of_ends()
                elif key.fd == self._listener.fileno():
                    self._accept()
                elif (child := self._answer(self._clients[key.fd])) is not None:
                    return child
            if not self._clients and self._is_last():
                return None

    def _accept(self) -> bool:
        try:
            client, _ = self._listener.accept()
        except BlockingIOError:
            return False
        client.setblocking(True)
        self._clients[client.fileno()] = client
        self._selector.register(client, selectors.EVENT_READ)
        with contextlib.suppress(ConnectionError):
            client.send(READY)
        return True

    def _answer(self, client: socket.socket) -> tuple[StartRequest, list[int]] | None:
        try:
            body, descriptors, _, _ = socket.recv_fds(client, REQUEST_BYTES_MAX, _DESCRIPTORS)
        except ConnectionError:
            body, descriptors = b"", []
        number = client.fileno()
        if not body:
            for started, (_, of) in self._reports.items():
                if of == number:
                    os.kill(started, signal.SIGKILL)
            self._selector.unregister(client)
            del self._clients[number]
            client.close()
            return None
        *streams, report = descriptors
        child = os.fork()
        if child == 0:
            self._leave_to_the_server(report)
            return msgspec.json.decode(body, type=StartRequest), streams
        for stream in streams:
            os.close(stream)
        self._reports[child] = report, number
        with contextlib.suppress(ConnectionError):
            client.send(str(child).encode())
        return None

    def _leave_to_the_server(self, report: int) -> None:
        """In a child: nothing of the server's is open any more."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._selector.close()
        self._listener.close()
        for client in self._clients.values():
            client.close()
        for mine in (self._woken, self._wakes, report, *(report for report, _ in self._reports.values())):
            os.close(mine)

    def _tell_of_ends(self) -> None:
        while self._reports:
            child, status = os.waitpid(-1, os.WNOHANG)
            if child == 0:
                return
            report, _ = self._reports.pop(child)
            with contextlib.suppress(BrokenPipeError):
                os.write(report, str(os.waitstatus_to_exitcode(status)).encode())
            os.close(report)

    def _is_last(self) -> bool:
        with _alone(self._path.parent):
            if self._accept():
                return False
            self._path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # other servers are in there
                self._path.parent.rmdir()
            return True


def _heard(_number: int, _frame: FrameType | None) -> None:
    """A signal that is handled wakes the server; one that is ignored does not."""


def _become(request: StartRequest, streams: Sequence[int]) -> int:
    """Run a program as the interpreter would; leaves by SystemExit as a rule."""
    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request.cwd)
    os.umask(request.umask)
    os.environ.clear()
    os.environ.update(request.environ)
    _open_streams()
    kind, *arguments = request.command
    if kind == "-m":
        sys.argv = arguments
        sys.path[0] = request.cwd
        # It is run under the name `__main__`, and must not be there already.
        sys.modules.pop(f"{arguments[0]}.__main__", None)
        if not hasattr(sys.modules.get(arguments[0]), "__path__"):
            sys.modules.pop(arguments[0], None)
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
        return 0
    main = sys.modules["__main__"] = ModuleType("__main__")
    if kind == "-c":
        sys.argv = ["-c", *arguments[1:]]
        sys.path[0] = ""
        text, name = arguments[0], "<string>"
    else:
        sys.argv = request.command
        sys.path[0] = str(Path(kind).parent)
        text, name = Path(kind).read_text(encoding="utf-8"), kind
        main.__file__ = kind
    exec(compile(text, name, "exec"), main.__dict__)  # noqa: S102  (the program of a test)
    return 0


def _open_streams() -> None:
    """Open what Python opens at its start, buffered as it would be; the server's own were made for other files."""
    sys.stdin = sys.__stdin__ = TextIOWrapper(BufferedReader(FileIO(0, closefd=False)), "utf-8", "surrogateescape")
    sys.stdout = sys.__stdout__ = _writing(1, "surrogateescape", by_lines=False)
    sys.stderr = sys.__stderr__ = _writing(2, "backslashreplace", by_lines=True)


def _writing(descriptor: int, errors: str, *, by_lines: bool) -> TextIOWrapper:
    file = BufferedWriter(FileIO(descriptor, "w", closefd=False))
    at_once = bool(os.environ.get("PYTHONUNBUFFERED"))
    return TextIOWrapper(file, "utf-8", errors, line_buffering=by_lines or file.isatty(), write_through=at_once)


if __name__ == "__main__":
    sys.exit(serve(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
