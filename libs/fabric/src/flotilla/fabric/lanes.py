"""
The orchestrator's side of a lane: one bounded line per pool for tasks that found no free slot; scopes take turns in it.

The head of the line tries again when there is a reason to think that a slot is free: one of this orchestrator's own
attempts in the pool ended, a replica that was full signals `infer-free`, a replica appeared, replicas that were just
leaving have left, or a short jittered timer ran out. Each reason is one permit for one try, so a line of a thousand
costs about one request per task; after a try on a reason from outside that was not refused within CHAIN_AFTER_S, one
more permit follows, since several slots may have become free at once.
"""

import asyncio
import itertools
import random
from collections.abc import Mapping, Sequence
from typing import Final

from flotilla.contracts.subjects import PRIORITIES, Priority
from flotilla.fabric.errors import LanesFullError
from flotilla.fabric.lines import Line

WAITING_MAX: Final = 100_000
CHAIN_AFTER_S: Final = 0.01
TIMER_S: Final = 0.1
TIMER_JITTER_S: Final = 0.1
SOON_S: Final = 0.003
"""
After which a replica that was just leaving has left, and the server chooses among those that have a free slot. Doubled
each time that this was not so, up to TIMER_S.
"""
CHAINS_MAX: Final = 8
"""Tries on reasons from outside of which it is not known yet whether they were refused."""
LOW_EVERY: Final = 8
"""Of this many turns one goes to the lowest priority that waits, so that low never starves."""
EVEN: Final[Mapping[str, int]] = {}
"""Every scope has the same weight."""

_tickets: Final = itertools.count()
_FROM_HIGHEST_TO: Final[Mapping[Priority, Sequence[Priority]]] = {
    priority: PRIORITIES[: place + 1] for place, priority in enumerate(PRIORITIES)
}


class Waiter:
    """
    A task's place in the lines of one or several lanes.

    It is in no line while it tries, and comes back to its old place when it is refused: places go by `ticket`, which it
    keeps for the life of the task.

    Attributes:
        turn_of: The line that it has its turn of, while it tries.
    """

    __slots__ = ("_future", "_lanes", "priority", "scope", "ticket", "turn_of")

    def __init__(self, priority: Priority, scope: str) -> None:
        self._lanes: list[Lane] = []
        self._future: asyncio.Future[Lane | None] | None = None
        self.priority: Final[Priority] = priority
        self.scope: Final = scope
        self.turn_of: Line[Waiter] | None = None
        self.ticket: Final = next(_tickets)

    async def turn(self, lanes: Sequence["Lane"], timeout_s: float) -> "Lane | None":
        """
        Stand in these lanes' lines and await a turn.

        Gives the lane that may have a free slot, the task being in no line any more; or None when `timeout_s` ran out
        first, its places being kept.

        Raises:
            LanesFullError: None of the lanes takes one more.
        """
        for lane in [lane for lane in self._lanes if lane not in lanes]:
            lane.forget(self)
            self._lanes.remove(lane)
        for lane in lanes:
            if lane not in self._lanes and lane.enter(self):
                self._lanes.append(lane)
        if not self._lanes:
            raise LanesFullError(WAITING_MAX)
        loop = asyncio.get_running_loop()
        future = self._future = loop.create_future()
        for lane in list(self._lanes):
            lane.poke()
        handle = loop.call_later(timeout_s, _give_up, future)
        try:
            return await future
        finally:
            handle.cancel()

    def wake(self, lane: "Lane") -> bool:
        """Give it its turn; False when it cannot take one now."""
        future = self._future
        if future is None or future.done():
            return False
        future.set_result(lane)
        self.leave()
        return True

    def leave(self) -> None:
        """Leave every line; a turn that it has is used."""
        self.turn_of = None
        for lane in self._lanes:
            lane.forget(self)
        self._lanes.clear()


def _give_up(future: "asyncio.Future[Lane | None]") -> None:
    if not future.done():
        future.set_result(None)


class Lane:
    """
    One pool's line of waiting tasks, at this orchestrator.

    Attributes:
        reasons: How many times there was a reason to think that a slot is free. When it has grown while a try was under
            way that was refused, the refusal may be older than the slot: another try is due, and the line not.
    """

    def __init__(self, name: str, weights: Mapping[str, int] = EVEN) -> None:
        self.name: Final = name
        self._lines: dict[Priority, Line[Waiter]] = {priority: Line(weights) for priority in PRIORITIES}
        self._waiting = 0
        self._permits = 0
        self._turns = 0
        self._timer: asyncio.TimerHandle | None = None
        self._chains: set[asyncio.TimerHandle] = set()
        self._soon: asyncio.TimerHandle | None = None
        self._soon_s = SOON_S
        self._refusals = 0
        self.reasons = 0

    def __len__(self) -> int:
        return self._waiting

    def is_ahead(self, priority: Priority) -> bool:
        """Whether a task of this priority that arrives now has others before it."""
        return self._waiting > 0 and any(self._lines[level] for level in _FROM_HIGHEST_TO[priority])

    def enter(self, waiter: Waiter) -> bool:
        """Put a waiter in its line, by its ticket; False when the lane is full."""
        line = self._lines[waiter.priority]
        if self._waiting >= WAITING_MAX and line.is_last(waiter):
            return False
        if waiter.turn_of is line:
            line.refund(waiter.scope)
            waiter.turn_of = None
        line.enter(waiter)
        self._waiting += 1
        self._set_timer()
        return True

    def forget(self, waiter: Waiter) -> None:
        """Take a waiter out of its line."""
        if not self._lines[waiter.priority].forget(waiter):
            return
        self._waiting -= 1
        if not self._waiting:
            self._rest()

    def own_attempt_ended(self) -> None:
        """An attempt of this orchestrator freed its slot: one try."""
        self.reasons += 1
        self._soon_s = SOON_S
        self._permit(1)

    def slots_freed(self, count: int = 1) -> None:
        """Slots became free for a reason from outside (a signal, a new replica): tries that may lead to more."""
        self.reasons += 1
        self._try_more(count)

    def _try_more(self, count: int = 1) -> None:
        if not self._waiting:
            return
        self._permit(count)
        refusals = self._refusals
        loop = asyncio.get_running_loop()

        def chain() -> None:
            self._chains.discard(handle)
            if self._waiting and self._refusals == refusals:
                self._try_more()

        if len(self._chains) < CHAINS_MAX:
            handle = loop.call_later(CHAIN_AFTER_S, chain)
            self._chains.add(handle)

    def refused(self, *, misled: bool = False) -> None:
        """
        A try found no free slot: the reasons that came before it are used up.

        Args:
            misled: It met replicas that were just leaving, so nobody knows whether others have a free slot. Another try
                is due once these have left; the next attempt may end only after a whole service time.
        """
        self._permits = 0
        self._refusals += 1
        if misled and self._soon is None:
            self._soon = asyncio.get_running_loop().call_later(self._soon_s, self._on_soon)
            self._soon_s = min(2 * self._soon_s, TIMER_S)

    def _on_soon(self) -> None:
        self._soon = None
        # One try, whoever was misled: of many at once the server would choose, and not whose turn it is.
        self._try_more()

    def poke(self) -> None:
        """Hand out the permits that there are."""
        while self._permits > 0 and self._waiting and self._wake_next():
            # The last in line has taken all permits along.
            self._permits = max(0, self._permits - 1)

    def _permit(self, count: int) -> None:
        if self._waiting:
            self._permits = min(self._permits + count, self._waiting)
            self.poke()

    def _wake_next(self) -> bool:
        self._turns += 1
        order: Sequence[Priority] = PRIORITIES if self._turns % LOW_EVERY else PRIORITIES[::-1]
        for line in (self._lines[priority] for priority in order):
            for waiter in line.in_turn():
                if waiter.wake(self):
                    line.spend(waiter.scope)
                    waiter.turn_of = line
                    return True
        return False

    def _set_timer(self) -> None:
        if self._timer is None:
            delay_s = TIMER_S + random.random() * TIMER_JITTER_S
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._waiting:
            self._try_more()
            self._set_timer()

    def _rest(self) -> None:
        self._permits = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for handle in self._chains:
            handle.cancel()
        self._chains.clear()
