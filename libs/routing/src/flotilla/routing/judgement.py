"""
What a route's stats say of it: its newest attempts, whether a guard is crossed, since when an ejected one is healthy.

Everything here is a function of the merged stats, the guards and the time, so orchestrators that read the same stats
come to the same verdict. Latency is not judged by finished attempts alone: those that are in flight for longer than
the guard allows are slow already, long before they end.
"""

from typing import Final, NamedTuple

from flotilla.contracts.histogram import above, added, bucket_of, quantile_ms
from flotilla.contracts.policy_rules import Guards
from flotilla.contracts.stats import (
    EMPTY_SUB_WINDOW,
    IN_FLIGHT_BIN_MS,
    SUB_WINDOW_MS,
    RouteStats,
    SubWindow,
    merge_sub_windows,
)

SLOW_SHARE_MAX: Final = 0.05
SPAN_MS_MIN: Final = 1_000
"""The newest part of the window that is always looked at; older parts only until there are enough samples."""
RETURN_FRACTION: Final = 0.9
"""A route comes back when it keeps to this part of its p95 guard: what lies between neither ejects nor lets it return."""
STALL_EXPECTED_MIN: Final = 3.0
STALL_BEFORE_MS: Final = 10_000
OVERDUE_MS_DEFAULT: Final = 5_000.0
"""When an attempt counts as overdue, where there is neither a guard nor a finished attempt to compare it with."""


class Recent(NamedTuple):
    """
    A route's newest attempts.

    `slow` of the `timed` attempts lie above the limit; `overdue` ones are in flight and belong to both. `latency` has
    all timed ones, each overdue one at its present age. `stalled` says that nothing was quick for a whole span in
    which several quick ends were to be expected.
    """

    window: SubWindow
    latency: dict[int, int]
    timed: int
    slow: int
    overdue: int
    stalled: bool

    @property
    def samples(self) -> int:
        """How many attempts the figures rest on."""
        return self.window.attempts + self.overdue

    @property
    def p95_ms(self) -> float | None:
        """Of finished and overdue attempts."""
        return quantile_ms(self.latency, 1.0 - SLOW_SHARE_MAX)


def look(stats: RouteStats, guards: Guards, *, since_unix_ms: int, now_unix_ms: int) -> Recent:
    """
    The newest attempts: all of the last span (twice the p95 guard, a second at least), and older ones until there are
    `min_samples`, but none from before `since_unix_ms`.

    The span grows with the guard because attempts in flight are a biased sample: of those that take long, more are in
    flight at any moment. Over a span well longer than they take, that bias is small.
    """
    limit_ms = _overdue_limit_ms(stats, guards)
    span_from = now_unix_ms - max(SPAN_MS_MIN, int(2 * (guards.p95_ms or 0.0)))
    window = EMPTY_SUB_WINDOW
    quick_in_span = quick_before = 0
    for second in sorted(stats.windows, reverse=True):
        if second < since_unix_ms // SUB_WINDOW_MS:
            break
        part = stats.windows[second]
        in_span = (second + 1) * SUB_WINDOW_MS > span_from
        quick = sum(part.latency.values()) - above(part.latency, limit_ms)
        if in_span:
            quick_in_span += quick
        elif (second + 1) * SUB_WINDOW_MS > span_from - STALL_BEFORE_MS:
            quick_before += quick
        if in_span or window.attempts < guards.min_samples:
            window = merge_sub_windows(window, part)
    late = _overdue_ages(stats, limit_ms, since_unix_ms=since_unix_ms, now_unix_ms=now_unix_ms)
    gone = {bucket: count for bucket, count in window.abandoned.items() if above({bucket: 1}, limit_ms)}
    latency = added(added(window.latency, late), gone)
    slow = above(window.latency, limit_ms) + sum(late.values()) + sum(gone.values())
    expected = quick_before / STALL_BEFORE_MS * (now_unix_ms - span_from)
    return Recent(
        window=window,
        latency=latency,
        timed=sum(latency.values()),
        slow=slow,
        overdue=sum(late.values()),
        stalled=quick_in_span == 0 and slow > 0 and expected >= STALL_EXPECTED_MIN,
    )


def crossed(recent: Recent, guards: Guards) -> str:
    """
    Which guard is crossed, in words; empty when none is.

    One slow or failed attempt alone never crosses a guard, however few samples are asked for.
    """
    if guards.p95_ms is not None:
        if recent.timed >= guards.min_samples and recent.slow > max(1.0, SLOW_SHARE_MAX * recent.timed):
            return f"p95 {recent.p95_ms or 0.0:.0f} ms over {guards.p95_ms:.0f} ms"
        if recent.stalled:
            return f"stalled: nothing ended within {guards.p95_ms:.0f} ms of late"
    attempts, penalised = recent.window.attempts, recent.window.penalised
    if attempts >= guards.min_samples and penalised > max(1.0, guards.error_rate * attempts):
        return f"error rate {penalised / attempts:.0%} over {guards.error_rate:.0%}"
    return ""


class Wellness(NamedTuple):
    """
    How an ejected route is doing.

    `since_unix_ms` is the beginning of its unbroken health, None while there is none; `successes` counts the attempts
    that went well in it.
    """

    since_unix_ms: int | None
    successes: int


def wellness(
    stats: RouteStats,
    guards: Guards,
    *,
    ejected_unix_ms: int,
    before: int | None,
    now_unix_ms: int,
) -> Wellness:
    """
    Since when a route has been well, second by second: a second is bad in which too many attempts failed or were slow.

    `before` is what this function said last, so that health can last for longer than the window remembers.
    """
    limit_ms = RETURN_FRACTION * guards.p95_ms if guards.p95_ms is not None else None
    since = before
    for second in sorted(stats.windows):
        if second < ejected_unix_ms // SUB_WINDOW_MS:
            continue
        part = stats.windows[second]
        if _is_bad(part, guards, limit_ms):
            if since is None or (second + 1) * SUB_WINDOW_MS > since:
                since = None
        elif since is None and part.ok:
            since = max(second * SUB_WINDOW_MS, ejected_unix_ms)
    if since is None:
        return Wellness(None, 0)
    if limit_ms is not None and any(
        since <= start * IN_FLIGHT_BIN_MS < now_unix_ms - limit_ms - IN_FLIGHT_BIN_MS for start in stats.in_flight
    ):
        return Wellness(None, 0)
    first = since // SUB_WINDOW_MS
    return Wellness(since, sum(part.ok for second, part in stats.windows.items() if second >= first))


def _is_bad(part: SubWindow, guards: Guards, limit_ms: float | None) -> bool:
    if part.penalised > guards.error_rate * part.attempts:
        return True
    if limit_ms is None:
        return False
    slow = above(part.latency, limit_ms) + above(part.abandoned, limit_ms)
    return slow > SLOW_SHARE_MAX * (sum(part.latency.values()) + slow)


def _overdue_limit_ms(stats: RouteStats, guards: Guards) -> float:
    if guards.p95_ms is not None:
        return guards.p95_ms
    latency: dict[int, int] = {}
    for part in stats.windows.values():
        latency = added(latency, part.latency)
    usual = quantile_ms(latency, 1.0 - SLOW_SHARE_MAX)
    return OVERDUE_MS_DEFAULT if usual is None else max(float(SPAN_MS_MIN), 2 * usual)


def _overdue_ages(
    stats: RouteStats,
    limit_ms: float,
    *,
    since_unix_ms: int,
    now_unix_ms: int,
) -> dict[int, int]:
    """The attempts in flight that are older than the limit but began since, counted by the bucket of their age."""
    ages: dict[int, int] = {}
    for start, count in stats.in_flight.items():
        age_ms = now_unix_ms - (start + 1) * IN_FLIGHT_BIN_MS
        if age_ms > limit_ms and start >= since_unix_ms // IN_FLIGHT_BIN_MS:
            bucket = bucket_of(age_ms)
            ages[bucket] = ages.get(bucket, 0) + count
    return ages
