"""
Starts programs of a test by forking a process that has imported what they import: a start costs a tenth of the CPU.

    python -m flotilla.testkit.fork_server FD PATH MODULE...

One server for each set of modules, which all processes of a test run share; it ends when the last of them does. A child is
like one that was started by its command: a session, an environment, a folder and standard streams of its own, and nothing
else that is open. The server is its parent, so it tells of the child's end: over a pipe that came with the request. The test
run's end is `fork_client.py`.
"""

import contextlib
import fcntl
import gc
import importlib
import os
import runpy
import selectors
import signal
import socket
import sys
from collections.abc import Generator, Sequence
from io import BufferedReader, BufferedWriter, FileIO, TextIOWrapper
from pathlib import Path
from types import FrameType, ModuleType
from typing import Final

import msgspec
from msgspec import Struct

REQUEST_BYTES_MAX: Final = 256 * 1024
READY: Final = b"ready"
"""What the server says to whoever connects, once it has imported its modules."""

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


@contextlib.contextmanager
def alone(run: Path) -> Generator[None]:
    """Hold the lock under which servers begin and end."""
    folder = os.open(run, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


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
        with alone(self._path.parent):
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
