"""Places that scopes share: those who wait for one get it in turn, a scope after the other."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from orchestrator.state.shares import Shares


class Turns:
    """
    A number of places, of which one scope may hold some.

    Who finds none waits in the line of its scope; each place that becomes free goes to the next scope that waits, so a
    scope with a long line delays the others by its turns alone. How long the lines may be is for the caller to bound.
    """

    def __init__(self, *, places: int, per_scope_max: int) -> None:
        self._held: Final = Shares(total_max=places, per_scope_max=per_scope_max)
        self._free = places
        self._lines: dict[str, deque[asyncio.Future[None]]] = {}

    async def take(self, scope: str) -> None:
        """Take a place, when it is this scope's turn; to be given back."""
        if scope not in self._lines and self._enter(scope):
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(scope, deque()).append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.give_back(scope)
            raise

    def give_back(self, scope: str) -> None:
        """Give a place back: the next scope that waits, and may have one, gets it."""
        self._held.give_back(scope)
        self._free += 1
        for waiting in list(self._lines):
            if not self._free:
                return
            self._hand_on(waiting)

    @asynccontextmanager
    async def turn(self, scope: str) -> AsyncGenerator[None]:
        """A place for as long as the block runs."""
        await self.take(scope)
        try:
            yield
        finally:
            self.give_back(scope)

    def _enter(self, scope: str) -> bool:
        if not self._free or not self._held.take(scope):
            return False
        self._free -= 1
        return True

    def _hand_on(self, scope: str) -> None:
        """Let the first in a scope's line in; the scope then stands behind the others."""
        line = self._lines[scope]
        while line and line[0].done():
            line.popleft()  # cancelled meanwhile
        if line:
            if not self._enter(scope):
                return
            line.popleft().set_result(None)
        del self._lines[scope]
        if line:
            self._lines[scope] = line
