"""What holds of every decision, over random policies, fleets, healths and tasks."""

import random
from typing import cast

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from flotilla.contracts.headers import DataClass
from flotilla.contracts.policy import CacheEntry, CapabilityPolicy, HedgeEntry, Policy, RouteEntry, ShadowEntry
from flotilla.contracts.redaction import LOCAL_CAPABILITIES
from flotilla.contracts.stats import RouteKey
from flotilla.contracts.subjects import Zone
from flotilla.routing.breakers import Breaker
from flotilla.routing.compiled import CompiledPolicy
from flotilla.routing.consensus import asked_together
from flotilla.routing.ejections import Phase, Standing
from flotilla.routing.eligibility import is_called
from flotilla.routing.health import Closure, Health, RouteHealth
from flotilla.routing.policy_routing import route
from flotilla.routing.shadow import shadow_route
from flotilla.routing.strategies import STRATEGIES
from flotilla.routing.types import Decision, Figures, FleetView, PoolView, TaskView
from flotilla.testkit.examples import examples
from flotilla.testkit.run_story import Story
from orchestrator.economy.errors import OverLimitError
from orchestrator.economy.room import with_room
from orchestrator.execution.hedges import second_choice

NOW = 1_800_000_000_000
POOLS = ("a", "b", "c", "d")
MODELS = ("m", "n", "m:latest")
CAPABILITIES = ("classify", "embed", "redact")

maybe = st.none
pool_names = st.sampled_from(POOLS)
model_names = st.sampled_from(MODELS)
capability_names = st.sampled_from(CAPABILITIES)
data_classes = st.sampled_from(cast("tuple[DataClass, ...]", ("public", "internal", "restricted")))

tasks = st.builds(
    TaskView,
    capability=capability_names,
    scope=st.just("default"),
    data_class=data_classes,
    wanted_pool=maybe() | pool_names,
    wanted_model=maybe() | model_names,
    sticky=maybe() | st.text(max_size=5),
    labels=st.dictionaries(st.sampled_from(("team", "x")), st.just("v")),
    input_bytes=st.integers(0, 10**7),
)
pool_views = st.builds(
    PoolView,
    zone=st.sampled_from(cast("tuple[Zone, ...]", ("local", "cloud"))),
    pool=pool_names,
    models=st.dictionaries(model_names, st.frozensets(capability_names)),
    replicas=st.integers(0, 3),
    slots=st.integers(0, 4),
    busy=st.integers(0, 6),
    labels=st.dictionaries(st.just("region"), st.sampled_from(("eu", "us"))),
    gives_way=st.booleans(),
)
fleets = st.lists(pool_views, max_size=6).map(lambda pools: FleetView(pools={pool.pool: pool for pool in pools}))

entries = st.builds(
    RouteEntry,
    pool=pool_names,
    model=maybe() | model_names,
    weight=maybe() | st.floats(0.01, 100),
    cost_usd_hint=maybe() | st.floats(0, 1),
)
capability_policies = st.builds(
    CapabilityPolicy,
    routes=maybe() | st.lists(entries, min_size=1, max_size=5, unique_by=lambda entry: (entry.pool, entry.model)),
    strategy=maybe() | st.sampled_from((*STRATEGIES, "of-a-newer-version")),
    strategy_options=maybe()
    | st.sampled_from(
        (
            {"draws": 1},
            {"draws": 0},
            {"draws": 100},
            {"allocation": "thompson", "floor": 0.1},
            {"confidence_min": 0.5},
            {"confidence_min": 1.0, "answer_anyway": False},
            {"ask": 3},
            {"ask": 3, "agree": 3, "answer_anyway": False},
            {"of-tomorrow": [1]},
        )
    ),
    data_classes=maybe() | st.lists(data_classes, min_size=1),
    pool_labels=maybe() | st.just({"region": "eu"}),
    task_labels=maybe() | st.just(["team"]),
    cost_usd_max=maybe() | st.floats(0, 1),
    hedge=maybe() | st.just(HedgeEntry(after_ms=1.0, share_max=1.0)),
    shadow=maybe() | st.builds(ShadowEntry, pool=pool_names, model=maybe() | model_names, share=st.just(1.0)),
    cache=maybe() | st.just(CacheEntry(restricted=True)),
)
policies = st.builds(
    Policy,
    default=maybe() | capability_policies,
    capabilities=st.dictionaries(capability_names, capability_policies),
)
standings = st.builds(
    Standing,
    phase=st.sampled_from(cast("tuple[Phase, ...]", ("healthy", "ejected", "returning"))),
    since_unix_ms=st.integers(NOW - 10_000, NOW),
)
route_healths = st.builds(
    RouteHealth,
    standing=standings,
    figures=st.just(Figures()),
    expected_ms=maybe() | st.floats(1, 1e5),
    tokens=st.floats(0, 1e5),
    cost_usd=maybe() | st.floats(0, 2),
    last_started_unix_ms=st.integers(NOW - 10_000, NOW),
    recently_started=st.integers(0, 5),
)
pairs = st.tuples(pool_names, model_names)
healths = st.builds(
    Health,
    routes=st.dictionaries(capability_names, st.dictionaries(pairs, route_healths)),
    breakers=st.dictionaries(pairs, st.just(Breaker())),
    closures=st.dictionaries(
        pairs,
        st.builds(
            Closure,
            reason=st.just("breaker open"),
            until_unix_ms=st.integers(NOW - 5_000, NOW + 5_000),
            half_open=st.booleans(),
        ),
    ),
    retry_after=st.dictionaries(pairs, st.integers(NOW - 5_000, NOW + 5_000)),
    probed=st.dictionaries(st.builds(RouteKey, pool_names, model_names, capability_names), st.integers(0, NOW)),
)
seeds = st.integers(0, 2**32)


def stays_home(task: TaskView) -> bool:
    """
    What is redacted or restored does too, whatever class somebody gave it.
    """
    return task.data_class == "restricted" or task.capability in LOCAL_CAPABILITIES


def decide(task: TaskView, policy: CompiledPolicy, fleet: FleetView, health: Health, seed: int) -> Decision:
    return route(task, policy, fleet, health, now_unix_ms=NOW, rng=random.Random(seed))


@settings(max_examples=examples(250), deadline=None)
@given(tasks, policies, fleets, healths, seeds)
def test_every_decision_keeps_what_routing_promises(
    task: TaskView,
    document: Policy,
    fleet: FleetView,
    health: Health,
    seed: int,
) -> None:
    """
    Restricted data stays home, only live routes that serve the capability, as asked, as listed, and never twice.
    """
    policy = CompiledPolicy(document)
    rules = policy.rules_of(task.capability)

    decision = decide(task, policy, fleet, health, seed)

    for choice in decision.routes:
        chosen = choice.route
        pool = fleet.pools[chosen.pool]
        assert pool.zone == chosen.zone
        assert pool.slots > 0
        assert task.capability in pool.models[chosen.model]
        assert not stays_home(task) or chosen.zone == "local"
        assert task.data_class in rules.data_classes
        assert task.wanted_pool in (None, chosen.pool)
        assert task.wanted_model is None or is_called(chosen.model, task.wanted_model)
        assert choice.reason
        if rules.routes is not None:
            listed = [entry.model for entry in rules.routes if entry.pool == chosen.pool]
            assert any(model is None or is_called(chosen.model, model) for model in listed)
        assert health.retry_after.get((chosen.pool, chosen.model), 0) <= NOW
        closure = health.closures.get((chosen.pool, chosen.model))
        assert closure is None or choice.probe
    assert len(decision.routes) == len({choice.route for choice in decision.routes})
    assert decision.escalation is None or {*decision.escalation.order} <= {choice.route for choice in decision.routes}
    assert decision.panel is None or {*decision.panel.order} <= {choice.route for choice in decision.routes}
    if decision.panel is not None:
        together = asked_together(decision.panel, decision.routes)
        assert {each.route for each in together} <= {choice.route for choice in decision.routes}
        assert len({each.route for each in together}) == len(together) <= decision.panel.ask
        assert all(each.reason for each in together)
    assert decision.routes or decision.reason
    assert all(exclusion.reason for exclusion in decision.excluded)
    assert sum(choice.probe for choice in decision.routes) <= 1
    assert not any(choice.probe for choice in decision.routes[1:])


@settings(max_examples=examples(200), deadline=None)
@given(tasks, policies, fleets, healths, seeds)
def test_a_decision_is_a_function_of_what_goes_in(
    task: TaskView,
    document: Policy,
    fleet: FleetView,
    health: Health,
    seed: int,
) -> None:
    """
    The same again, also from a policy that has decided other tasks in between.
    """
    used = CompiledPolicy(document)
    first = decide(task, used, fleet, health, seed)
    decide(task, used, fleet, Health(), seed)
    decide(msgspec.structs.replace(task, data_class="public"), used, fleet, health, seed)
    decide(task, used, FleetView(), health, seed)

    assert (
        first == decide(task, used, fleet, health, seed) == decide(task, CompiledPolicy(document), fleet, health, seed)
    )


@settings(max_examples=examples(200), deadline=None)
@given(tasks, fleets, seeds)
def test_default_routing_keeps_the_same_promises(task: TaskView, fleet: FleetView, seed: int) -> None:
    """
    No policy: local before cloud, but a pool with a free slot before a full one; restricted data at home, a reason when
    there is nothing.
    """
    decision = decide(task, CompiledPolicy(), fleet, Health(), seed)

    zones = [choice.route.zone for choice in decision.routes]
    order = [(choice.free_slots <= 0, choice.route.zone == "cloud") for choice in decision.routes]
    assert order == sorted(order)
    assert not stays_home(task) or "cloud" not in zones
    assert decision.routes or decision.reason
    serving = {pool.pool for pool in fleet.serving(task.capability)}
    named = {choice.route.pool for choice in decision.routes} | {exclusion.pool for exclusion in decision.excluded}
    assert serving <= named


@settings(max_examples=examples(200), deadline=None)
@given(tasks, policies, fleets, seeds)
def test_without_health_the_free_routes_stand_before_the_full_ones(
    task: TaskView,
    document: Policy,
    fleet: FleetView,
    seed: int,
) -> None:
    """
    A busy pool goes behind those with a free slot, and stays in the list.
    """
    decision = decide(task, CompiledPolicy(document), fleet, Health(), seed)

    full = [fleet.pools[choice.route.pool].busy >= fleet.pools[choice.route.pool].slots for choice in decision.routes]
    assert full == sorted(full)


def lively(pool: str) -> st.SearchStrategy[PoolView]:
    """A pool that serves everything, and mostly has room: most of its routes may be asked."""
    return st.builds(
        PoolView,
        zone=st.sampled_from(cast("tuple[Zone, ...]", ("local", "cloud"))),
        pool=st.just(pool),
        models=st.just(dict.fromkeys(MODELS, frozenset(CAPABILITIES))),
        replicas=st.integers(1, 3),
        slots=st.sampled_from((2, 3, 4, 0)),
        busy=st.integers(0, 2),
        labels=st.just({"region": "eu"}),
    )


lively_fleets = st.tuples(*map(lively, POOLS)).map(lambda pools: FleetView(pools={pool.pool: pool for pool in pools}))


def restricted(task: TaskView) -> TaskView:
    """The same with data that stays at home, and without a wish."""
    return msgspec.structs.replace(task, data_class="restricted", wanted_pool=None, wanted_model=None)


def with_a_shadow(entry: CapabilityPolicy, shadow: ShadowEntry) -> Policy:
    """A policy of everything that has this shadow, and leaves no class of data out."""
    return Policy(default=msgspec.structs.replace(entry, data_classes=None, task_labels=None, shadow=shadow))


restricted_tasks = tasks.map(restricted)
shadowing_policies = st.builds(
    with_a_shadow,
    capability_policies,
    st.builds(ShadowEntry, pool=pool_names, model=maybe() | model_names, share=st.just(1.0)),
)
"""Under these a restricted task has a shadow in the cloud to be kept from, which of other policies few come to."""


@settings(max_examples=examples(100), deadline=None)
@given(
    task=tasks | restricted_tasks,
    document=policies | shadowing_policies,
    fleet=lively_fleets,
    health=st.just(Health()) | healths,
    over_limit=st.frozensets(pool_names),
    seed=seeds,
)
def test_all_options_together_keep_what_routing_promises(
    *,
    task: TaskView,
    document: Policy,
    fleet: FleetView,
    health: Health,
    over_limit: frozenset[str],
    seed: int,
) -> None:
    """
    Whoever is asked, first, at the same time, beside a slow one, in the place of one over a limit, or as a shadow: restricted
    data stays home, only what the policy lists is asked, and everything has a reason.
    """
    policy = CompiledPolicy(document)
    rules = policy.rules_of(task.capability)
    over = OverLimitError("limit l: 1 requests a minute are used", 1.0)

    decision = with_room(
        decide(task, policy, fleet, health, seed),
        task.capability,
        lambda route: over if route.pool in over_limit else None,
        NOW,
    )
    asked = list(decision.routes)
    if decision.panel is not None:
        asked += asked_together(decision.panel, decision.routes)
    run = Story(rules=rules).run
    run.choices = decision.routes
    hedges = (second_choice(run, first, fleet.pools, {}, why="hedge: slow") for first in decision.routes)
    asked += [hedge for hedge in hedges if hedge is not None]

    for choice in asked:
        pool = fleet.pools[choice.route.pool]
        assert pool.zone == choice.route.zone
        assert not stays_home(task) or pool.zone == "local"
        assert task.data_class in rules.data_classes
        assert pool.slots > 0
        assert pool.pool not in over_limit
        assert task.wanted_pool in (None, pool.pool)
        if rules.routes is not None:
            listed = [entry.model for entry in rules.routes if entry.pool == pool.pool]
            assert any(model is None or is_called(choice.route.model, model) for model in listed)
        assert choice.reason
    assert decision.routes or decision.reason
    assert all(each.reason for each in decision.excluded)

    if rules.shadow is not None:
        shadow = shadow_route(task, policy, fleet, health, now_unix_ms=NOW, busy={})
        if isinstance(shadow, str):
            assert shadow
        else:
            assert shadow.pool == rules.shadow.pool
            assert not stays_home(task) or shadow.zone == "local" == fleet.pools[shadow.pool].zone
