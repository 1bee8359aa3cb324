"""
The orchestrator's side of a lane: one bounded line per pool for tasks that found no free slot.

The head of the line tries again when there is a reason to think that a slot is free: one of this orchestrator's own
attempts in the pool ended, a replica that was full signals `infer-free`, a replica appeared, or a short jittered timer
ran out. Each reason is one permit for one try, so a line of a thousand costs about one request per task; after a
try on a reason from outside that was not refused within CHAIN_AFTER_S, one more permit follows, since several slots
may have become free at once.
"""

import asyncio
import random
from collections import deque
from collections.abc import Sequence
from typing import Final

from flotilla.contracts.subjects import PRIORITIES, Priority

WAITING_MAX: Final = 100_000
CHAIN_AFTER_S: Final = 0.01
TIMER_S: Final = 0.1
TIMER_JITTER_S: Final = 0.1
LOW_EVERY: Final = 8
"""Of this many turns one goes to the lowest priority that waits, so that low never starves."""


class Waiter:
    """
    A task that waits for its turn in one or several lanes; it keeps its place when a try is refused.

    Attributes:
        lane: The lane whose turn it is, while `trying`.
    """

    __slots__ = ("_future", "_lanes", "lane", "left", "priority", "trying")

    def __init__(self, priority: Priority) -> None:
        self._lanes: list[Lane] = []
        self._future: asyncio.Future[Lane | None] | None = None
        self.priority: Priority = priority
        self.lane: Lane | None = None
        self.trying = False
        self.left = False

    async def turn(self, timeout_s: float) -> "Lane | None":
        """Await a turn; gives the lane that may have a free slot, or None when `timeout_s` ran out first."""
        loop = asyncio.get_running_loop()
        future = self._future = loop.create_future()
        self.trying = False
        self.lane = None
        for lane in self._lanes:
            lane.poke()
        handle = loop.call_later(timeout_s, _give_up, future)
        try:
            return await future
        finally:
            handle.cancel()

    @property
    def stands_anywhere(self) -> bool:
        """Whether some lane took it."""
        return bool(self._lanes)

    def also(self, lane: "Lane", *, first: bool = False) -> None:
        """Stand in one more line, when a route has come up since."""
        if lane not in self._lanes and lane.enter(self, first=first):
            self._lanes.append(lane)

    def wake(self, lane: "Lane") -> bool:
        """Give it its turn; False when it cannot take one now."""
        future = self._future
        if self.left or self.trying or future is None or future.done():
            return False
        self.trying = True
        self.lane = lane
        future.set_result(lane)
        return True

    def leave(self) -> None:
        """Leave every line: the task has a slot, or gave up."""
        if not self.left:
            self.left = True
            for lane in self._lanes:
                lane.forget(self)


def _give_up(future: "asyncio.Future[Lane | None]") -> None:
    if not future.done():
        future.set_result(None)


class Lane:
    """One pool's line of waiting tasks, at this orchestrator."""

    def __init__(self, name: str) -> None:
        self.name: Final = name
        self._lines: dict[Priority, deque[Waiter]] = {priority: deque() for priority in PRIORITIES}
        self._waiting = 0
        self._permits = 0
        self._turns = 0
        self._timer: asyncio.TimerHandle | None = None
        self._chains: set[asyncio.TimerHandle] = set()
        self._refusals = 0

    def __len__(self) -> int:
        return self._waiting

    def is_ahead(self, priority: Priority) -> bool:
        """Whether a task of this priority that arrives now has others before it."""
        for level in PRIORITIES:
            if self._lines[level]:
                return True
            if level == priority:
                return False
        return False

    def enter(self, waiter: Waiter, *, first: bool = False) -> bool:
        """Put a waiter at the end of its line, or before it; False when the lane is full."""
        if self._waiting >= WAITING_MAX:
            return False
        line = self._lines[waiter.priority]
        if first:
            line.appendleft(waiter)
        else:
            line.append(waiter)
        self._waiting += 1
        self._set_timer()
        return True

    def forget(self, waiter: Waiter) -> None:
        """Take a waiter out of its line."""
        line = self._lines[waiter.priority]
        if line and line[0] is waiter:
            line.popleft()
        else:
            try:
                line.remove(waiter)
            except ValueError:
                return
        self._waiting -= 1
        if not self._waiting:
            self._rest()

    def own_attempt_ended(self) -> None:
        """An attempt of this orchestrator freed its slot: one try."""
        self._permit(1)

    def slots_freed(self, count: int = 1) -> None:
        """Slots became free for a reason from outside (a signal, a new replica): tries that may lead to more."""
        if not self._waiting:
            return
        self._permit(count)
        refusals = self._refusals
        loop = asyncio.get_running_loop()

        def chain() -> None:
            self._chains.discard(handle)
            if self._waiting and self._refusals == refusals:
                self.slots_freed()

        if len(self._chains) < LOW_EVERY:
            handle = loop.call_later(CHAIN_AFTER_S, chain)
            self._chains.add(handle)

    def refused(self) -> None:
        """A try found no free slot: the reasons that came before it are used up."""
        self._permits = 0
        self._refusals += 1

    def poke(self) -> None:
        """Hand out the permits that there are."""
        while self._permits > 0 and self._waiting:
            if not self._wake_next():
                return
            self._permits -= 1

    def _permit(self, count: int) -> None:
        if self._waiting:
            self._permits = min(self._permits + count, self._waiting)
            self.poke()

    def _wake_next(self) -> bool:
        self._turns += 1
        order: Sequence[Priority] = PRIORITIES if self._turns % LOW_EVERY else PRIORITIES[::-1]
        return any(waiter.wake(self) for priority in order for waiter in self._lines[priority])

    def _set_timer(self) -> None:
        if self._timer is None:
            delay_s = TIMER_S + random.random() * TIMER_JITTER_S
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._waiting:
            self.slots_freed()
            self._set_timer()

    def _rest(self) -> None:
        self._permits = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for handle in self._chains:
            handle.cancel()
        self._chains.clear()


def wait_in(lanes: Sequence[Lane], priority: Priority, *, first: bool = False) -> Waiter | None:
    """
    Stand in the lines of several lanes at once; None when all of them are full.

    Args:
        lanes: Those of the pools that could serve the task.
        priority: Of the task.
        first: It stood in line before (it is tried again after a failure), so it goes before the others.
    """
    waiter = Waiter(priority)
    for lane in dict.fromkeys(lanes):
        waiter.also(lane, first=first)
    return waiter if waiter.stands_anywhere else None
