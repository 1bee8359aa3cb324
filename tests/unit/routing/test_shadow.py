"""Where a shadow may have a task too: only where the task's data may go, and only while it is well and has a slot."""

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flotilla.contracts.errors import PolicyError
from flotilla.contracts.headers import DataClass
from flotilla.contracts.policy import CapabilityPolicy, HedgeEntry, Policy, ShadowEntry
from flotilla.contracts.policy_rules import Hedge, Shadow, rules_for
from flotilla.routing.compiled import CompiledPolicy
from flotilla.routing.health import UNKNOWN, Closure
from flotilla.routing.policy_check import parse_policy, warnings
from flotilla.routing.policy_routing import route
from flotilla.routing.shadow import shadow_route
from flotilla.routing.types import FleetView, PoolView, Route, TaskView
from flotilla.testkit.examples import examples

NOW = 1_800_000_000_000
TASK = TaskView(capability="classify", scope="default", data_class="internal")
AWAY = PoolView(zone="cloud", pool="away", models={"m": frozenset({"classify"})}, replicas=1, slots=2)
HOME = PoolView(zone="local", pool="home", models={"m": frozenset({"classify"})}, replicas=1, slots=2)
ENTRY = CapabilityPolicy(shadow=ShadowEntry(pool="away"))


def found(
    entry: CapabilityPolicy = ENTRY,
    *,
    task: TaskView = TASK,
    pool: PoolView = AWAY,
    busy: int = 0,
    closed: bool = False,
    retry_after: int = 0,
) -> Route | str:
    health = msgspec.structs.replace(
        UNKNOWN,
        closures={("away", "m"): Closure(reason="open", until_unix_ms=NOW + 1)} if closed else {},
        retry_after={("away", "m"): retry_after},
    )
    policy = CompiledPolicy(Policy(capabilities={"classify": entry}))
    view = FleetView(pools={each.pool: each for each in (HOME, pool)})
    return shadow_route(task, policy, view, health, now_unix_ms=NOW, busy={"away": busy})


def test_a_shadow_has_the_task_while_it_is_well() -> None:
    """
    Whichever route the caller asked for.
    """
    wish = msgspec.structs.replace(TASK, wanted_pool="home")

    assert Route(zone="cloud", pool="away", model="m") == found() == found(task=wish) == found(retry_after=NOW)


@pytest.mark.parametrize(
    ("why", "given"),
    [
        ("names no shadow", {"entry": CapabilityPolicy()}),
        ("never enters", {"task": msgspec.structs.replace(TASK, data_class="restricted")}),
        ("does not allow internal", {"entry": msgspec.structs.replace(ENTRY, data_classes=["public"])}),
        ("with the label", {"entry": msgspec.structs.replace(ENTRY, pool_labels={"region": "eu"})}),
        ("no live replica", {"entry": CapabilityPolicy(shadow=ShadowEntry(pool="gone"))}),
        ("no live replica serves", {"entry": CapabilityPolicy(shadow=ShadowEntry(pool="away", model="n"))}),
        ("no free slot", {"busy": 2}),
        ("takes new work", {"pool": msgspec.structs.replace(AWAY, slots=0)}),
        ("closed", {"closed": True}),
        ("closed", {"retry_after": NOW + 1}),
    ],
)
def test_a_shadow_has_nothing_that_it_may_not_have_or_has_no_room_for(why: str, given: dict[str, object]) -> None:
    """
    Each for a reason.
    """
    out = found(**given)  # pyright: ignore[reportArgumentType]  # a table of keyword arguments

    assert isinstance(out, str)
    assert why in out


pools = st.builds(
    PoolView,
    zone=st.sampled_from(("local", "cloud")),
    pool=st.sampled_from(("away", "home", "other")),
    models=st.dictionaries(st.sampled_from(("m", "n")), st.frozensets(st.sampled_from(("classify", "redact")))),
    replicas=st.just(1),
    slots=st.integers(0, 2),
)


@settings(max_examples=examples(150), deadline=None)
@given(
    st.lists(pools, max_size=4),
    st.sampled_from(("public", "internal", "restricted", "of-tomorrow")),
    st.sampled_from(("classify", "redact")),
    st.sampled_from(("failover", "consensus", "cascade", "split")),
    st.integers(0, 99),
)
def test_with_every_option_together_restricted_data_stays_at_home(
    views: list[PoolView], data_class: DataClass, capability: str, strategy: str, seed: int
) -> None:
    """
    Neither the routes of a decision, to which hedges keep, nor the shadow are in the cloud.
    """
    entry = CapabilityPolicy(
        strategy=strategy, hedge=HedgeEntry(after_ms=1.0, share_max=1.0), shadow=ShadowEntry(pool="away", share=1.0)
    )
    policy = CompiledPolicy(Policy(default=entry, capabilities={capability: entry}))
    fleet = FleetView(pools={view.pool: view for view in views})
    task = TaskView(capability=capability, scope="default", data_class=data_class)

    shadow = shadow_route(task, policy, fleet, UNKNOWN, now_unix_ms=NOW, busy={})
    decision = route(task, policy, fleet, UNKNOWN, now_unix_ms=NOW, rng=random.Random(seed))

    asked = [*(choice.route for choice in decision.routes), *([shadow] if isinstance(shadow, Route) else [])]
    if capability == "redact" or data_class not in ("public", "internal"):
        assert {"local"} >= {each.zone for each in asked}
    assert isinstance(shadow, Route) or shadow
    assert decision.routes or decision.reason


def test_both_options_have_their_defaults() -> None:
    """
    A twentieth of the tasks, after the route's p95.
    """
    text = '[capabilities.a]\nhedge = { after = "p95" }\nshadow = { pool = "x" }'
    rules = rules_for(parse_policy(text), "a")

    assert rules is not None
    assert (Hedge(after_ms=None, share_max=0.05), Shadow(pool="x", share=0.05)) == (rules.hedge, rules.shadow)
    assert any(
        each.startswith("capabilities.a.shadow.pool: no live pool") for each in warnings(parse_policy(text), (), ("a",))
    )


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ('hedge = { after = "p95", after_ms = 10 }', "hedge.after_ms"),
        ('hedge = { after = "p50" }', "hedge.after"),
        ("hedge = { share_max = 2 }", "hedge.share_max"),
        ("hedge = { after_ms = 0 }", "hedge.after_ms"),
        ("shadow = { share = 0.5 }", "shadow.pool"),
        ('shadow = { pool = "x", share = 0 }', "shadow.share"),
        ('shadow = { pool = "x", shar = 1 }', "shadow.shar"),
    ],
)
def test_what_is_wrong_with_them_is_said_with_its_key(options: str, key: str) -> None:
    """
    One fault each.
    """
    with pytest.raises(PolicyError) as caught:
        parse_policy(f"[capabilities.a]\n{options}")

    (fault,) = caught.value.faults
    assert fault.startswith(f"capabilities.a.{key}: ")
