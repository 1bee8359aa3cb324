"""
Starts programs of a test by forking a process that has imported what they import: a start costs a tenth of the CPU.

    python -m flotilla.testkit.fork_server FD MODULE...

One server for each set of modules and process of the test run; it ends when that one does. A child is like one that was
started by its command: a session, an environment, a folder and standard streams of its own, and nothing else that is open.
The server is its parent, so it tells of the child's end: over a pipe that came with the request.
"""

import atexit
import contextlib
import gc
import importlib
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from io import BufferedReader, BufferedWriter, FileIO, TextIOWrapper
from pathlib import Path
from types import FrameType, ModuleType
from typing import Final

import msgspec
from msgspec import Struct

AS_IN_IMAGES: Final = Path(__file__).with_name("as_in_images")
"""Before the path of services: what their images do not have is not there for them."""

SERVICES: Final = ("orchestrator", "local_inference", "cloud_inference", "portal", "flotilla.testkit.steered_worker")
"""The programs of a fleet, which see what their images have."""

OF_COMMANDS: Final = {"PYTHONWARNINGS": "error::ResourceWarning"}
"""What the interpreter reads as it starts, for other programs: one that leaves a file open says so on standard error."""

REQUEST_BYTES_MAX: Final = 256 * 1024
END_TIMEOUT_S: Final = 30.0
ENDED_WITH_ITS_PARENT: Final = -signal.SIGKILL

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
    The test run's end: starts the server, and children through it.

    Args:
        modules: That the server imports; of a package also its `__main__`.
        environ: Beside the environment of this process.
    """

    def __init__(self, modules: Sequence[str], environ: Mapping[str, str]) -> None:
        self.pid: Final = os.getpid()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, REQUEST_BYTES_MAX)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603  (our own module)
                [sys.executable, "-m", "flotilla.testkit.fork_server", str(theirs.fileno()), *modules],
                env={**os.environ, **environ},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

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
        """End the server, which kills what it has started and has not ended."""
        self._socket.close()
        try:
            self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


_servers: Final[dict[tuple[str, ...], ForkServer]] = {}


def fork_server(modules: tuple[str, ...] = SERVICES) -> ForkServer:
    """The server of this process that has imported these modules, started when it is first needed."""
    server = _servers.get(modules)
    if server is None or server.pid != os.getpid():
        server = ForkServer(modules, {"PYTHONPATH": str(AS_IN_IMAGES)} if modules == SERVICES else OF_COMMANDS)
        _servers[modules] = server
        atexit.register(server.end)
    return server


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


def serve(descriptor: int, modules: Sequence[str]) -> int:
    """Fork on request until the other end is closed; in a child, runs its program and gives 0 if that just ends."""
    for module in modules:
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(f"{module}.__main__")
        importlib.import_module(module)
    gc.collect()
    gc.freeze()
    requests = socket.socket(fileno=descriptor)
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    os.set_blocking(woken, False)
    signal.signal(signal.SIGCHLD, _heard)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    reports: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([requests, woken], [], [])
        if woken in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(woken, 4096)
            _tell_of_ends(reports)
        if requests not in ready:
            continue
        body, descriptors, _, _ = socket.recv_fds(requests, REQUEST_BYTES_MAX, _DESCRIPTORS)
        if not body:
            for started in reports:
                os.kill(started, signal.SIGKILL)
            return 0
        *streams, report = descriptors
        child = os.fork()
        if child == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            requests.close()
            for mine in (woken, wakes, report, *reports.values()):
                os.close(mine)
            return _become(msgspec.json.decode(body, type=StartRequest), streams)
        for stream in streams:
            os.close(stream)
        reports[child] = report
        requests.send(str(child).encode())


def _heard(_number: int, _frame: FrameType | None) -> None:
    """A signal that is handled wakes the server; one that is ignored does not."""


def _tell_of_ends(reports: dict[int, int]) -> None:
    while reports:
        child, status = os.waitpid(-1, os.WNOHANG)
        if child == 0:
            return
        report = reports.pop(child)
        with contextlib.suppress(BrokenPipeError):
            os.write(report, str(os.waitstatus_to_exitcode(status)).encode())
        os.close(report)


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
    sys.exit(serve(int(sys.argv[1]), sys.argv[2:]))
