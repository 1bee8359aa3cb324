"""Single decisions: what stands where, what is left out, and why."""

import random
from collections import Counter

import pytest

from flotilla.contracts.policy import CapabilityPolicy, Policy, ProbeEntry, RouteEntry
from flotilla.contracts.stats import RouteKey
from flotilla.routing.compiled import CompiledPolicy
from flotilla.routing.ejections import Standing
from flotilla.routing.health import UNKNOWN, Closure, Health, RouteHealth
from flotilla.routing.policy_routing import route
from flotilla.routing.probes import is_due, noted
from flotilla.routing.strategies import STRATEGIES, strategy_named
from flotilla.routing.types import Decision, Figures, FleetView, PoolView, TaskView

NOW = 1_800_000_000_000
LEFT = Standing(phase="ejected", since_unix_ms=NOW - 1000, why="p95 2100 ms over 500 ms")


def pool(name: str, zone: str = "local", *, busy: int = 0, slots: int = 4, region: str = "eu") -> PoolView:
    return PoolView(
        zone="local" if zone == "local" else "cloud",
        pool=name,
        models={"m": frozenset({"classify"}), "n": frozenset({"classify", "embed"})},
        replicas=1,
        slots=slots,
        busy=busy,
        labels={"region": region},
    )


def fleet_of(*pools: PoolView) -> FleetView:
    return FleetView(pools={each.pool: each for each in pools})


def task_of(
    data_class: str = "internal",
    *,
    wanted: str | None = None,
    model: str | None = None,
    sticky: str | None = None,
    input_bytes: int = 0,
) -> TaskView:
    return TaskView(
        capability="classify",
        scope="default",
        data_class="restricted" if data_class == "restricted" else "internal",
        wanted_pool=wanted,
        wanted_model=model,
        sticky=sticky,
        input_bytes=input_bytes,
    )


def policy_of(entry: CapabilityPolicy) -> CompiledPolicy:
    return CompiledPolicy(Policy(capabilities={"classify": entry}))


def listing(*pools: str, strategy: str = "failover") -> CompiledPolicy:
    return policy_of(CapabilityPolicy(strategy=strategy, routes=[RouteEntry(pool=name, model="m") for name in pools]))


def health_of(routes: dict[str, RouteHealth], **fields: object) -> Health:
    return Health(
        routes={"classify": {(name, "m"): known for name, known in routes.items()}},
        **fields,  # pyright: ignore[reportArgumentType]
    )


def decide(
    policy: CompiledPolicy,
    fleet: FleetView,
    *,
    task: TaskView | None = None,
    health: Health = UNKNOWN,
    seed: int = 0,
    busy: dict[str, int] | None = None,
) -> Decision:
    return route(
        task or task_of(),
        policy,
        fleet,
        health,
        now_unix_ms=NOW,
        rng=random.Random(seed),
        busy=busy or {},
    )


def names(decision: Decision) -> list[str]:
    return [choice.route.pool for choice in decision.routes]


def by_default(task: TaskView, fleet: FleetView, rng: random.Random) -> Decision:
    """
    Where a task goes in a fleet without a policy.
    """
    return route(task, CompiledPolicy(), fleet, Health(), now_unix_ms=NOW, rng=rng)


TWO = fleet_of(pool("home"), pool("away", "cloud"))


def test_without_a_policy_the_pools_of_a_zone_take_turns_by_chance_and_the_cloud_stands_behind() -> None:
    """
    Local first; no pool is preferred to its neighbour.
    """
    fleet = fleet_of(pool("x", "cloud"), pool("a"), pool("b"), pool("y", "cloud"))
    rng = random.Random(1)

    orders = Counter(
        tuple(choice.route.pool for choice in by_default(task_of(), fleet, rng).routes) for _ in range(400)
    )

    assert set(orders) == {("a", "b", "x", "y"), ("b", "a", "x", "y"), ("a", "b", "y", "x"), ("b", "a", "y", "x")}
    assert min(orders.values()) > 60
    assert [choice.route.model for choice in by_default(task_of(), fleet, rng).routes] == ["m"] * 4


def test_without_a_policy_every_pool_that_is_ruled_out_says_why() -> None:
    """
    Data class, wish, and replicas that leave.
    """
    fleet = fleet_of(pool("away", "cloud"), pool("leaving", slots=0))
    restricted = by_default(task_of("restricted"), fleet, random.Random(0))
    assert restricted.routes == ()
    assert {(out.pool, out.waits) for out in restricted.excluded} == {("away", False), ("leaving", True)}
    assert "restricted data never enters the cloud zone" in restricted.excluded[0].reason

    wished = by_default(task_of(wanted="gone"), TWO, random.Random(0))
    assert wished.routes == ()
    assert {(out.pool, out.waits) for out in wished.excluded} == {("home", False), ("away", False), ("gone", True)}

    modelled = by_default(task_of(wanted="home", model="n"), TWO, random.Random(0))
    assert [str(choice.route) for choice in modelled.routes] == ["home/n"]

    unserved = by_default(task_of(wanted="home", model="z"), TWO, random.Random(0))
    assert unserved.routes == ()
    assert "home/z" in unserved.excluded[0].reason

    nobody = by_default(task_of(), FleetView(), random.Random(0))
    assert nobody.reason == "no live pool serves classify"


def test_the_policys_order_rules_not_the_zone() -> None:
    """
    Failover means first to last as listed.
    """
    decision = decide(listing("away", "home"), TWO)

    assert names(decision) == ["away", "home"]
    assert [choice.reason for choice in decision.routes] == ["first healthy route", "next healthy route"]


def test_a_full_pool_goes_behind_those_with_a_free_slot() -> None:
    """
    As the fleet view says, or as the caller knows better.
    """
    assert names(decide(listing("home", "away"), fleet_of(pool("home", busy=4), pool("away", "cloud")))) == [
        "away",
        "home",
    ]
    assert names(decide(listing("home", "away"), TWO, busy={"home": 4})) == ["away", "home"]
    assert [choice.free_slots for choice in decide(listing("home", "away"), TWO, busy={"home": 3}).routes] == [1, 4]


def test_what_the_policy_lists_but_nobody_serves_waits_for_it() -> None:
    """
    A durable task is not failed because a pool restarts.
    """
    decision = decide(listing("gone"), TWO)

    assert decision.reason == "every route for classify is ruled out"
    assert [(out.pool, out.reason, out.waits) for out in decision.excluded] == [("gone", "no live replica", True)]


def test_a_wish_never_widens_the_policy() -> None:
    """
    A pool that is live but not listed stays out.
    """
    decision = decide(listing("home"), TWO, task=task_of(wanted="away"))

    assert decision.routes == ()
    assert "the policy lists no route away for classify" in {out.reason for out in decision.excluded}
    assert names(decide(listing("home", "away"), TWO, task=task_of(wanted="away"))) == ["away"]


@pytest.mark.parametrize("wanted", ["home", None])
def test_a_wish_for_a_model_is_not_served_by_another_that_the_policy_lists(wanted: str | None) -> None:
    """
    Not of the pool that was asked for, nor of one that is away: a task for the other model does not wait for it.
    """
    decision = decide(listing("home", "gone"), TWO, task=task_of(wanted=wanted, model="n"))

    assert decision.routes == ()
    assert [("home", False), ("gone", False)] == [(out.pool, out.waits) for out in decision.excluded]
    assert {f"the caller asked for {wanted or '*'}/n"} == {out.reason for out in decision.excluded}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_restricted_data_stays_home_under_every_strategy(strategy: str) -> None:
    """
    Also when home is ill and the cloud is well.
    """
    health = health_of({"home": RouteHealth(standing=LEFT)})

    decision = decide(listing("away", "home", strategy=strategy), TWO, task=task_of("restricted"), health=health)

    assert names(decision) == ["home"]
    assert not decision.routes[0].last_resort


def test_a_restricted_task_stays_home_after_others_have_been_decided_by_the_same_policy() -> None:
    """
    What is kept between decisions is kept by the data's class.
    """
    policy = listing("away", "home")

    first, second, third = (
        decide(policy, TWO, task=task_of(data_class)) for data_class in ("internal", "restricted", "internal")
    )

    assert names(first) == names(third) == ["away", "home"]
    assert names(second) == ["home"]


def test_a_change_of_the_fleet_is_seen_by_the_next_decision() -> None:
    """
    Nothing is kept beyond the fleet view that it was worked out from.
    """
    policy = listing("home", "away")

    assert names(decide(policy, TWO)) == ["home", "away"]
    assert names(decide(policy, fleet_of(pool("away", "cloud")))) == ["away"]
    assert names(decide(policy, TWO)) == ["home", "away"]


def test_an_entry_without_a_model_does_not_repeat_a_route_that_another_lists() -> None:
    """
    A task that failed on a route is not sent there again as if it were the next one.
    """
    entry = CapabilityPolicy(routes=[RouteEntry(pool="home", model="m"), RouteEntry(pool="home")])

    assert [str(choice.route) for choice in decide(policy_of(entry), TWO).routes] == ["home/m"]


def test_the_policy_may_refuse_a_task_for_its_class_or_its_labels() -> None:
    """
    Before any route is looked at.
    """
    entry = CapabilityPolicy(data_classes=["public"], task_labels=["team"])
    assert "does not allow internal data" in decide(policy_of(entry), TWO).reason
    entry = CapabilityPolicy(task_labels=["team"])
    assert "Flotilla-Label-team" in decide(policy_of(entry), TWO).reason


def test_a_pool_without_the_labels_that_the_policy_asks_for_is_left_out() -> None:
    """
    Residency, for one.
    """
    fleet = fleet_of(pool("home", region="us"), pool("away", "cloud", region="eu"))

    decision = decide(policy_of(CapabilityPolicy(pool_labels={"region": "eu"})), fleet)

    assert names(decision) == ["away"]
    assert "region = eu" in decision.excluded[0].reason


def test_a_route_that_is_expected_to_cost_too_much_is_left_out() -> None:
    """
    By the hint at first, by what it really cost later.
    """
    entry = CapabilityPolicy(
        routes=[RouteEntry(pool="away", model="m", cost_usd_hint=0.5), RouteEntry(pool="home", model="m")],
        cost_usd_max=0.1,
    )
    assert names(decide(policy_of(entry), TWO)) == ["home"]
    cheap = health_of({"away": RouteHealth(cost_usd=0.01)})
    assert names(decide(policy_of(entry), TWO, health=cheap)) == ["away", "home"]


def test_a_route_that_was_left_is_the_last_resort_and_says_why() -> None:
    """
    The figures that led to it travel with the choice.
    """
    known = RouteHealth(standing=LEFT, figures=Figures(p95_ms=2100.0, samples=40), last_started_unix_ms=NOW)

    decision = decide(listing("home", "away"), TWO, health=health_of({"home": known}))

    assert names(decision) == ["away", "home"]
    last = decision.routes[-1]
    assert last.last_resort
    assert "p95 2100 ms over 500 ms" in last.reason
    assert last.figures == known.figures


def test_a_route_that_was_left_is_tried_once_by_a_task_that_probes_it() -> None:
    """
    Where the probe and all others failed, it is not asked again as the last resort.
    """
    entry = CapabilityPolicy(
        routes=[RouteEntry(pool=name, model="m") for name in ("home", "away")], probe=ProbeEntry(share_max=1.0)
    )

    decision = decide(policy_of(entry), TWO, health=health_of({"home": RouteHealth(standing=LEFT)}))

    assert [("home", True), ("away", False)] == [(choice.route.pool, choice.probe) for choice in decision.routes]


def test_an_open_breaker_and_a_retry_after_close_a_route_and_say_for_how_long() -> None:
    """
    The caller can tell its user when to come back.
    """
    closure = Closure(reason="breaker open", until_unix_ms=NOW + 1500)
    opened = decide(listing("home", "away"), TWO, health=Health(closures={("home", "m"): closure}))
    asked = decide(listing("home", "away"), TWO, health=Health(retry_after={("home", "m"): NOW + 1}))
    over = decide(listing("home", "away"), TWO, health=Health(retry_after={("home", "m"): NOW}))

    assert ["away"] == names(opened) == names(asked)
    assert [(out.reason, out.waits, out.until_unix_ms) for out in opened.excluded] == [
        ("breaker open: 1.5 s to go", True, NOW + 1500)
    ]
    assert names(over) == ["home", "away"]


def test_a_half_open_breaker_lets_one_probe_through_and_then_waits() -> None:
    """
    Also when it is the only route: then no share of the tasks needs to be spared.
    """
    closure = Closure(reason="", until_unix_ms=NOW - 1, half_open=True)
    health = Health(closures={("home", "m"): closure})
    policy = listing("home")

    first = decide(policy, TWO, health=health)
    second = decide(policy, TWO, health=noted(health, first, "classify", NOW))

    assert [choice.probe for choice in first.routes] == [True]
    assert second.routes == ()
    assert second.excluded[0].waits


def test_probes_are_spaced_shared_and_bounded() -> None:
    """
    An interval apart, by turns among orchestrators, fewer when they get stuck.
    """
    key = RouteKey("home", "m", "classify")
    probe = ProbeEntry()
    rules = policy_of(CapabilityPolicy(probe=probe)).rules_of("classify").probe

    def due(health: Health, *, silent_ms: int, unfinished: int = 0) -> bool:
        known = RouteHealth(standing=LEFT, last_started_unix_ms=NOW - silent_ms, recently_started=unfinished)
        return is_due(health, known, key, rules, alone=True, now_unix_ms=NOW, rng=random.Random(0))

    assert not due(Health(), silent_ms=999)
    assert due(Health(), silent_ms=1000)
    assert not due(Health(probed={key: NOW - 10}), silent_ms=5000)
    assert not due(Health(), silent_ms=2000, unfinished=2)
    assert due(Health(), silent_ms=3000, unfinished=2)
    assert sum(due(Health(member=member, members=5), silent_ms=2000) for member in range(5)) == 1
    assert all(due(Health(member=member, members=5), silent_ms=3000) for member in range(5))


def test_cheapest_takes_the_lowest_expected_cost() -> None:
    """
    Real costs, then hints, then nothing at home; an unknown price comes last.
    """
    fleet = fleet_of(pool("home"), pool("x", "cloud"), pool("y", "cloud"), pool("z", "cloud"))
    entry = CapabilityPolicy(
        strategy="cheapest",
        routes=[
            RouteEntry(pool="z", model="m"),
            RouteEntry(pool="y", model="m", cost_usd_hint=0.02),
            RouteEntry(pool="x", model="m", cost_usd_hint=0.9),
            RouteEntry(pool="home", model="m"),
        ],
    )
    health = health_of({"x": RouteHealth(cost_usd=0.01)})

    assert names(decide(policy_of(entry), fleet, health=health)) == ["home", "x", "y", "z"]


def test_fastest_prefers_the_faster_of_two_and_still_uses_the_others() -> None:
    """
    Power of two choices: the slowest of three never stands first, the fastest in two of three decisions.
    """
    fleet = fleet_of(pool("a"), pool("b"), pool("c"))
    health = health_of(
        {
            "a": RouteHealth(expected_ms=300.0),
            "b": RouteHealth(expected_ms=100.0),
            "c": RouteHealth(expected_ms=200.0),
        },
    )
    policy = listing("a", "b", "c", strategy="fastest")

    firsts = Counter(names(decide(policy, fleet, health=health, seed=seed))[0] for seed in range(900))

    assert set(firsts) == {"b", "c"}
    assert 500 < firsts["b"] < 700
    assert all(names(decide(policy, fleet, health=health, seed=seed))[2] == "a" for seed in range(30))


def test_fastest_draws_as_many_as_the_policy_says() -> None:
    """
    One is chance alone, all is always the fastest; what cannot be read is the default, two.
    """
    fleet = fleet_of(pool("a"), pool("b"), pool("c"))
    times = {"a": 300.0, "b": 100.0, "c": 200.0}
    health = health_of({name: RouteHealth(expected_ms=expected) for name, expected in times.items()})
    routes = [RouteEntry(pool=name, model="m") for name in times]

    def firsts(options: dict[str, object]) -> set[str]:
        policy = policy_of(CapabilityPolicy(strategy="fastest", routes=routes, strategy_options=options))
        return {names(decide(policy, fleet, health=health, seed=seed))[0] for seed in range(200)}

    assert {"a", "b", "c"} == firsts({"draws": 1})
    assert {"b"} == firsts({"draws": 3})
    assert {"b", "c"} == firsts({"draws": "many"})


def test_fastest_takes_an_unknown_route_for_as_fast_as_the_fastest_known_one() -> None:
    """
    So that it becomes known; where nothing is known, home is expected to be faster.
    """
    health = health_of({"home": RouteHealth(expected_ms=100.0)})
    policy = listing("home", "away", strategy="fastest")

    firsts = {names(decide(policy, TWO, health=health, seed=seed))[0] for seed in range(40)}

    assert firsts == {"home"}
    slow_and_unknown = fleet_of(pool("home"), pool("other"), pool("away", "cloud"))
    known = health_of({"home": RouteHealth(expected_ms=900.0), "other": RouteHealth(expected_ms=100.0)})
    policy = listing("home", "other", "away", strategy="fastest")
    firsts = {names(decide(policy, slow_and_unknown, health=known, seed=seed))[0] for seed in range(40)}
    assert firsts == {"other", "away"}
    assert {names(decide(listing("away", "home", strategy="fastest"), TWO, seed=seed))[0] for seed in range(20)} == {
        "home"
    }


def test_split_follows_the_weights_and_keeps_a_sticky_key_where_it_began() -> None:
    """
    The same on every orchestrator; when a route goes away only its keys move.
    """
    entry = CapabilityPolicy(
        strategy="split",
        routes=[RouteEntry(pool="home", model="m", weight=9), RouteEntry(pool="away", model="m", weight=1)],
    )
    policy = policy_of(entry)

    by_chance = Counter(names(decide(policy, TWO, seed=seed))[0] for seed in range(2000))
    by_key = {key: names(decide(policy, TWO, task=task_of(sticky=f"k{key}"), seed=key))[0] for key in range(2000)}

    assert 140 < by_chance["away"] < 260
    assert 140 < list(by_key.values()).count("away") < 260
    again = {key: names(decide(policy, TWO, task=task_of(sticky=f"k{key}"), seed=-key))[0] for key in range(50)}
    assert again == {key: by_key[key] for key in range(50)}


def test_every_strategy_that_a_policy_may_name_exists() -> None:
    """
    One table: a name in it without a module does not even import. A newer policy's unknown one means failover.
    """
    assert len({strategy_named(name) for name in STRATEGIES}) == len(STRATEGIES)
    assert strategy_named("of-tomorrow") is strategy_named("failover")


@pytest.mark.parametrize("asked", ["smollm2", "smollm2:latest"])
@pytest.mark.parametrize("served", ["smollm2", "smollm2:latest"])
def test_a_model_is_found_with_and_without_what_ollama_adds_to_its_name(asked: str, served: str) -> None:
    """
    By a caller and by a policy; the route has the pool's own name for it, and another tag is another model.
    """
    home = PoolView(
        zone="local",
        pool="home",
        models={
            "other": frozenset({"classify"}),
            served: frozenset({"classify"}),
            "smollm2:1b": frozenset({"classify"}),
        },
        replicas=1,
        slots=1,
    )
    listed = policy_of(CapabilityPolicy(routes=[RouteEntry(pool="home", model=asked)]))
    tagged = policy_of(CapabilityPolicy(routes=[RouteEntry(pool="home", model="smollm2:7b")]))

    for policy, task in ((CompiledPolicy(), task_of(wanted="home", model=asked)), (listed, task_of())):
        decision = route(task, policy, fleet_of(home), UNKNOWN, now_unix_ms=NOW, rng=random.Random(0))
        assert [choice.route.model for choice in decision.routes] == [served]
    decision = route(task_of(), tagged, fleet_of(home), UNKNOWN, now_unix_ms=NOW, rng=random.Random(0))
    assert decision.routes == ()
