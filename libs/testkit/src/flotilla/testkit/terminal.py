"""A command on a terminal: a pseudo-terminal of a given size, what arrives on it, and the keys that are pressed."""

import asyncio
import os
import sys
import termios
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

from flotilla.testkit.fleet_process import clean_environ

READ_BYTES: Final = 64 * 1024
TIMEOUT_S: Final = 60.0


class Terminal:
    """
    A process whose standard streams are a terminal.

    Attributes:
        process: Its leader.
    """

    def __init__(self, process: Process, master: int) -> None:
        self.process: Final = process
        self._master: Final = master
        self._seen = bytearray()
        self._more = asyncio.Event()
        asyncio.get_running_loop().add_reader(master, self._read)

    @property
    def shown(self) -> str:
        """Everything that was written to it."""
        return self._seen.decode(errors="replace")

    def press(self, keys: str) -> None:
        """Type these keys at the terminal."""
        os.write(self._master, keys.encode())

    def is_quiet_about_keys(self) -> bool:
        """Whether what is typed is not shown and not held back until the line ends."""
        return not termios.tcgetattr(self._master)[3] & (termios.ECHO | termios.ICANON)

    async def until(self, there: Callable[[str], bool], timeout_s: float = TIMEOUT_S) -> str:
        """
        What was shown, as soon as `there` is true of it.

        Raises:
            TimeoutError: It did not become true; with what was shown instead.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while not there(self.shown):
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            raise TimeoutError(f"shown was {self.shown!r}") from None
        return self.shown

    async def ended(self, timeout_s: float = TIMEOUT_S) -> int:
        """The exit code, when all that it wrote has been read."""
        code = await asyncio.wait_for(self.process.wait(), timeout_s)
        self._read()
        return code

    def close(self) -> None:
        """Take the terminal away."""
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)

    def _read(self) -> None:
        with suppress(OSError):
            while raw := os.read(self._master, READ_BYTES):
                self._seen += raw
                self._more.set()


@asynccontextmanager
async def on_terminal(
    arguments: Sequence[str], environ: Mapping[str, str], *, columns: int = 80, rows: int = 24
) -> AsyncGenerator[Terminal]:
    """
    Run Python with these arguments on a terminal of this size, the process killed when the block ends.

    Standard output and standard error are the same terminal, as in life.
    """
    master, slave = os.openpty()
    try:
        termios.tcsetwinsize(slave, (rows, columns))
        os.set_blocking(master, False)
        size = {"COLUMNS": str(columns), "LINES": str(rows)}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=clean_environ({"TERM": "xterm-256color", **size, **environ}),
            start_new_session=True,
        )
    finally:
        os.close(slave)
    terminal = Terminal(process, master)
    try:
        yield terminal
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        terminal.close()
