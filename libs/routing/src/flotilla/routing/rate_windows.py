"""
How much of a rate limit the whole fleet has left, from the totals of one counter. Pure.

Orchestrators take tokens in blocks (leases): each adds its block to a counter that only ever grows, and every
orchestrator hears each total. What is in use is the newest total less the total of WINDOW_S ago, by the local monotonic
clock from one hearing to the next: no two clocks are compared. A block may be used for LEASE_S after it was asked for,
so tokens used within any 60 s were in the counter within WINDOW_S, and that is what is bounded.

What is heard late, or not at all, only makes the window look fuller.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

LEASE_S: Final = 2.0
WINDOW_S: Final = 60.0 + LEASE_S
GRAIN_S: Final = 0.25
"""Totals heard within so long of one another are kept as one, at the later time."""
SHARES: Final = 8
"""A block is at most so small a part of what is left: blocks get smaller near the limit."""
LEASES_MAX: Final = 16
BURST_S: Final = 0.05
"""What is used within less time counts as used in so much."""


class RateWindow:
    """
    One counter's last WINDOW_S.

    Attributes:
        limit: Tokens within any 60 s; may be changed at any time.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._heard: deque[tuple[float, int]] = deque()
        self._base = 0
        self._latest = 0
        self._lost = 0
        self._heard_last = 0
        self._grain_began_s = 0.0

    @property
    def latest(self) -> int:
        """The newest total; it never falls."""
        return self._latest

    def begin(self, before: int, totals: list[tuple[float, int]]) -> None:
        """Start from what is stored: the total before, and each since with the time that it is to count from."""
        self._base = self._latest = self._heard_last = before
        self._heard.clear()
        for at_s, total in totals:
            self.heard(total, at_s)

    def heard(self, total: int, now_s: float) -> None:
        """The counter has come to `total`; totals of a counter are heard in their order."""
        if total < self._heard_last:
            # The counter was lost and begins again: what was used before is used all the same.
            self._lost = self._latest
        self._heard_last = total
        self._note(total + self._lost, now_s)

    def granted(self, asked: int, total: int, now_s: float, *, known: int) -> int:
        """
        How many of the tokens that were asked for are within the limit, when the counter came to `total`.

        `known` is what `latest` was when they were asked for: the counter stands higher by now, or was lost.
        """
        total += self._lost
        if total < known + asked:
            return 0
        used = total - self._base_at(now_s)
        if total > self._latest:
            self._note(total, now_s)
        return max(0, min(asked, self.limit - (used - asked)))

    def room(self, now_s: float) -> int:
        """Tokens that are left, as far as is known; below 0 where a limit was lowered."""
        return self.limit - (self._latest - self._base_at(now_s))

    def free_in_s(self, amount: int, now_s: float) -> float:
        """Seconds until so many tokens are free again, if nobody takes more."""
        if self.room(now_s) >= amount:
            return 0.0
        for at_s, total in self._heard:
            if self.limit - (self._latest - total) >= amount:
                return max(0.0, at_s + WINDOW_S - now_s)
        return WINDOW_S

    def _note(self, total: int, now_s: float) -> None:
        self._latest = max(self._latest, total)
        if self._heard and now_s - self._grain_began_s < GRAIN_S:
            self._heard[-1] = (now_s, self._latest)
        else:
            self._grain_began_s = now_s
            self._heard.append((now_s, self._latest))

    def _base_at(self, now_s: float) -> int:
        while self._heard and self._heard[0][0] <= now_s - WINDOW_S:
            self._base = self._heard.popleft()[1]
        return self._base


class Leases:
    """
    The blocks of one counter that this orchestrator holds, each until LEASE_S after it was asked for.

    A block is what was used in the time before it, so that little is wasted; in a burst it is a share of what is left.

    Attributes:
        on_unused: Told of tokens that were granted and are used by nobody, once that is seen.
    """

    def __init__(self) -> None:
        self.on_unused: Callable[[int], None] = _nothing
        self._blocks: deque[tuple[float, int]] = deque()
        self._asked_at_s = 0.0
        self._used = 0
        self._debt = 0

    def take(self, amount: int, now_s: float) -> bool:
        """Use tokens; False when there are not so many."""
        if self.left(now_s) < amount:
            return False
        self._used += amount
        while amount:
            ends_s, tokens = self._blocks.popleft()
            used = min(tokens, amount)
            amount -= used
            if tokens > used:
                self._blocks.appendleft((ends_s, tokens - used))
        return True

    def left(self, now_s: float) -> int:
        """Tokens that may be used now."""
        while self._blocks and self._blocks[0][0] < now_s:
            self.on_unused(self._blocks.popleft()[1])
        return sum(tokens for _, tokens in self._blocks)

    def give_back(self, amount: int, now_s: float, ends_s: float) -> None:
        """Tokens of an attempt that was not made; `ends_s` is when the block ends that they were from."""
        self._used -= amount
        if now_s < ends_s and len(self._blocks) < LEASES_MAX:
            self._blocks.appendleft((ends_s, amount))
        else:
            self.on_unused(amount)

    def owe(self, amount: int, most: int) -> None:
        """An attempt has used more than it took: the next blocks pay for it, up to `most` in all."""
        self._debt = min(most, self._debt + max(0, amount))

    def to_ask(self, wanted: int, room: int, now_s: float) -> int:
        """How large the next block is to be, for `wanted` tokens that are waited for; 0 when there is no room for any."""
        if room <= 0:
            return 0
        passed_s = max(BURST_S, now_s - self._asked_at_s)
        lately = int(self._used * LEASE_S / 2 / passed_s)
        self._asked_at_s, self._used = now_s, 0
        return min(room, max(wanted, min(lately, room // SHARES)) + self._debt)

    def add(self, tokens: int, asked_at_s: float) -> None:
        """A block was granted."""
        paid = min(self._debt, tokens)
        self._debt -= paid
        if tokens <= paid:
            return
        if len(self._blocks) < LEASES_MAX:
            self._blocks.append((asked_at_s + LEASE_S, tokens - paid))
        else:
            self.on_unused(tokens - paid)

    def drop(self) -> None:
        """Use none of what is held: the policy has changed."""
        while self._blocks:
            self.on_unused(self._blocks.popleft()[1])

    @property
    def ends_s(self) -> float:
        """When the block that is used next ends; 0 without one."""
        return self._blocks[0][0] if self._blocks else 0.0


def _nothing(_: int) -> None:
    pass
