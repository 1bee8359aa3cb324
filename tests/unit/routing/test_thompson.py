"""Which share of the tasks each arm gets."""

import random

import pytest

from flotilla.contracts.policy import CapabilityPolicy, Policy, RouteEntry
from flotilla.routing.compiled import CompiledPolicy
from flotilla.routing.health import UNKNOWN, Health, RouteHealth
from flotilla.routing.policy_routing import route
from flotilla.routing.thompson import SHARE_MIN, Arm, propensities, shares_of
from flotilla.routing.types import Figures, FleetView, PoolView, TaskView


def test_the_better_arm_gets_most_and_no_arm_less_than_the_floor():
    """
    The shares are the propensities: they add up to 1.
    """
    shares = propensities([Arm(900, 100), Arm(500, 500), Arm(10, 990)], random.Random(1), floor=0.05)

    assert 1.0 == pytest.approx(sum(shares))
    assert [0.9, 0.05, 0.05] == pytest.approx(shares)


def test_arms_of_which_nothing_is_known_share_alike():
    """
    And a floor above an equal share is an equal share.
    """
    assert [0.5, 0.5] == pytest.approx(propensities([Arm(), Arm()], random.Random(2)), abs=0.05)
    assert [0.25] * 4 == propensities([Arm(9, 1), *[Arm()] * 3], random.Random(3), floor=0.9)
    assert [] == propensities([], random.Random(4))


def test_tasks_move_to_the_better_arm_and_the_weighted_mean_stays_true():
    """
    Of a simulated run in which shares are worked out anew every fifty tasks and each choice is logged with its own.
    """
    rng = random.Random(5)
    truth = (0.6, 0.8)
    arms = [Arm(), Arm()]
    logged: list[tuple[int, bool, float]] = []
    for _ in range(100):
        shares = propensities(arms, rng, floor=0.1)
        for _ in range(50):
            arm = 0 if rng.random() < shares[0] else 1
            went_well = rng.random() < truth[arm]
            logged.append((arm, went_well, shares[arm]))
            known = arms[arm]
            arms[arm] = Arm(known.successes + went_well, known.failures + (not went_well))

    late = [arm for arm, *_ in logged[-1_000:]]
    weighted = [sum(well / share for arm, well, share in logged if arm == each) / len(logged) for each in (0, 1)]

    assert late.count(1) > 800
    assert list(truth) == pytest.approx(weighted, abs=0.06)


def test_the_same_knowledge_gives_the_same_shares_everywhere():
    """
    And a route without a floor can still be drawn.
    """
    arms = (Arm(100, 0), Arm(0, 100))

    shares_of.cache_clear()
    first = shares_of(arms, 0.0)
    shares_of.cache_clear()

    assert first == shares_of(arms, 0.0)
    assert (1.0, SHARE_MIN) == first


@pytest.mark.parametrize(("sticky", "allocation"), [(None, "thompson"), ("key", "thompson"), (None, "weights")])
def test_a_split_follows_what_succeeds_and_says_how_probable_its_choice_was(sticky: str | None, allocation: str):
    """
    Whatever the weights; with `weights` they alone count.
    """
    entry = CapabilityPolicy(
        strategy="split",
        strategy_options={"allocation": allocation, "floor": 0.1},
        routes=[RouteEntry(pool="good", model="m"), RouteEntry(pool="bad", model="m", weight=9.0)],
    )
    serves = {"m": frozenset({"classify"})}
    pools = {name: PoolView(zone="local", pool=name, models=serves, replicas=1, slots=9) for name in ("good", "bad")}
    seen = {"good": Figures(samples=100, error_rate=0.0), "bad": Figures(samples=100, error_rate=0.4)}
    health = Health(routes={"classify": {(name, "m"): RouteHealth(figures=each) for name, each in seen.items()}})
    policy = CompiledPolicy(Policy(capabilities={"classify": entry}))
    rng = random.Random(6)

    def first(known: Health, key: str | None) -> tuple[str, str]:
        task = TaskView(capability="classify", scope="default", data_class="internal", sticky=key)
        choice = route(task, policy, FleetView(pools=pools), known, now_unix_ms=0, rng=rng).routes[0]
        return choice.route.pool, choice.reason

    found = [first(health, sticky and f"{sticky}-{number}") for number in range(1_000)]
    shares = {pool: sum(each == pool for each, _ in found) / len(found) for pool in ("good", "bad")}

    if allocation == "weights":
        assert pytest.approx(0.9, abs=0.05) == shares["bad"]
        assert {"drawn by its share of the split"} == {reason for _, reason in found}
    else:
        assert pytest.approx(0.9, abs=0.05) == shares["good"]
        assert ("good", "drawn with the probability 0.900 (Thompson sampling)") in found
        assert ("bad", "drawn with the probability 0.100 (Thompson sampling)") in found
        assert pytest.approx(0.5, abs=0.1) == [first(UNKNOWN, None)[0] for _ in range(500)].count("bad") / 500
