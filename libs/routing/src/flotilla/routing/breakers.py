"""
Circuit breakers, one per pool and model, over all capabilities: a dead backend is dead for everything.

A breaker opens after so many penalised failures in a row, for a while that is counted from the last failure, a time
that all orchestrators read in the same stats. Then it is half-open: probes go through, one at a time. The first that
goes well closes it; the first that fails opens it again, for twice as long.
"""

from typing import Final, Literal

from msgspec import Struct

from flotilla.contracts.policy import BreakerPolicy
from flotilla.contracts.stats import SUB_WINDOW_MS, RouteStats

BreakerPhase = Literal["closed", "open", "half_open"]


class Breaker(Struct, frozen=True, kw_only=True):
    """
    The state of one breaker.

    Attributes:
        until_unix_ms: When it becomes half-open, or became so.
        opens: How often it has opened since it was last closed.
    """

    phase: BreakerPhase = "closed"
    until_unix_ms: int = 0
    opens: int = 0


CLOSED: Final = Breaker()


def stepped(breaker: Breaker, stats: RouteStats, policy: BreakerPolicy, now_unix_ms: int) -> Breaker:
    """The next value of a breaker, from what all orchestrators together have seen of the pool's model."""
    if breaker.phase == "closed":
        if _in_a_row(stats) < policy.failures_in_a_row:
            return breaker
        opened = _opened(1, stats.last_failure_unix_ms, policy)
        # A failure that lies further back than the whole open time needs no closing, only proof by a probe.
        return opened if opened.until_unix_ms > now_unix_ms else _half_open(opened)
    if breaker.phase == "open":
        return breaker if now_unix_ms < breaker.until_unix_ms else _half_open(breaker)
    if stats.last_ok_unix_ms >= breaker.until_unix_ms and stats.last_ok_unix_ms >= stats.last_failure_unix_ms:
        return CLOSED
    if stats.last_failure_unix_ms >= breaker.until_unix_ms:
        return _opened(breaker.opens + 1, stats.last_failure_unix_ms, policy)
    return breaker


def _in_a_row(stats: RouteStats) -> int:
    """Penalised failures since the last success anywhere, as far as seconds and single writers can tell."""
    if stats.last_failure_unix_ms <= stats.last_ok_unix_ms:
        return 0
    last_ok = stats.last_ok_unix_ms // SUB_WINDOW_MS
    since = sum(part.penalised for second, part in stats.windows.items() if second > last_ok)
    return max(since, stats.failed_in_a_row)


def _opened(opens: int, from_unix_ms: int, policy: BreakerPolicy) -> Breaker:
    open_s = min(policy.open_max_s, policy.open_s * 2.0 ** min(opens - 1, 30))
    return Breaker(phase="open", until_unix_ms=from_unix_ms + round(open_s * 1000), opens=opens)


def _half_open(breaker: Breaker) -> Breaker:
    return Breaker(phase="half_open", until_unix_ms=breaker.until_unix_ms, opens=breaker.opens)
