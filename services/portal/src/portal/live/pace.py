"""When the next turn is due: at once for the first thing that happens after a pause, and never more often than a bound."""

import asyncio
import contextlib
from typing import Final

GATHER_S: Final = 0.01
"""For what happens together: that a task came, and that it was given to a replica."""


class Pace:
    """Paces one loop, which waits for each of its turns; whatever happens meanwhile is told to it."""

    def __init__(self, *, turn_s_min: float, pause_s_max: float) -> None:
        """
        Pace a loop.

        Args:
            turn_s_min: From one turn to the next, at least.
            pause_s_max: After which a turn is due though nothing has happened.
        """
        self._turn_s_min: Final = turn_s_min
        self._pause_s_max: Final = pause_s_max
        self._clock_s: Final = asyncio.get_running_loop().time
        self._due_s = self._clock_s()
        self._happened: Final = asyncio.Event()

    def happened(self) -> None:
        """Something that is to be shown."""
        self._happened.set()

    async def due(self) -> None:
        """Return when the next turn is due."""
        await asyncio.sleep(self._due_s - GATHER_S - self._clock_s())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._due_s - self._turn_s_min + self._pause_s_max):
                await self._happened.wait()
        await asyncio.sleep(GATHER_S)
        self._happened.clear()
        self._due_s = self._clock_s() + self._turn_s_min
