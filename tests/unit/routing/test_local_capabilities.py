"""What redacts and restores stays in the local zone, whatever policies list and cards say."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flotilla.contracts.headers import DataClass
from flotilla.contracts.policy import CapabilityPolicy, Policy, RouteEntry
from flotilla.contracts.redaction import LOCAL_CAPABILITIES, task_data_class
from flotilla.contracts.subjects import Zone
from flotilla.routing.compiled import CompiledPolicy
from flotilla.routing.data_classes import ORDER, class_of_field, declassified_by, highest
from flotilla.routing.health import UNKNOWN
from flotilla.routing.policy_routing import route
from flotilla.routing.types import Decision, FleetView, PoolView, TaskView
from flotilla.testkit.examples import examples

NAMES = sorted(LOCAL_CAPABILITIES)
zones = st.sampled_from(("local", "cloud"))
classes = st.sampled_from(ORDER)
entries = st.lists(st.sampled_from(("a", "b", "c")).map(lambda pool: RouteEntry(pool=pool)), min_size=1, max_size=3)
rules = st.none() | st.builds(CapabilityPolicy, routes=st.none() | entries)


def pool(name: str, zone: Zone) -> PoolView:
    """A pool that says it serves all of them."""
    return PoolView(zone=zone, pool=name, models={"m": frozenset(NAMES)}, replicas=1, slots=1)


def decided(capability: str, data_class: DataClass, policy: Policy | None, *pools: PoolView) -> Decision:
    """Where a task of this class would go."""
    task = TaskView(capability=capability, scope="default", data_class=data_class)
    fleet = FleetView(pools={each.pool: each for each in pools})
    return route(task, CompiledPolicy(policy), fleet, UNKNOWN, now_unix_ms=0, rng=random.Random(0))


@settings(max_examples=examples(200), deadline=None)
@given(
    st.sampled_from(NAMES),
    classes,
    st.builds(Policy, default=rules, capabilities=st.dictionaries(st.sampled_from(NAMES), rules.filter(bool))),
    st.dictionaries(st.sampled_from(("a", "b", "c")), zones),
)
def test_no_policy_takes_them_to_a_cloud_pool(
    capability: str, data_class: DataClass, policy: Policy, where: dict[str, Zone]
):
    """
    Not even for a task whose class could go anywhere.
    """
    decision = decided(capability, data_class, policy, *(pool(name, zone) for name, zone in where.items()))

    assert {choice.route.zone for choice in decision.routes} <= {"local"}


@pytest.mark.parametrize("capability", NAMES)
def test_a_cloud_route_is_refused_by_what_it_is(capability: str):
    """
    The reason is what intake tells the caller.
    """
    policy = Policy(capabilities={capability: CapabilityPolicy(routes=[RouteEntry(pool="a")])})

    [excluded] = decided(capability, "public", policy, pool("a", "cloud")).excluded

    assert f"{capability} is served in the local zone alone" == excluded.reason


@pytest.mark.parametrize("capability", NAMES)
def test_the_pools_of_the_default_are_not_meant_for_them(capability: str):
    """
    A policy that was written for models does not turn redaction off; an entry of its own does say who serves it.
    """
    default = CapabilityPolicy(routes=[RouteEntry(pool="b")])
    own = CapabilityPolicy(routes=[RouteEntry(pool="b")])
    pools = (pool("a", "local"), pool("b", "local"))

    anywhere = decided(capability, "restricted", Policy(default=default), *pools)
    named = decided(capability, "restricted", Policy(default=default, capabilities={capability: own}), *pools)

    assert {"a", "b"} == {choice.route.pool for choice in anywhere.routes}
    assert {"b"} == {choice.route.pool for choice in named.routes}


@pytest.mark.parametrize("given_class", ORDER)
def test_their_tasks_are_restricted_whatever_the_caller_says(given_class: DataClass):
    """
    Others have the class that they were given, or the scope's.
    """
    assert {"restricted"} == {task_data_class(name, given_class, "public") for name in NAMES}
    assert given_class == task_data_class("classify", given_class, "restricted")
    assert "internal" == task_data_class("classify", None, "internal")


@given(st.sampled_from((*NAMES, "classify", "mine")), st.sampled_from(("document", "vault", "label")), classes, classes)
def test_only_the_redacted_document_lowers_a_class(capability: str, field: str, task: DataClass, operators: DataClass):
    """
    And what the operator's policy names; nothing raises one.
    """
    plain = class_of_field(capability, field, task)
    named = class_of_field(capability, field, task, operator={(capability, field): operators})

    assert plain == (min(task, "internal", key=ORDER.index) if (capability, field) == ("redact", "document") else task)
    assert named == min(plain, operators, key=ORDER.index)


def test_what_is_made_of_several_has_the_highest_class():
    """
    The class that a pipeline's step runs under.
    """
    assert "restricted" == highest(["public", "restricted", "internal"])
    assert "internal" == highest(["public"], at_least="internal")
    assert "public" == highest([])


def test_a_policy_declassifies_the_fields_that_it_names():
    """
    By capability and field; a policy is compiled with them, and nothing else is lowered.
    """
    policy = Policy(declassify={"classify": {"label": "public"}, "mine": {"score": "internal"}})
    operator = CompiledPolicy(policy).declassified

    assert {("classify", "label"): "public", ("mine", "score"): "internal"} == operator == declassified_by(policy)
    assert "public" == class_of_field("classify", "label", "restricted", operator=operator)
    assert "restricted" == class_of_field("classify", "scores", "restricted", operator=operator)
    assert {} == CompiledPolicy().declassified
