"""
One counter of reservations at this orchestrator: a budget's day or month, or the attempts under way that a limit counts.

A reservation is one request: it adds its amount, and the total that comes back says whether that is within the limit.
Since the total has everybody's, all that are admitted together never exceed it. One that is over is taken back.

What is heard of the others only saves asking where there is no room. It may be missed: a counter that had no room is read
again every LOOK_S. And the stream may be lost, or this counter's messages in it: when its sequence falls nothing is admitted
before it is known whether it was made anew, and then what the counter stood at is put back, once by all who know it.
"""

import asyncio
import time
from typing import Final

from msgspec import Struct

from flotilla.fabric.counters import Count, Standing
from orchestrator.economy.budget_history import Spent
from orchestrator.economy.counters import Counters
from orchestrator.economy.errors import CountersAwayError, OverLimitError
from orchestrator.economy.reservations import ENDS, OWNER, RESERVES, Reservations

LOOK_S: Final = 2.0
TRIES_MAX: Final = 2
"""Of a reservation that was counted in a stream that had just been made anew."""


class Held(Struct, frozen=True):
    """
    A reservation of an attempt; ended once.

    Attributes:
        is_over: With it, the counter stands above a limit that is not enforced.
    """

    allowance: "Allowance"
    id: str
    amount: int
    is_over: bool = False

    def end(self, used: int) -> None:
        """The attempt is over and used so much."""
        self.allowance.end(self.id, self.amount, used)


class Allowance:
    """
    One counter with a limit.

    Attributes:
        limit: In the counter's own unit; may be changed at any time.
        total: What is spent and reserved by everybody, as far as was heard.
        enforced: Whether it refuses; else it only counts.
        why: What is said when it does.
        begun: Whether it is known what the counter stands at.
    """

    def __init__(
        self, reservations: Reservations, counters: Counters, subject: str, spent: Spent | None = None
    ) -> None:
        """
        Know nothing of it yet.

        Args:
            reservations: Of this orchestrator.
            counters: Where it is counted.
            subject: The counter's.
            spent: Of a budget, what it stands at the least; None where its counter is known to have everything.
        """
        self._spent = spent
        self._reservations = reservations
        self._counters = counters
        self.subject: Final = subject
        self.limit = 0
        self.total = 0
        self.enforced = True
        self.why = ""
        self.begun = False
        self._asked = 0
        self._life = ""
        self._falls = 0
        self._meanwhile: Count | None = None
        self._learning: asyncio.Task[None] | None = None
        self._read_at_s = 0.0
        self.used_at_s = time.monotonic()
        counters.hear(subject, self)

    def is_now(self, limit: int, why: str, *, enforced: bool) -> None:
        """What the policy in force says."""
        self.limit, self.why, self.enforced = limit, why, enforced

    def has_room(self, amount: int) -> bool:
        """Whether so much more is within the limit, as far as was heard; where not, it is read again now and then."""
        if not self.begun or self.total + self._asked + amount <= self.limit:
            return True
        if time.monotonic() - self._read_at_s >= LOOK_S:
            self._learn_soon()
        return False

    async def begin(self) -> None:
        """
        Learn what it stands at; all who need it at the same time wait for one that reads it.

        Raises:
            CountersAwayError: It cannot be read.
        """
        while not self.begun:
            await asyncio.shield(self._learn_soon())

    def _learn_soon(self) -> "asyncio.Task[None]":
        if self._learning is None or self._learning.done():
            self._read_at_s = time.monotonic()
            self._learning = asyncio.get_running_loop().create_task(self._learn())
            self._learning.add_done_callback(_retrieved)
        return self._learning

    async def _learn(self) -> None:
        while True:
            self._meanwhile, falls = None, self._falls
            # In this order: should the stream be lost in between, it has another life.
            found = await self._counters.standing_of(self.subject)
            life = await self._counters.life()
            if self.total and (self._life not in ("", life) or not found.sequence):
                found = await self._counters.restore(self.subject, self.total, life)
            if self._spent is not None:
                found = await self._catch_up(self._spent)
            if falls == self._falls:
                break
        self._spent = None
        if self._life != life:
            self._reservations.watch(self.subject)
        self._life, self.total, self.begun = life, found.total, True
        newer = self._meanwhile
        if newer is not None and newer.sequence > found.sequence:
            self.total = newer.total

    async def _catch_up(self, spent: Spent) -> Standing:
        """
        Count what was spent while nobody counted; once, by whichever orchestrator is first.

        The ledger is read before the counter: others may have counted, and entered, more in between. And nothing is
        counted as well as something, so that nobody takes what others have counted since for missing.
        """
        micros = await spent.micros()
        found = await self._counters.standing_of(self.subject)
        await self._counters.add(
            self.subject, max(0, micros - found.total), message_id=f"spent.{self.subject}.{spent.once}"
        )
        return await self._counters.standing_of(self.subject)

    async def reserve(self, amount: int, free_in_s: float) -> Held:
        """
        Reserve an amount.

        Raises:
            OverLimitError: It is over the limit; says so with `free_in_s`.
            CountersAwayError: It cannot be counted.
        """
        self.used_at_s = time.monotonic()
        for _ in range(TRIES_MAX):
            await self.begin()
            if self.enforced and not self.has_room(amount):
                raise OverLimitError(self.why, free_in_s)
            held, total = await self._reserve(amount)
            if not self.begun:
                # The total is that of a stream in which what was spent is still to be put back.
                held.end(0)
                continue
            if self.enforced and total > self.limit:
                held.end(0)
                raise OverLimitError(self.why, free_in_s)
            return held if total <= self.limit else Held(self, held.id, amount, is_over=True)
        raise CountersAwayError("the stream was lost again")

    async def _reserve(self, amount: int) -> tuple[Held, int]:
        """Add an amount; gives the total that the counter came to."""
        held = Held(self, self._counters.new_id(), amount)
        headers = {RESERVES: held.id, OWNER: self._counters.owner}
        # Others of this orchestrator do not ask for what this one may get.
        self._asked += amount
        try:
            total = await self._counters.add(self.subject, amount, message_id=held.id, headers=headers)
        except BaseException:
            # It may have been counted, or be so still: counted once for certain, and then taken back.
            self._counters.add_later(self.subject, amount, held.id, headers)
            held.end(0)
            raise
        finally:
            self._asked -= amount
        if total is None:
            held.end(0)
            raise CountersAwayError("counted before")
        return held, total

    def end(self, reservation: str, reserved: int, used: int) -> None:
        """
        Have the counter hold what was used in place of what was reserved.

        Where somebody took this orchestrator for dead and gave the reservation back, what was used is added again.
        """
        self._counters.add_later(self.subject, used - reserved, f"{reservation}.end", {ENDS: reservation}, instead=used)

    def heard(self, count: Count) -> None:
        """The counter came to a total."""
        if self._learning is not None and not self._learning.done():
            self._meanwhile = count
        if self.begun:
            self.total = count.total

    def stream_fell(self) -> None:
        """Admit nothing before it is known whether the stream was made anew; `total` is what is put back then."""
        self._falls += 1
        if self.begun:
            self.begun = False
            self._learn_soon()


def _retrieved(learning: "asyncio.Task[None]") -> None:
    """Whoever waits for it hears of its error; nobody may."""
    if not learning.cancelled():
        learning.exception()
