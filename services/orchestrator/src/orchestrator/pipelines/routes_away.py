"""Whether all that a run works on has waited for a route for long: then it is suspended, and nobody holds it."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from orchestrator.state.tasks import Task

ROUTE_AWAY_S: Final = 60.0
LOOK_S_MAX: Final = 1.0
"""A task that waits looks for a route again and again; that takes less, and an attempt more."""


class RoutesAway:
    """Follows the tasks of one run's steps."""

    def __init__(self, under_way: Callable[[], int], on_away: Callable[[], None]) -> None:
        """
        Follow none.

        Args:
            under_way: How many tasks of steps are not over.
            on_away: Called when all of them have waited for ROUTE_AWAY_S.
        """
        self._under_way = under_way
        self._on_away = on_away
        self._waiting: list[str] = []
        self._since = 0.0
        self._looked_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def capability(self) -> str:
        """The one of them that waits; empty where none does."""
        return self._waiting[0] if self._waiting else ""

    @property
    def are_all(self) -> bool:
        """Whether all tasks wait at this moment."""
        return 0 < len(self._waiting) == self._under_way()

    def follow(self, task: Task) -> None:
        """Hear when a task waits for a route, as the run that this one is a step of does."""
        around = task.away

        def away(begins: bool) -> None:  # noqa: FBT001  (see `Task.park`)
            if begins:
                self._begins(task.capability)
            else:
                self._waiting.remove(task.capability)
                self._looked_at = time.monotonic()
            if around is not None:
                around(begins)

        task.away = away

    def stop(self) -> None:
        """Call nobody any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begins(self, capability: str) -> None:
        now = time.monotonic()
        if now - self._looked_at > LOOK_S_MAX and not self._waiting:
            self._since = now
        self._waiting.append(capability)
        if self.are_all and self._timer is None:
            left_s = max(0.0, self._since + ROUTE_AWAY_S - now)
            self._timer = asyncio.get_running_loop().call_later(left_s, self._due)

    def _due(self) -> None:
        self._timer = None
        # One that looks at this moment comes by here again when it has found none.
        if self.are_all and time.monotonic() - self._since >= ROUTE_AWAY_S:
            self._on_away()
