"""Recorder, breakers and the router's state, step by step."""

import random

import pytest

from flotilla.contracts.attempts import Usage
from flotilla.contracts.failures import FailureKind
from flotilla.contracts.policy import BreakerPolicy
from flotilla.contracts.policy_rules import Guards
from flotilla.contracts.stats import EMPTY, SUB_WINDOWS_MAX, RouteKey, RouteStats, SubWindow, encode_stats, stats_key
from flotilla.routing.breakers import CLOSED, stepped
from flotilla.routing.judgement import crossed, look
from flotilla.routing.recorder import Recorder, RouteRecorder
from flotilla.routing.router import PolicyRouter
from flotilla.routing.types import FleetView, PoolView, TaskView

NOW = 1_800_000_000_000
KEY = RouteKey("home", "m", "classify")
BREAKER = BreakerPolicy(failures_in_a_row=3, open_s=2.0, open_max_s=5.0)


def test_a_recorder_counts_what_went_on() -> None:
    """
    Each attempt once, in the second in which it ended.
    """
    recorder = RouteRecorder()
    for _ in range(4):
        recorder.started(NOW)
    recorder.finished(
        started_unix_ms=NOW,
        now_unix_ms=NOW + 50,
        usage=Usage(input_tokens=3, output_tokens=4, cost_usd=0.25),
        first_piece_ms=20.0,
    )
    recorder.failed(FailureKind.TIMEOUT, started_unix_ms=NOW, now_unix_ms=NOW + 60)
    recorder.cancelled(started_unix_ms=NOW, now_unix_ms=NOW + 70)

    stats = recorder.snapshot(NOW + 100)

    total = stats.total
    assert (total.ok, total.failures, total.cancelled) == (1, {"timeout": 1}, 1)
    assert (total.input_tokens, total.output_tokens, total.cost_usd) == (3, 4, 0.25)
    assert (sum(total.latency.values()), sum(total.first_piece.values()), sum(total.abandoned.values())) == (2, 1, 1)
    assert stats.in_flight_count == 1
    assert stats.oldest_in_flight_ms(NOW + 100) == 100.0
    assert (stats.failed_in_a_row, stats.last_ok_unix_ms, stats.last_failure_unix_ms) == (1, NOW + 50, NOW + 60)


def test_attempts_of_unknown_cost_are_counted_apart() -> None:
    """
    The mean is that of the others, and unknown when there are none.
    """
    recorder = RouteRecorder()
    for _ in range(4):
        recorder.started(NOW)
    unknown = Usage(input_tokens=3, cost_usd=None)
    recorder.finished(started_unix_ms=NOW, now_unix_ms=NOW + 50, usage=unknown)
    recorder.failed(FailureKind.TIMEOUT, started_unix_ms=NOW, now_unix_ms=NOW + 60, usage=unknown)
    total = recorder.snapshot(NOW + 100).total
    assert (total.unpriced, total.unpriced_ok, total.cost_usd, total.mean_cost_usd) == (2, 1, 0.0, None)

    recorder.finished(started_unix_ms=NOW, now_unix_ms=NOW + 70, usage=Usage(cost_usd=0.5))
    recorder.finished(started_unix_ms=NOW, now_unix_ms=NOW + 70, usage=Usage(cost_usd=1e300))
    total = recorder.snapshot(NOW + 100).total
    assert (total.unpriced, total.ok) == (2, 3)
    assert (total.cost_usd, total.mean_cost_usd) == (1_000_000.5, 500_000.25)


def test_a_recorder_forgets_what_has_left_the_window() -> None:
    """
    Its memory does not grow with time.
    """
    recorder = Recorder()
    at = recorder.at(KEY)
    for second in range(200):
        at.started(NOW + second * 1000)
        at.finished(started_unix_ms=NOW + second * 1000, now_unix_ms=NOW + second * 1000 + 5)
    assert len(recorder.snapshots(NOW + 199_500)[KEY].windows) == SUB_WINDOWS_MAX
    assert recorder.snapshots(NOW + 400_000) == {}


def test_a_failure_that_says_when_to_come_back_is_not_penalised_besides() -> None:
    """
    It closes the route by its own word.
    """
    recorder = Recorder()
    at = recorder.at(KEY)
    at.started(NOW)
    at.failed(FailureKind.RATE_LIMITED, started_unix_ms=NOW, now_unix_ms=NOW + 10, retry_after_s=2.5)

    stats = at.snapshot(NOW + 20)
    assert (stats.retry_after_until_unix_ms, stats.failed_in_a_row, stats.total.penalised) == (NOW + 2510, 0, 0)
    assert recorder.asked == {("home", "m"): NOW + 2510}


def failures(row: int, at_unix_ms: int, *, ok_unix_ms: int = 0) -> RouteStats:
    return RouteStats(failed_in_a_row=row, last_failure_unix_ms=at_unix_ms, last_ok_unix_ms=ok_unix_ms)


def test_a_breaker_opens_after_failures_in_a_row_and_closes_after_one_good_trial() -> None:
    """
    Closed, open, half-open, closed.
    """
    assert stepped(CLOSED, failures(2, NOW), BREAKER, NOW) == CLOSED
    opened = stepped(CLOSED, failures(3, NOW), BREAKER, NOW + 10)
    assert (opened.phase, opened.until_unix_ms) == ("open", NOW + 2000)
    assert stepped(opened, failures(3, NOW), BREAKER, NOW + 1999).phase == "open"
    half = stepped(opened, failures(3, NOW), BREAKER, NOW + 2000)
    assert half.phase == "half_open"
    assert stepped(half, failures(3, NOW), BREAKER, NOW + 9000).phase == "half_open"
    assert stepped(half, failures(3, NOW, ok_unix_ms=NOW + 2500), BREAKER, NOW + 2600) == CLOSED


def test_a_trial_that_fails_opens_the_breaker_for_twice_as_long_up_to_a_limit() -> None:
    """
    By another orchestrator too, whose row of failures is short.
    """
    breaker, at = CLOSED, NOW
    lasted: list[int] = []
    for trial in range(4):
        breaker = stepped(breaker, failures(3 if trial == 0 else 1, at), BREAKER, at)
        assert breaker.phase == "open"
        lasted.append(breaker.until_unix_ms - at)
        breaker = stepped(breaker, failures(1, at), BREAKER, breaker.until_unix_ms)
        assert breaker.phase == "half_open"
        at = breaker.until_unix_ms + 100
    assert lasted == [2000, 4000, 5000, 5000]


def test_failures_of_several_orchestrators_add_up_to_a_row() -> None:
    """
    None of them saw three, together they did, and nobody has seen a success since.
    """
    second = NOW // 1000
    spread = RouteStats(
        windows={second: SubWindow(failures={"unavailable": 2}), second + 1: SubWindow(failures={"timeout": 2})},
        failed_in_a_row=1,
        last_failure_unix_ms=NOW + 1500,
        last_ok_unix_ms=NOW - 5000,
    )

    assert stepped(CLOSED, spread, BREAKER, NOW + 1600).phase == "open"


@pytest.mark.parametrize(("slow", "leaves"), [(1, False), (2, True)])
def test_one_slow_attempt_alone_crosses_no_guard(slow: int, leaves: bool) -> None:  # noqa: FBT001 - a case of two
    """
    However few samples are asked for.
    """
    recorder = RouteRecorder()
    for number in range(12):
        latency_ms = 900 if number < slow else 50
        recorder.started(NOW)
        recorder.finished(started_unix_ms=NOW, now_unix_ms=NOW + latency_ms)
    guards = Guards(p95_ms=500.0, min_samples=5)

    why = crossed(look(recorder.snapshot(NOW + 950), guards, since_unix_ms=0, now_unix_ms=NOW + 950), guards)

    assert bool(why) is leaves


def test_fewer_than_min_samples_cross_no_guard() -> None:
    """
    But those that are stuck in flight count.
    """
    recorder = RouteRecorder()
    guards = Guards(p95_ms=500.0, min_samples=10)
    for _ in range(9):
        recorder.started(NOW)

    def why() -> str:
        at = NOW + 800
        return crossed(look(recorder.snapshot(at), guards, since_unix_ms=0, now_unix_ms=at), guards)

    assert why() == ""
    recorder.started(NOW)
    assert why().startswith("p95")


def test_a_router_passes_over_what_it_does_not_understand() -> None:
    """
    A foreign or damaged value in the bucket costs only what that value would have told.
    """
    router = PolicyRouter("me", rng=random.Random(0), clock=lambda: NOW)

    assert not router.heard("nonsense", b"{}")
    assert not router.heard(stats_key(KEY, "other"), b"nonsense")
    assert router.heard(stats_key(KEY, "other"), encode_stats(EMPTY))
    assert router.heard(stats_key(KEY, "other"), None)
    router.update()
    assert router.merged() == {}


def test_a_router_does_not_count_itself_twice() -> None:
    """
    What it published comes back by the watch.
    """
    router = PolicyRouter("me", rng=random.Random(0), clock=lambda: NOW + 60)
    at = router.recorder.at(KEY)
    at.started(NOW)
    at.finished(started_unix_ms=NOW, now_unix_ms=NOW + 50)

    for key, (_, body) in router.told().items():
        assert router.heard(key, body)

    assert router.merged()[KEY].total.ok == 1


def test_explaining_a_route_uses_up_no_probe() -> None:
    """
    Asking where a task would go changes nothing.
    """
    now = [NOW]
    router = PolicyRouter("me", rng=random.Random(0), clock=lambda: now[0])
    at = router.recorder.at(KEY)
    for _ in range(9):
        at.started(NOW)
        at.failed(FailureKind.UNAVAILABLE, started_unix_ms=NOW, now_unix_ms=NOW + 1)
    now[0] = NOW + 10
    router.update()
    now[0] = NOW + 2500
    router.update()
    models = {"m": frozenset({"classify"})}
    fleet = FleetView(pools={"home": PoolView(zone="local", pool="home", models=models, replicas=1, slots=1)})
    task = TaskView(capability="classify", scope="default", data_class="internal")

    assert router.explain(task, fleet).routes[0].probe
    assert router.explain(task, fleet).routes[0].probe
    assert router.decide(task, fleet).routes[0].probe
    assert router.decide(task, fleet).routes == ()
