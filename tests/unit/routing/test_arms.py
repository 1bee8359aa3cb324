"""What counts for which arm of a split, and what may be concluded of arms."""

import random

import msgspec
import pytest

from flotilla.contracts.attempts import Usage
from flotilla.contracts.experiments import ArmTotals, Moments, experiment_of
from flotilla.contracts.policy import RouteEntry
from flotilla.contracts.policy_rules import Rules
from flotilla.contracts.results import AttemptReport, Result
from flotilla.routing.arms import EXPERIMENTS_MAX, RECENT_MAX, Arms
from flotilla.routing.conclusions import Comparison, comparisons, conclusion
from flotilla.routing.split import DRAWN

NOW = 1_800_000_000_000
EXPERIMENT = "0" * 12


def attempt(pool: str, outcome: str = "ok", *, reason: str = DRAWN[0], latency_ms: float = 10.0) -> AttemptReport:
    return AttemptReport(pool=pool, model="m", outcome=outcome, latency_ms=latency_ms, reason=reason)


def result(task: str, *attempts: AttemptReport, capability: str = "classify", cost_usd: float | None = 0.5) -> Result:
    return Result(
        task=task, capability=capability, status="ok", attempts=list(attempts), usage=Usage(cost_usd=cost_usd)
    )


def test_a_task_counts_for_the_route_that_it_was_drawn_for():
    """
    Whoever answered it in the end; with the cost of all its attempts, and only a good attempt's latency.
    """
    arms = Arms()
    arms.ended("default", result("1", attempt("one", latency_ms=40.0)), EXPERIMENT, NOW)
    arms.ended("default", result("2", attempt("one", "timeout"), attempt("two", reason="failover")), EXPERIMENT, NOW)
    arms.ended("default", result("3", attempt("two", reason=DRAWN[1]), cost_usd=None), EXPERIMENT, NOW)

    record = arms.record("classify", EXPERIMENT)

    assert record is not None
    assert [
        ArmTotals(
            pool="one",
            model="m",
            ok=1,
            failed=1,
            latency_ms=Moments(count=1, total=40.0, squares=1600.0),
            cost_usd=Moments(count=2, total=1.0, squares=0.5),
        ),
        ArmTotals(pool="two", model="m", ok=1, latency_ms=Moments(count=1, total=10.0, squares=100.0)),
    ] == record.arms
    assert {("classify", EXPERIMENT)} == arms.changed


def test_what_was_not_drawn_or_was_given_up_does_not_count():
    """
    A probe, a wish of the caller, a task without an attempt, a cancelled one.
    """
    arms = Arms()
    for each in (
        result("1", attempt("one", reason="health probe")),
        result("2", attempt("one", reason="asked for by the caller")),
        result("3"),
        msgspec.structs.replace(result("4", attempt("one", "cancelled")), status="failed"),
        result("5", attempt("one", "timeout", reason="health probe"), attempt("one")),
    ):
        arms.ended("default", each, EXPERIMENT, NOW)

    assert arms.record("classify", EXPERIMENT) is None
    assert not arms.changed


def test_a_hedged_task_counts_for_the_route_that_it_was_drawn_for():
    """
    Whichever of the two answered first, and in whatever order they stand: without them an arm's slow tasks are missing.
    """
    arms = Arms()
    hedge = "hedge: no answer of one within 50 ms"
    won = result("1", attempt("one", "cancelled", latency_ms=70.0), attempt("two", reason=hedge))
    lost = result("2", attempt("two", "cancelled", reason=hedge), attempt("one", latency_ms=60.0))
    failed = result("3", attempt("two", reason=hedge), attempt("one", "timeout"))
    for each in (won, lost, failed):
        arms.ended("default", each, EXPERIMENT, NOW)

    record = arms.record("classify", EXPERIMENT)

    assert record is not None
    assert [("one", 2, 1, Moments(count=2, total=130.0, squares=8500.0))] == [
        (arm.pool, arm.ok, arm.failed, arm.latency_ms) for arm in record.arms
    ]


def test_a_task_that_its_caller_gave_up_while_it_was_hedged_does_not_count():
    """
    Both attempts were cancelled.
    """
    arms = Arms()
    hedge = attempt("two", "cancelled", reason="hedge: no answer of one within 50 ms")
    given_up = result("1", hedge, attempt("one", "cancelled"))
    arms.ended("default", msgspec.structs.replace(given_up, status="failed"), EXPERIMENT, NOW)

    assert arms.record("classify", EXPERIMENT) is None


def test_an_experiment_began_with_its_first_task_and_begins_anew_when_it_was_forgotten():
    """
    Latencies below a millisecond are taken as they are; an answer to a task names its arm and experiment.
    """
    arms = Arms()
    arms.ended("default", result("1", attempt("one", latency_ms=0.5)), EXPERIMENT, NOW)
    arms.ended("default", result("2", attempt("one", latency_ms=0.5)), EXPERIMENT, NOW + 1)

    record, recent = arms.record("classify", EXPERIMENT), arms.arm_of_recent("default", "1")
    assert record is not None
    assert NOW == record.began_unix_ms
    assert 0.5 == record.arms[0].latency_ms.mean
    assert recent is not None
    assert EXPERIMENT == recent.experiment

    for number in range(EXPERIMENTS_MAX):
        arms.ended("default", result("3", attempt("one")), f"{number + 1:012}", NOW + 2)
    arms.ended("default", result("4", attempt("one")), EXPERIMENT, NOW + 3)
    again = arms.record("classify", EXPERIMENT)
    assert again is not None
    assert NOW + 3 == again.began_unix_ms


def test_what_is_remembered_is_bounded():
    """
    Arms of tasks, a scope's not another's, and no scope's for another's many; and experiments.
    """
    arms = Arms()
    arms.ended("beta", result("mine", attempt("one")), EXPERIMENT, NOW)
    for task in range(RECENT_MAX + 1):
        arms.ended("default", result(str(task), attempt("one")), EXPERIMENT, NOW)
    assert arms.arm_of_recent("beta", "mine") is not None
    assert arms.arm_of_recent("default", "0") is None
    assert arms.arm_of_recent("acme", "1") is None
    assert arms.arm_of_recent("default", str(RECENT_MAX)) is not None
    for number in range(EXPERIMENTS_MAX):
        arms.ended("default", result("x", attempt("one"), capability=f"c-{number}"), EXPERIMENT, NOW)
    assert arms.record("classify", EXPERIMENT) is None
    assert EXPERIMENTS_MAX == len(arms.changed)


def test_as_many_arms_are_remembered_as_may_be_also_after_results_that_came_twice(monkeypatch: pytest.MonkeyPatch):
    """
    The oldest goes for one that is new, one at a time.
    """
    monkeypatch.setattr("flotilla.routing.arms.RECENT_MAX", 5)
    arms = Arms()

    def end(*tasks: int) -> list[int]:
        for task in tasks:
            arms.ended("default", result(str(task), attempt("one")), EXPERIMENT, NOW)
        return [task for task in range(10) if arms.arm_of_recent("default", str(task))]

    assert [0, 1, 2, 3, 4] == end(0, 1, 2, 3, 4)
    assert [1, 2, 3, 4, 5] == end(5)
    assert [2, 3, 4, 5] == end(5, 5, 5)
    assert [2, 3, 4, 5, 6] == end(6)
    assert [3, 4, 5, 6, 7] == end(7)


def test_other_routes_or_weights_are_another_experiment():
    """
    Their order is not.
    """
    one, two = RouteEntry(pool="one", weight=9.0), RouteEntry(pool="two")

    def name(*routes: RouteEntry, strategy: str = "split") -> str:
        return experiment_of("classify", Rules(strategy=strategy, routes=routes))

    assert name(one, two) == name(two, one) == name(one, RouteEntry(pool="two", weight=1.0))
    assert 3 == len({name(one, two), name(RouteEntry(pool="one", weight=8.0), two), name(one)})
    moving = Rules(strategy="split", routes=(one, two), strategy_options={"allocation": "thompson"})
    assert "" == experiment_of("classify", moving)
    assert "" == name(one, two, strategy="failover") == experiment_of("classify", Rules(strategy="split"))


def arm(pool: str, rng: random.Random, *, rate: float, latency_ms: float, score: float, tasks: int = 600) -> ArmTotals:
    totals = ArmTotals(pool=pool, model="m")
    for _ in range(tasks):
        ok = rng.random() < rate
        totals += ArmTotals(
            pool=pool,
            model="m",
            ok=int(ok),
            failed=int(not ok),
            latency_ms=Moments().with_value(rng.expovariate(1 / latency_ms)),
            score=Moments().with_value(float(rng.random() < score)),
        )
    return totals


def certain(found: list[Comparison]) -> set[str]:
    return {each.quantity for each in found if each.is_certain}


def test_a_planted_difference_is_named_and_no_other():
    """
    Each quantity by itself; nothing is said of costs, of which there were none.
    """
    rng = random.Random(3)
    first = arm("one", rng, rate=0.9, latency_ms=100.0, score=0.7)
    second = arm("two", rng, rate=0.9, latency_ms=100.0, score=0.9)
    third = arm("three", rng, rate=0.7, latency_ms=200.0, score=0.7)

    assert {"score"} == certain(comparisons([first, second]))
    assert {"success", "latency_ms"} == certain(comparisons([first, third]))
    assert set() == certain(comparisons([first, first]))
    found = comparisons([first, second, third])
    assert 6 == len(found)
    assert "compared with one/m, two/m scores higher; three/m fails more and is slower; the rest may be chance" == (
        conclusion([first, second, third], found)
    )


def test_nothing_is_concluded_from_too_little():
    """
    And it is said what is missing.
    """
    rng = random.Random(4)
    first, second = (arm(pool, rng, rate=1.0, latency_ms=9.0, score=0.5, tasks=20) for pool in ("one", "two"))

    assert "fewer than two arms" in conclusion([first], comparisons([first]))
    assert "one/m has had 20 of 50 tasks" in conclusion([first, second], comparisons([first, second]))
    assert set() == certain(comparisons([first, second]))
