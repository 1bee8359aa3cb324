"""One rate limit at this orchestrator: tokens are taken from leases, and a lease is one request to the counter."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from flotilla.fabric.counters import Count
from flotilla.routing.rate_windows import WINDOW_S, Leases, RateWindow
from orchestrator.economy.counters import Counters
from orchestrator.economy.errors import RECHECK_S, CountersAwayError, OverLimitError

WAITING_MAX: Final = 10_000
"""Attempts that wait for a lease, some milliseconds each."""
CLOCKS_DIFFER_S: Final = 10.0
"""Between this machine and the server, at most: what was stored before a start is taken to be so much younger."""


class Taken(Struct, frozen=True):
    """Tokens that an attempt took, and when they end unused (by the loop's clock)."""

    rate: "Rate"
    amount: int
    ends_s: float

    def give_back(self) -> None:
        """The attempt was not made."""
        self.rate.leases.give_back(self.amount, time.monotonic(), self.ends_s)

    def used(self, amount: int) -> None:
        """The attempt used so many."""
        self.rate.leases.owe(amount - self.amount, self.rate.window.limit)


class Rate:
    """
    One measure of one limit.

    Attributes:
        window: What the whole fleet has taken.
        leases: What this orchestrator has.
        measure: `requests` or `tokens`.
    """

    def __init__(self, counters: Counters, subject: str, measure: str, limit: int, why: str) -> None:
        self._counters = counters
        self._subject = subject
        self._why = why
        self._waiting: deque[tuple[int, asyncio.Future[float]]] = deque()
        self._asking: asyncio.Task[None] | None = None
        self._early: list[int] | None = []
        self._block = 0
        self.measure: Final = measure
        self.window: Final = RateWindow(limit)
        self.leases: Final = Leases()
        counters.hear(subject, self)

    def limit_is(self, limit: int, why: str) -> None:
        """The policy has changed: from now on this."""
        self._why = why
        if limit != self.window.limit:
            self.window.limit = limit
            self.leases.drop()

    def free_in_s(self) -> float:
        """Seconds until an attempt may take a token; 0 when one is there, as far as is known."""
        now_s = time.monotonic()
        if self._early is not None or self.leases.left(now_s):
            return 0.0
        return self.window.free_in_s(1, now_s)

    @property
    def why(self) -> str:
        """What is said when there is no token."""
        return self._why

    async def take(self, amount: int) -> Taken:
        """
        Take tokens; waits for a lease, if need be, but not for the limit.

        Raises:
            OverLimitError: The fleet has taken them all.
            CountersAwayError: No lease can be had.
        """
        amount = min(amount, self.window.limit)
        now_s = time.monotonic()
        if not self._waiting:
            ends_s = self.leases.ends_s
            if self.leases.take(amount, now_s):
                if self.leases.left(now_s) * 2 < self._block:
                    self._ask()
                return Taken(self, amount, ends_s)
        if len(self._waiting) >= WAITING_MAX:
            raise OverLimitError(self._why, RECHECK_S)
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting.append((amount, future))
        self._ask()
        return Taken(self, amount, await future)

    def _ask(self) -> None:
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().create_task(self._ask_while_waited_for())

    async def _ask_while_waited_for(self) -> None:
        try:
            if self._early is not None:
                await self._begin()
            ahead = not self._waiting
            while self._waiting or ahead:
                ahead = False
                if not await self._ask_once():
                    return
        except CountersAwayError:
            self._fail(lambda: CountersAwayError("no lease"))
        finally:
            # Whatever else it was, nobody may wait for ever.
            if self._waiting:
                self._fail(lambda: CountersAwayError("no lease"))

    async def _ask_once(self) -> bool:
        """Ask for one block and hand it out; False when there is nothing more to ask for."""
        now_s, known = time.monotonic(), self.window.latest
        wanted = sum(amount for amount, future in self._waiting if not future.done())
        first = next((amount for amount, future in self._waiting if not future.done()), 0)
        room = self.window.room(now_s)
        asked = self.leases.to_ask(wanted, room, now_s) if room >= first else 0
        if not asked:
            free_in_s = max(RECHECK_S, self.window.free_in_s(max(1, first), now_s))
            self._fail(lambda: OverLimitError(self._why, free_in_s))
            return False
        total = await self._counters.add(self._subject, asked)
        if total is None:  # pragma: no cover  (without a message id there are no duplicates)
            raise CountersAwayError("no total")
        granted = self.window.granted(asked, total, time.monotonic(), known=known)
        self._block = granted
        self.leases.add(granted, now_s)
        self._hand_out()
        return bool(self._waiting)

    def _hand_out(self) -> None:
        now_s = time.monotonic()
        while self._waiting:
            amount, future = self._waiting[0]
            ends_s = self.leases.ends_s
            if not future.done():
                if not self.leases.take(amount, now_s):
                    return
                future.set_result(ends_s)
            self._waiting.popleft()

    def _fail(self, error: Callable[[], Exception]) -> None:
        waiting, self._waiting = self._waiting, deque()
        for _, future in waiting:
            if not future.done():
                future.set_exception(error())

    async def _begin(self) -> None:
        """Learn what the fleet has taken in the last minute."""
        self._early = []
        stood = (await self._counters.standing_of(self._subject)).total
        stored = await self._counters.history(self._subject, WINDOW_S + 2 * CLOCKS_DIFFER_S)
        before = stored[0].total - stored[0].increment if stored else stood
        now_s, now_unix_ms = time.monotonic(), time.time() * 1000
        ages_s = [max(0.0, (now_unix_ms - count.stored_unix_ms) / 1000 - CLOCKS_DIFFER_S) for count in stored]
        self.window.begin(before, [(now_s - age_s, count.total) for age_s, count in zip(ages_s, stored, strict=True)])
        early, self._early = self._early or [], None
        for total in early:
            if total > self.window.latest:
                self.window.heard(total, now_s)

    def stream_fell(self) -> None:
        """The totals say so themselves: those of a rate only grow."""

    def heard(self, count: Count) -> None:
        """The counter came to a total."""
        if self._early is not None:
            # Not asked for yet: what is stored will be read before it is.
            if self._asking is not None:
                self._early.append(count.total)
            return
        self.window.heard(count.total, time.monotonic())
