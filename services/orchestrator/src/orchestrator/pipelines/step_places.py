"""How many tasks of steps are in hand at a time."""

import asyncio
from collections import deque


class StepPlaces:
    """Places for tasks, first come, first served. A task that waits for a route leaves its place to others meanwhile."""

    def __init__(self, places_max: int) -> None:
        self._free = places_max
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        """Wait for a place and take it."""
        if self._free > 0:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()
            raise

    def enter_again(self) -> None:
        """Take a place at once, whether or not one is free: its task goes on."""
        self._free -= 1

    def leave(self) -> None:
        """Give a place to whoever waits, or back."""
        self._free += 1
        while self._free > 0 and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                self._free -= 1
                turn.set_result(None)
