"""A decision is kept for the next task only while nothing that it rests on has changed."""

from flotilla.contracts.failures import FailureKind
from flotilla.contracts.stats import RouteKey
from flotilla.routing.policy_check import parse_policy
from flotilla.routing.router import PolicyRouter
from flotilla.routing.types import Decision, FleetView, PoolView, TaskView

SERVES = {"m": frozenset({"classify"})}
FLEET = FleetView(
    pools={
        "home": PoolView(zone="local", pool="home", models=SERVES, replicas=1, slots=2),
        "away": PoolView(zone="cloud", pool="away", models=SERVES, replicas=1, slots=2),
    }
)
INTERNAL = TaskView(capability="classify", scope="default", data_class="internal")
RESTRICTED = TaskView(capability="classify", scope="default", data_class="restricted")


def pools(decision: Decision) -> list[str]:
    return [choice.route.pool for choice in decision.routes]


def test_a_task_of_another_data_class_is_decided_anew():
    """What was kept for internal data gives restricted data no cloud route."""
    router = PolicyRouter("o")

    assert [["home", "away"], ["home", "away"]] == [pools(router.decide(INTERNAL, FLEET)) for _ in range(2)]
    assert ["home"] == pools(router.decide(RESTRICTED, FLEET))
    assert ["home", "away"] == pools(router.decide(INTERNAL, FLEET))


def test_the_same_decision_is_not_made_twice():
    """In a calm fleet the second task gets the very same object."""
    router = PolicyRouter("o")

    assert router.decide(INTERNAL, FLEET) is router.decide(INTERNAL, FLEET)


def test_a_full_pool_goes_behind():
    """The kept decision is not used while a pool in it has no free slot."""
    router = PolicyRouter("o")
    router.decide(INTERNAL, FLEET)

    assert ["away", "home"] == pools(router.decide(INTERNAL, FLEET, {"home": 2}))
    assert ["home", "away"] == pools(router.decide(INTERNAL, FLEET, {"home": 1}))


def test_a_changed_fleet_and_a_changed_policy_are_seen_at_once():
    """Both are told by identity."""
    router = PolicyRouter("o")
    router.decide(INTERNAL, FLEET)

    assert ["away"] == pools(router.decide(INTERNAL, FleetView(pools={"away": FLEET.pools["away"]})))
    router.use(parse_policy('[capabilities.classify]\nroutes = [{ pool = "away" }, { pool = "home" }]\n'))
    assert ["away", "home"] == pools(router.decide(INTERNAL, FLEET))


def test_a_retry_after_closes_the_route_for_the_next_task():
    """It does not wait for the next look at the health."""
    router = PolicyRouter("o", clock=lambda: 1_000_000)
    router.decide(INTERNAL, FLEET)
    attempt = router.recorder.at(RouteKey("home", "m", "classify"))
    attempt.started(999_000)
    attempt.failed(FailureKind.RATE_LIMITED, started_unix_ms=999_000, now_unix_ms=1_000_000, retry_after_s=5.0)

    assert ["away"] == pools(router.decide(INTERNAL, FLEET))
