"""The supervisor's side of the guard (`guard.py`): tells it which children live, and keeps it alive."""

import asyncio
import contextlib
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path
from typing import Final

GUARD_PROGRAM: Final = Path(__file__).with_name("guard.py")
END_TIMEOUT_S: Final = 10.0
RESPAWN_PAUSE_S: Final = 1.0


class Guardian:
    """
    Sees to it that no child outlives the supervisor, even when that is killed.

    A guard that dies is started again and told the whole list.
    """

    def __init__(self, lock_fd: int) -> None:
        self._lock_fd = lock_fd
        self._pids: dict[str, int] = {}
        self._process: Process | None = None
        self._keeping: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """The guard's process id; 0 when it does not run."""
        return 0 if self._process is None or self._process.returncode is not None else self._process.pid

    async def start(self) -> None:
        """Start the guard."""
        self._process = await self._spawn()
        self._keeping = asyncio.get_running_loop().create_task(self._keep())

    def watch(self, name: str, pid: int) -> None:
        """A child runs: end it when the supervisor goes without doing so."""
        self._pids[name] = pid
        self._tell(f"+{name} {pid}\n")

    def forget(self, name: str) -> None:
        """A child has ended: its process id may belong to somebody else soon."""
        self._pids.pop(name, None)
        self._tell(f"-{name}\n")

    async def stop(self) -> None:
        """End the guard, and with it every child still on the list; returns when it has let go of the lock."""
        if self._keeping is not None:
            self._keeping.cancel()
        process = self._process
        if process is None or process.stdin is None:
            return
        process.stdin.close()
        try:
            async with asyncio.timeout(END_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    def _tell(self, line: str) -> None:
        if self._process is not None and self._process.stdin is not None and self.pid:
            with contextlib.suppress(OSError, RuntimeError):  # it died this moment: the next one is told everything
                self._process.stdin.write(line.encode())

    async def _keep(self) -> None:
        while self._process is not None:
            await self._process.wait()
            await asyncio.sleep(RESPAWN_PAUSE_S)
            self._process = await self._spawn()
            for name, pid in self._pids.items():
                self._tell(f"+{name} {pid}\n")

    async def _spawn(self) -> Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-IS",
            str(GUARD_PROGRAM),
            stdin=PIPE,
            stdout=DEVNULL,
            stderr=DEVNULL,
            env={},
            start_new_session=True,
            pass_fds=(self._lock_fd,),
        )
