"""When a route is ejected, when it returns, and what part of the tasks it gets meanwhile."""

from typing import Any, Final

import msgspec
import pytest

from flotilla.contracts.policy import BreakerPolicy
from flotilla.contracts.policy_rules import Guards, Probe, Rules
from flotilla.contracts.stats import EMPTY, EMPTY_SUB_WINDOW, RouteStats, SubWindow
from flotilla.routing.breakers import CLOSED, Breaker, stepped
from flotilla.routing.ejections import HEALTHY, SHARE_MIN, STRIKES_MAX, Standing, next_standing, share
from flotilla.routing.judgement import Recent

NOW: Final = 1_800_000_000_000
SECOND: Final = NOW // 1000
RULES: Final = Rules(
    guards=Guards(error_rate=0.2, min_samples=4), probe=Probe(successes_min=2), return_after_s=10.0, ramp_s=20.0
)
SOON_MS: Final = 40_000
"""Twice the time before a return, and the ramp."""


def recent(failed: int) -> Recent:
    """Ten attempts, so many of which failed."""
    window = msgspec.structs.replace(EMPTY_SUB_WINDOW, ok=10 - failed, failures={"unavailable": failed})
    return Recent(window=window, latency={}, timed=0, slow=0, overdue=0, stalled=False)


WELL: Final = recent(0)
ILL: Final = recent(5)


def after(
    standing: Standing, *, seen: Recent = WELL, stats: RouteStats = EMPTY, closed_by: str = "", now_unix_ms: int = NOW
) -> Standing:
    return next_standing(standing, stats, seen, RULES, closed_by=closed_by, now_unix_ms=now_unix_ms)


def successes(*seconds_ago: int) -> RouteStats:
    """One attempt that went well in each of these seconds."""
    return RouteStats(windows={SECOND - ago: SubWindow(ok=1) for ago in seconds_ago})


@pytest.mark.parametrize(
    ("seen", "closed_by", "why"),
    [
        (ILL, "", "error rate 50% over 20%"),
        (WELL, "breaker open", "breaker open"),
        (ILL, "breaker open", "breaker open"),
    ],
)
@pytest.mark.parametrize("phase", ["healthy", "returning"])
def test_a_guard_or_a_breaker_ejects(seen: Recent, closed_by: str, why: str, phase: Any) -> None:
    """
    From now on, and nothing of the evidence before counts for its return.
    """
    standing = Standing(phase=phase, evidence_from_unix_ms=NOW - 5)

    assert Standing(phase="ejected", since_unix_ms=NOW, why=why) == after(standing, seen=seen, closed_by=closed_by)


def test_a_route_that_is_well_stays_as_it_is() -> None:
    """
    The very value, which is compared at every look.
    """
    returning = Standing(phase="returning", since_unix_ms=NOW - 19_999)

    assert after(HEALTHY) is HEALTHY
    assert after(returning) is returning


def test_at_the_end_of_its_ramp_a_route_is_healthy_and_keeps_what_is_known_of_it() -> None:
    """
    It may be ejected again soon.
    """
    returning = Standing(phase="returning", since_unix_ms=NOW - 20_000, evidence_from_unix_ms=NOW - 30_000, strikes=2)

    assert msgspec.structs.replace(returning, phase="healthy") == after(returning)


@pytest.mark.parametrize(
    ("since_unix_ms", "strikes", "follow"),
    [
        (0, 0, 0),
        (0, 2, 0),
        (1, 2, 0),
        (NOW, 0, 1),
        (NOW - SOON_MS + 1, 1, 2),
        (NOW - SOON_MS, 1, 0),
        (NOW - 1, STRIKES_MAX, STRIKES_MAX),
    ],
)
def test_another_ejection_soon_after_a_return_counts(since_unix_ms: int, strikes: int, follow: int) -> None:
    """
    Up to a bound; later it is another trouble, and the first ejection is the first.
    """
    standing = Standing(since_unix_ms=since_unix_ms, strikes=strikes)

    assert follow == after(standing, seen=ILL).strikes


@pytest.mark.parametrize(
    ("ejected_s_ago", "stats", "closed_by", "strikes", "returns"),
    [
        (10, successes(10, 5), "", 0, True),
        (10, successes(10, 5), "breaker open", 0, False),
        (10, successes(9, 5), "", 0, False),
        (10, successes(10), "", 0, False),
        (10, EMPTY, "", 0, False),
        (9, successes(10, 9, 5), "", 0, False),
        (20, successes(20, 5), "", 1, True),
        (19, successes(20, 19, 5), "", 1, False),
        (40, successes(40, 5), "", 2, True),
        (39, successes(40, 39, 5), "", 2, False),
    ],
    ids=[
        "well for long enough",
        "its breaker is open",
        "not for long enough",
        "too few successes",
        "nothing is known",
        "ejected only a while ago",
        "twice as long after a strike",
        "not as long after a strike",
        "four times as long after two",
        "not as long after two",
    ],
)
def test_an_ejected_route_returns_when_it_has_been_well_for_long_enough(
    ejected_s_ago: int, stats: RouteStats, closed_by: str, strikes: int, *, returns: bool
) -> None:
    """
    By what its health probes have seen since.
    """
    since = NOW - ejected_s_ago * 1000
    standing = Standing(phase="ejected", since_unix_ms=since, why="p95", strikes=strikes)

    found = after(standing, stats=stats, closed_by=closed_by)

    well_since = max(since, min(stats.windows) * 1000) if stats.windows else None
    if returns:
        expected = Standing(
            phase="returning", since_unix_ms=NOW, evidence_from_unix_ms=well_since or 0, strikes=strikes
        )
    else:
        expected = msgspec.structs.replace(standing, well_since_unix_ms=well_since)
    assert expected == found


def test_health_lasts_for_longer_than_the_window_remembers() -> None:
    """
    It is what was said last.
    """
    since = NOW - 60_000
    standing = Standing(phase="ejected", since_unix_ms=since, well_since_unix_ms=since + 1, strikes=2)

    assert since + 1 == after(standing, stats=successes(3, 2)).evidence_from_unix_ms


@pytest.mark.parametrize(
    ("phase", "returned_s_ago", "part"),
    [
        ("healthy", 0, 1.0),
        ("ejected", 0, 0.0),
        ("returning", 0, SHARE_MIN),
        ("returning", -5, SHARE_MIN),
        ("returning", 10, 0.55),
        ("returning", 20, 1.0),
        ("returning", 30, 1.0),
    ],
)
def test_the_share_of_a_route_that_returns_grows_with_time(phase: Any, returned_s_ago: int, part: float) -> None:
    """
    From a tenth, evenly; a clock that is behind has it at the beginning.
    """
    standing = Standing(phase=phase, since_unix_ms=NOW - returned_s_ago * 1000)

    assert pytest.approx(part) == share(standing, RULES, NOW)


BREAKER: Final = BreakerPolicy(failures_in_a_row=3, open_s=2.0, open_max_s=5.0)


def failed(at_unix_ms: int, row: int = 3, *, ok_unix_ms: int = 0, **seconds: int) -> RouteStats:
    windows = {int(second[1:]): SubWindow(failures={"unavailable": count}) for second, count in seconds.items()}
    return RouteStats(failed_in_a_row=row, last_failure_unix_ms=at_unix_ms, last_ok_unix_ms=ok_unix_ms, windows=windows)


@pytest.mark.parametrize(
    ("stats", "phase"),
    [
        (failed(NOW), "open"),
        (failed(NOW, ok_unix_ms=NOW - 1), "open"),
        (failed(NOW, ok_unix_ms=NOW), "closed"),
        (failed(NOW, 2), "closed"),
        (failed(NOW - 1_999), "open"),
        (failed(NOW - 2_000), "half_open"),
        (failed(NOW, 1, ok_unix_ms=5_000, s5=2, s6=2), "closed"),
        (failed(NOW, 1, ok_unix_ms=5_000, s6=2, s7=1), "open"),
    ],
    ids=[
        "a row of failures",
        "after a success",
        "a success at the same time",
        "one too few",
        "a moment less than the open time ago",
        "the whole open time ago: a probe tells",
        "those of the second of the last success do not count",
        "those of all seconds since count",
    ],
)
def test_a_breaker_opens_after_a_row_of_failures(stats: RouteStats, phase: str) -> None:
    """
    For a while that begins with the last of them.
    """
    found = stepped(CLOSED, stats, BREAKER, NOW)

    opened_at = 0 if phase == "closed" else stats.last_failure_unix_ms + 2_000
    assert (phase, opened_at, phase != "closed") == (found.phase, found.until_unix_ms, found.opens)


def test_a_breaker_that_opens_with_the_first_failure_stays_closed_after_a_success() -> None:
    """
    The success was no failure.
    """
    policy = msgspec.structs.replace(BREAKER, failures_in_a_row=1)

    assert CLOSED == stepped(CLOSED, failed(NOW - 1, ok_unix_ms=NOW), policy, NOW)
    assert "open" == stepped(CLOSED, failed(NOW, 1, ok_unix_ms=NOW - 1), policy, NOW).phase


@pytest.mark.parametrize(
    ("ok_after_ms", "failed_after_ms", "phase", "opens"),
    [
        (-1, -1, "half_open", 2),
        (0, -1, "closed", 0),
        (0, 0, "closed", 0),
        (1, 2, "open", 3),
        (2, 1, "closed", 0),
        (-1, 0, "open", 3),
    ],
)
def test_the_first_probe_of_a_half_open_breaker_decides(
    ok_after_ms: int, failed_after_ms: int, phase: str, opens: int
) -> None:
    """
    What ended before it was half-open is no probe.
    """
    half_open = Breaker(phase="half_open", until_unix_ms=NOW, opens=2)
    stats = RouteStats(last_ok_unix_ms=NOW + ok_after_ms, last_failure_unix_ms=NOW + failed_after_ms)

    found = stepped(half_open, stats, BREAKER, NOW + 5)

    assert (phase, opens) == (found.phase, found.opens)
    if phase == "open":
        assert NOW + failed_after_ms + 5_000 == found.until_unix_ms
