"""Vectors of two models are never given for one capability, unless the policy names both."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flotilla.contracts.policy import CapabilityPolicy, Policy, RouteEntry
from flotilla.routing.compiled import CompiledPolicy
from flotilla.routing.health import UNKNOWN
from flotilla.routing.one_model import base_name
from flotilla.routing.policy_routing import route
from flotilla.routing.types import Decision, FleetView, PoolView, TaskView

NOW = 1_800_000_000_000


def pool(name: str, *models: str, zone: str = "local", stands_in: bool = False, slots: int = 4) -> PoolView:
    """One that embeds with these models, and chats with another."""
    serving = {model: frozenset({"embed"}) for model in models}
    return PoolView(
        zone="cloud" if zone == "cloud" else "local",
        pool=name,
        models={"chat": frozenset({"chat"}), **serving},
        replicas=1,
        slots=slots,
        stands_in=stands_in,
    )


def decide(
    *pools: PoolView,
    policy: CapabilityPolicy | None = None,
    default: CapabilityPolicy | None = None,
    held: str | None = None,
    data_class: str = "internal",
    wanted: tuple[str, str | None] = ("", None),
) -> Decision:
    """Where an embedding goes."""
    document = Policy(default=default, capabilities={} if policy is None else {"embed": policy})
    compiled = CompiledPolicy(document, {} if held is None else {"embed": held})
    task = TaskView(
        capability="embed",
        scope="default",
        data_class="restricted" if data_class == "restricted" else "internal",
        wanted_pool=wanted[0] or None,
        wanted_model=wanted[1],
    )
    fleet = FleetView(pools={each.pool: each for each in pools})
    return route(task, compiled, fleet, UNKNOWN, now_unix_ms=NOW, rng=random.Random(0))


def routes(decision: Decision) -> list[tuple[str, str]]:
    """Pools and models, in order."""
    return [(choice.route.pool, choice.route.model) for choice in decision.routes]


def test_before_the_first_task_the_model_to_be_held_is_chosen_and_nothing_is_routed():
    """
    At home before the cloud, then by the pool's name: every orchestrator would choose the same.
    """
    decision = decide(pool("z", "bge-m3", zone="cloud"), pool("b", "nomic"), pool("c", "bge-m3"))

    assert decision.routes == ()
    assert decision.to_hold == "nomic"
    assert all(each.waits and each.until_unix_ms > NOW for each in decision.excluded)


def test_a_wish_and_the_data_class_choose_what_is_held():
    """
    As they would choose the route.
    """
    pools = (pool("a", "bge-m3", zone="cloud"), pool("b", "nomic", "other"))

    assert decide(*pools, wanted=("a", None)).to_hold == "bge-m3"
    assert decide(*pools, wanted=("b", "other")).to_hold == "other"
    assert decide(*pools, data_class="restricted").to_hold == "nomic"


def test_a_capability_is_held_to_its_model():
    """
    In whatever pool, and behind another model of the same pool; others are out, and say why.
    """
    decision = decide(pool("p", "nomic"), pool("q", "bge-m3"), pool("r", "bge-m3", "nomic:latest"), held="nomic")

    assert sorted(routes(decision)) == [("p", "nomic"), ("r", "nomic:latest")]
    assert [(out.pool, out.waits) for out in decision.excluded] == [("q", False)]
    assert "held to nomic" in decision.excluded[0].reason


def test_when_no_pool_has_the_model_a_durable_task_waits_for_it():
    """
    And whoever asks is told what it is held to, and what to do.
    """
    for others in ((pool("q", "bge-m3"),), ()):
        decision = decide(*others, held="nomic")

        assert decision.routes == ()
        assert decision.excluded[-1].waits
        assert "held to nomic, which no live pool serves" in decision.excluded[-1].reason
        assert "policy" in decision.excluded[-1].reason


def test_a_wish_does_not_widen_it():
    """
    Vectors of the other model would be taken for those of this one.
    """
    pools = (pool("p", "nomic"), pool("q", "bge-m3", "nomic"))

    assert routes(decide(*pools, held="nomic", wanted=("q", "bge-m3"))) == []
    assert routes(decide(*pools, held="nomic", wanted=("q", None))) == [("q", "nomic")]


def test_a_policy_that_names_models_rules():
    """
    One, or as many as it names; whatever is held.
    """
    pools = (pool("p", "nomic"), pool("q", "bge-m3"))
    one = CapabilityPolicy(routes=[RouteEntry(pool="q", model="bge-m3")])
    both = CapabilityPolicy(routes=[RouteEntry(pool="q", model="bge-m3"), RouteEntry(pool="p", model="nomic")])

    assert routes(decide(*pools, policy=one, held="nomic")) == [("q", "bge-m3")]
    assert routes(decide(*pools, policy=both, held="nomic")) == [("q", "bge-m3"), ("p", "nomic")]


@pytest.mark.parametrize("by_default", [True, False])
def test_a_policy_that_names_pools_alone_says_nothing_of_models(by_default: bool):  # noqa: FBT001
    """
    They are listed for their place, and the default for every capability.
    """
    listed = CapabilityPolicy(routes=[RouteEntry(pool="q"), RouteEntry(pool="p")])
    default, policy = (listed, None) if by_default else (None, listed)
    pools = (pool("p", "nomic"), pool("q", "bge-m3"))

    assert routes(decide(*pools, held="nomic", default=default, policy=policy)) == [("p", "nomic")]
    assert decide(*pools, default=default, policy=policy).to_hold == "bge-m3"


def test_models_that_the_default_names_are_not_named_for_it():
    """
    A default that lists chat models and two for embedding was not written with vectors in mind.
    """
    listed = CapabilityPolicy(routes=[RouteEntry(pool="q", model="bge-m3"), RouteEntry(pool="p", model="nomic")])

    assert routes(decide(pool("p", "nomic"), pool("q", "bge-m3"), default=listed, held="nomic")) == [("p", "nomic")]


def test_engines_that_stand_in_are_held_to_nothing_and_never_stand_beside_a_model():
    """
    Nobody keeps their vectors.
    """
    engines = (pool("local", "embedded", stands_in=True), pool("cloud", "embedded", zone="cloud", stands_in=True))

    alone = decide(*engines)
    assert (routes(alone), alone.to_hold) == ([("local", "embedded"), ("cloud", "embedded")], None)
    assert decide(*engines, pool("p", "nomic")).to_hold == "nomic"
    assert routes(decide(*engines, pool("p", "nomic"), held="nomic")) == [("p", "nomic")]
    assert routes(decide(*engines, held="nomic")) == []


def test_other_capabilities_are_held_to_no_model():
    """
    Their answers stand for themselves.
    """
    assert CompiledPolicy(None, {"embed": "nomic"}).models_of("chat") is None


MODELS = st.sampled_from(["nomic", "nomic:latest", "bge-m3", "e5", ""])
POOLS = st.lists(
    st.builds(
        pool,
        st.sampled_from(["a", "b", "c", "d"]),
        MODELS,
        MODELS,
        zone=st.sampled_from(["local", "cloud"]),
        stands_in=st.booleans(),
        slots=st.integers(0, 2),
    ),
    unique_by=lambda each: each.pool,
)
ENTRIES = st.lists(
    st.builds(RouteEntry, pool=st.sampled_from(["a", "b", "c"]), model=st.none() | MODELS.filter(bool)), min_size=1
)


@given(
    POOLS,
    st.none() | st.builds(CapabilityPolicy, routes=ENTRIES),
    st.none() | MODELS,
    st.sampled_from([("", None), ("a", None), ("b", "nomic"), ("c", "e5")]),
)
def test_whatever_the_fleet_one_decision_has_one_model_unless_the_policy_names_more(
    pools: list[PoolView],
    policy: CapabilityPolicy | None,
    held: str | None,
    wanted: tuple[str, str | None],
):
    """
    And it is the one that it is held to.
    """
    decision = decide(*pools, policy=policy, held=held, wanted=wanted)
    named = {base_name(entry.model) for entry in (policy and policy.routes) or () if entry.model is not None}
    models = {base_name(model) for _, model in routes(decision)}

    if named:
        assert models <= named
    elif held is not None:
        assert models <= {base_name(held)}
    else:
        assert len(models) <= 1
