"""
The `flotilla` command as a process: its streams, signals and exit code, at a tenth of what a start from nothing costs.

    process = await start_command("status", environ={"FLOTILLA_NATS_URL": url})
    out, err = await process.communicate()
"""

import asyncio
import os
import signal
from asyncio import ReadTransport, StreamReader, StreamReaderProtocol, StreamWriter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

from flotilla.testkit.fork_client import ENDED_WITH_ITS_PARENT, current_umask, fork_client
from flotilla.testkit.fork_server import StartRequest

COMMAND: Final = "flotilla.cli"
_OF_TASKS: Final = tuple(
    f"flotilla.cli.commands.{name}" for name in ("approvals", "ask", "blackboard", "dead", "result", "status", "submit")
)
_OF_FLEETS: Final = (
    *(f"flotilla.cli.commands.{name}" for name in ("experiment", "explain", "pipeline", "policy", "redact")),
    "flotilla.cli.prove",
    "flotilla.cli.up",
    "rich.table",
)
PRELOADED: Final = (COMMAND, *_OF_TASKS, *_OF_FLEETS)
WITH_SDKS: Final = (
    *PRELOADED,
    *(f"flotilla.inference.adapters.{name}" for name in ("anthropic_messages", "ollama_chat", "openai_chat")),
)
"""For commands that speak to providers: their SDKs take a second to import."""


class RunningCommand:
    """
    A command that was started here, with what `asyncio.subprocess.Process` has.

    Attributes:
        pid: The process id.
        returncode: The exit code; negative is the signal that ended it, None while it runs.
        stdin: What it reads; empty from the start unless one is wanted.
        stdout: What it writes.
        stderr: What it says aside.
    """

    def __init__(self, pid: int, stdin: StreamWriter, outputs: Sequence[tuple[StreamReader, ReadTransport]]) -> None:
        self.pid: Final = pid
        self.stdin: Final = stdin
        (self.stdout, self._stdout), (self.stderr, _), (ends, _) = outputs
        self.returncode: int | None = None
        self._end: Final = asyncio.get_running_loop().create_task(self._await_end(ends))

    async def wait(self) -> int:
        """The exit code, once it has ended."""
        return await asyncio.shield(self._end)

    async def communicate(self, given: bytes = b"") -> tuple[bytes, bytes]:
        """Give it all that it reads; gives all that it writes, once it has ended."""
        _, out, err = await asyncio.gather(self._give(given), self.stdout.read(), self.stderr.read())
        await self.wait()
        return out, err

    def send_signal(self, which: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, which)

    def terminate(self) -> None:
        """Ask it to leave."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def stop_reading(self) -> None:
        """Close the pipe that it writes to, as `head` does when it has enough."""
        self._stdout.close()

    async def _give(self, given: bytes) -> None:
        if given:
            with suppress(BrokenPipeError, ConnectionResetError):  # it has ended without reading all of it
                self.stdin.write(given)
                await self.stdin.drain()
        self.stdin.close()

    async def _await_end(self, ends: StreamReader) -> int:
        self.returncode = int(await ends.read() or ENDED_WITH_ITS_PARENT)
        return self.returncode


async def start_command(
    *arguments: str,
    environ: Mapping[str, str],
    stdin: bool = False,
    module: str = COMMAND,
    modules: tuple[str, ...] = PRELOADED,
) -> RunningCommand:
    """
    Start `flotilla` with these arguments and this environment alone, forked from a process that has imported it.

    Args:
        arguments: After the command's name.
        environ: Its whole environment; of the variables that the interpreter reads at its start none counts.
        stdin: Whether it is given something to read.
        module: Another program that is run with `python -m`.
        modules: That are imported already: `WITH_SDKS` where it asks providers.
    """
    request = StartRequest(
        command=["-m", module, *arguments], environ=dict(environ), cwd=str(Path.cwd()), umask=current_umask()
    )
    with ExitStack() as theirs:
        ours: list[int] = []
        given: list[int] = []
        for number in range(4):
            reads, writes = os.pipe()
            mine, its = (writes, reads) if number == 0 else (reads, writes)
            ours.append(mine)
            given.append(its)
            theirs.callback(os.close, its)
        pid = fork_client(modules).start(request, (given[0], given[1], given[2]), given[3])
    loop = asyncio.get_running_loop()
    writer = StreamReaderProtocol(StreamReader())
    transport, _ = await loop.connect_write_pipe(lambda: writer, os.fdopen(ours[0], "wb"))
    to_it = StreamWriter(transport, writer, None, loop)
    if not stdin:
        to_it.close()
    return RunningCommand(pid, to_it, [await _reading(descriptor) for descriptor in ours[1:]])


async def _reading(descriptor: int) -> tuple[StreamReader, ReadTransport]:
    reader = StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: StreamReaderProtocol(reader), os.fdopen(descriptor, "rb"))
    return reader, transport
