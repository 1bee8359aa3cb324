"""Engines that stand in for models get nothing that a live model serves."""

import random

import pytest

from flotilla.contracts.policy import CapabilityPolicy, Policy, RouteEntry
from flotilla.routing.compiled import CompiledPolicy
from flotilla.routing.health import UNKNOWN
from flotilla.routing.policy_routing import route
from flotilla.routing.types import Decision, FleetView, PoolView, TaskView

NOW = 1_800_000_000_000


def pool(name: str, zone: str = "local", *, stand_in: bool = False, serves: str = "classify") -> PoolView:
    """One with a single model."""
    return PoolView(
        zone="local" if zone == "local" else "cloud",
        pool=name,
        models={"m": frozenset({serves})},
        replicas=1,
        slots=4,
        gives_way=stand_in,
    )


def decide(
    *pools: PoolView, listed: tuple[str, ...] = (), restricted: bool = False, wanted: str | None = None
) -> Decision:
    """Where a classification goes."""
    entry = CapabilityPolicy(routes=[RouteEntry(pool=name) for name in listed] or None)
    task = TaskView(
        capability="classify",
        scope="default",
        data_class="restricted" if restricted else "internal",
        wanted_pool=wanted,
    )
    policy = CompiledPolicy(Policy(capabilities={"classify": entry}))
    fleet = FleetView(pools={each.pool: each for each in pools})
    return route(task, policy, fleet, UNKNOWN, now_unix_ms=NOW, rng=random.Random(1))


def pools_of(decision: Decision) -> set[str]:
    """Those that it lists."""
    return {choice.route.pool for choice in decision.routes}


NEAR, FAR = pool("near", stand_in=True), pool("far", "cloud", stand_in=True)


def test_alone_they_serve():
    """
    In both zones.
    """
    assert {"near", "far"} == pools_of(decide(NEAR, FAR))


@pytest.mark.parametrize("zone", ["local", "cloud"])
def test_beside_a_model_they_get_nothing(zone: str):
    """
    In whichever zone it is, and it is said why.
    """
    decision = decide(NEAR, FAR, pool("vllm", zone))

    assert {"vllm"} == pools_of(decision)
    assert {"near", "far"} == {out.pool for out in decision.excluded}
    assert all("stands in" in out.reason and "vllm" in out.reason for out in decision.excluded)


def test_what_no_model_serves_they_serve_still():
    """
    A model for chats does not embed.
    """
    assert {"near"} == pools_of(decide(NEAR, pool("vllm", serves="chat")))


def test_restricted_data_gets_no_stand_in_for_a_model_that_it_may_not_reach():
    """
    An answer that only looks like a model's is worse than none; and it never gets a cloud route.
    """
    decision = decide(NEAR, FAR, pool("anthropic", "cloud"), restricted=True)

    assert not decision.routes
    assert not any(out.waits for out in decision.excluded)


def test_a_wish_for_one_is_no_way_round():
    """
    A wish narrows, and never widens.
    """
    assert not decide(NEAR, pool("vllm"), wanted="near").routes


def test_a_policy_that_lists_a_stand_in_alone_means_it():
    """
    Listed beside a model it gives way all the same.
    """
    assert {"near"} == pools_of(decide(NEAR, pool("vllm"), listed=("near",)))
    assert {"vllm"} == pools_of(decide(NEAR, pool("vllm"), listed=("near", "vllm")))
