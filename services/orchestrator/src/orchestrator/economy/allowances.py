"""
One counter of reservations at this orchestrator: a budget's day or month, or the attempts under way that a limit counts.

A reservation is one request: it adds its amount, and the total that comes back says whether that is within the limit.
Since the total has everybody's, all that are admitted together never exceed it. One that is over is taken back.
"""

import time
from typing import Final

from msgspec import Struct

from flotilla.fabric.counters import Count
from orchestrator.economy.counters import ENDS, HISTORY_S, OWNER, RESERVES, Counters
from orchestrator.economy.errors import CountersAwayError, OverLimitError


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
    """

    def __init__(self, counters: Counters, subject: str) -> None:
        self._counters = counters
        self.subject: Final = subject
        self.limit = 0
        self.total = 0
        self.enforced = True
        self.why = ""
        self.begun = False
        self._asked = 0
        self.used_at_s = time.monotonic()
        counters.hear(subject, self._heard)

    def is_now(self, limit: int, why: str, *, enforced: bool) -> None:
        """What the policy in force says."""
        self.limit, self.why, self.enforced = limit, why, enforced

    def has_room(self, amount: int) -> bool:
        """Whether so much more is within the limit, as far as was heard."""
        return not self.begun or self.total + self._asked + amount <= self.limit

    async def begin(self) -> None:
        """
        Learn what it stands at, and what is reserved by whom.

        Raises:
            CountersAwayError: It cannot be read.
        """
        if self.begun:
            return
        for count in await self._counters.history(self.subject, HISTORY_S):
            self._counters.note(count)
        self.total = await self._counters.total_of(self.subject)
        self.begun = True
        self._counters.watch()

    async def reserve(self, amount: int, free_in_s: float) -> Held:
        """
        Reserve an amount.

        Raises:
            OverLimitError: It is over the limit; says so with `free_in_s`.
            CountersAwayError: It cannot be counted.
        """
        self.used_at_s = time.monotonic()
        await self.begin()
        if self.enforced and not self.has_room(amount):
            raise OverLimitError(self.why, free_in_s)
        held = Held(self, self._counters.new_id(), amount)
        headers = {RESERVES: held.id, OWNER: self._counters.owner}
        # Others of this orchestrator do not ask for what this one may get.
        self._asked += amount
        try:
            total = await self._counters.add(self.subject, amount, message_id=held.id, headers=headers)
        except BaseException:
            # It may have been counted, or be so still: counted once for certain, and then taken back.
            self._counters.add_later(self.subject, amount, held.id, headers)
            self.end(held.id, amount, 0)
            raise
        finally:
            self._asked -= amount
        if total is None:
            self.end(held.id, amount, 0)
            raise CountersAwayError("counted before")
        self.total = max(self.total, total)
        if self.enforced and total > self.limit:
            self.end(held.id, amount, 0)
            raise OverLimitError(self.why, free_in_s)
        return held if total <= self.limit else Held(self, held.id, amount, is_over=True)

    def end(self, reservation: str, reserved: int, used: int) -> None:
        """
        Have the counter hold what was used in place of what was reserved.

        Where somebody took this orchestrator for dead and gave the reservation back, what was used is added again.
        """
        self._counters.add_later(self.subject, used - reserved, f"{reservation}.end", {ENDS: reservation}, instead=used)

    def _heard(self, count: Count) -> None:
        if not self.begun:
            return
        stood, self.total = self.total, count.total
        if count.total == count.increment and stood and stood + count.increment != count.total:
            # The stream was lost and the counter began anew. All who know what it stood at say so, and one is counted.
            self._counters.add_later(self.subject, stood, f"restore.{self.subject}.{stood}", {})
