"""
Starts the services of a test's fleet by forking a process that has imported them: a start costs a tenth of the CPU.

    python -m flotilla.testkit.fork_server FD

One server for each process of the test run; it ends when that one does. A child is like one that was started by its
command: a session, an environment, a folder and standard streams of its own, and nothing else that is open. The server is
its parent, so it tells of the child's end: over a pipe that came with the request.
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
from pathlib import Path
from types import FrameType
from typing import Final

import msgspec
from msgspec import Struct

AS_IN_IMAGES: Final = Path(__file__).with_name("as_in_images")
"""Before the path of services: what their images do not have is not there for them."""

PRELOADED: Final = ("orchestrator", "local_inference", "cloud_inference", "flotilla.testkit.steered_worker")
REQUEST_BYTES_MAX: Final = 256 * 1024
ENDED_WITH_ITS_PARENT: Final = -signal.SIGKILL

_DESCRIPTORS: Final = 2


class StartRequest(Struct, frozen=True, kw_only=True):
    """
    What to start.

    Attributes:
        module: As after `python -m`.
        arguments: Of the module.
        environ: The whole environment.
        cwd: The folder that it runs in.
    """

    module: str
    arguments: list[str]
    environ: dict[str, str]
    cwd: str


class ForkServer:
    """The test run's end: starts the server, and children through it."""

    def __init__(self) -> None:
        self.pid: Final = os.getpid()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, REQUEST_BYTES_MAX)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603  (our own module)
                [sys.executable, "-m", "flotilla.testkit.fork_server", str(theirs.fileno())],
                env={**os.environ, "PYTHONPATH": str(AS_IN_IMAGES)},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def start(self, request: StartRequest, output_fd: int, report_fd: int) -> int:
        """
        Start a child with its standard streams in `output_fd`; gives its process id.

        Its exit code comes as text to `report_fd`, negative when a signal ended it.

        Raises:
            OSError: The server has ended.
        """
        socket.send_fds(self._socket, [msgspec.json.encode(request)], [output_fd, report_fd])
        answer = self._socket.recv(64)
        if not answer:
            raise ConnectionResetError("the fork server of the test kit has ended")
        return int(answer)

    def end(self) -> None:
        """End the server; what it has started goes on, and counts as killed."""
        self._socket.close()
        self._process.kill()
        self._process.wait()


_servers: Final[list[ForkServer]] = []


def fork_server() -> ForkServer:
    """The server of this process, started when it is first needed."""
    if not _servers or _servers[-1].pid != os.getpid():
        _servers[:] = [ForkServer()]
        atexit.register(_servers[0].end)
    return _servers[-1]


def can_fork(command: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Whether a start by fork is the same as one by command: nothing is set that the interpreter reads as it starts."""
    return (
        len(command) > 1
        and command[0] == "-m"
        and command[1] in PRELOADED
        and _of_python(environ) == _of_python({**os.environ, "PYTHONPATH": str(AS_IN_IMAGES)})
    )


def _of_python(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name.startswith("PYTHON")}


def serve(descriptor: int) -> int:
    """Fork on request until the other end is closed; in a child, gives what its module gives."""
    for module in PRELOADED:
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(f"{module}.__main__")
        importlib.import_module(module)
        # It is run under the name `__main__` in each child, and must not be there already.
        sys.modules.pop(f"{module}.__main__", None)
    sys.modules.pop("flotilla.testkit.steered_worker", None)
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
            return 0
        output, report = descriptors
        child = os.fork()
        if child == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            requests.close()
            for mine in (woken, wakes, report, *reports.values()):
                os.close(mine)
            return _become(msgspec.json.decode(body, type=StartRequest), output)
        os.close(output)
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


def _become(request: StartRequest, output: int) -> int:
    """Run a module as `python -m` would; leaves by SystemExit as a rule."""
    os.setsid()
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.chdir(request.cwd)
    os.environ.clear()
    os.environ.update(request.environ)
    sys.argv = [request.module, *request.arguments]
    sys.path[0] = request.cwd
    runpy.run_module(request.module, run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(serve(int(sys.argv[1])))
