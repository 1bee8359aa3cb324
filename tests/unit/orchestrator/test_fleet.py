"""What a pool's cards make of the fleet: sums that are right, within bounds, and no other pool's business."""

import asyncio
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from flotilla.contracts.names import POOLS_MAX, is_name
from flotilla.contracts.presence import ModelCard, ModelPrice, ReplicaCard, encode_card
from flotilla.contracts.redaction import LOCAL_CAPABILITIES
from flotilla.contracts.subjects import Zone, presence_key
from flotilla.routing.types import Route
from orchestrator.state.fleet import CAPABILITIES_MAX, CHANGES_AT_ONCE, CHANGES_PER_S, SLOTS_MAX, Fleet
from orchestrator.state.pools import (
    CAPABILITIES_PER_POOL_MAX,
    LABELS_PER_POOL_MAX,
    MODELS_PER_POOL_MAX,
    OFFERS_PER_POOL_MAX,
    REPLICAS_PER_POOL_MAX,
    SLOTS_PER_POOL_MAX,
    SLOTS_PER_REPLICA_MAX,
)


def card(pool: str = "home", replica: str = "r", zone: Zone = "local", **changes: Any) -> ReplicaCard:
    """A card that serves `classify` with one model."""
    given: dict[str, Any] = {
        "provider": "noop",
        "slots": 4,
        "models": [ModelCard(name="m", capabilities=["classify"])],
        **changes,
    }
    return ReplicaCard(zone=zone, pool=pool, replica=replica, **given)


def announce(fleet: Fleet, *cards: ReplicaCard) -> None:
    """Have the cards arrive."""
    for each in cards:
        fleet.on_card(presence_key(each.zone, each.pool, each.replica), each)


def names(count: int, stem: str = "c") -> list[str]:
    """So many names."""
    return [f"{stem}{number}" for number in range(count)]


def counting(fleet: Fleet) -> list[str]:
    """The pools whose cards are refused, as they are."""
    refused: list[str] = []
    fleet.on_refused = refused.append
    return refused


class FleetOfOld:
    """The sums as they would be worked out from all cards each time: what the increments are compared with."""

    def __init__(self, cards: dict[str, ReplicaCard]) -> None:
        zones = {
            each.pool: {other.zone for other in cards.values() if other.pool == each.pool} for each in cards.values()
        }
        self.pools: dict[str, tuple[str, int, int, dict[str, frozenset[str]]]] = {}
        for pool, found in zones.items():
            zone = "cloud" if "cloud" in found else "local"
            mine = [each for each in cards.values() if (each.zone, each.pool) == (zone, pool)]
            models: dict[str, frozenset[str]] = {}
            for each in mine:
                for model in each.models:
                    models[model.name] = models.get(model.name, frozenset()) | frozenset(model.capabilities)
            serving = [each for each in mine if not each.draining]
            self.pools[pool] = (zone, len(serving), sum(each.slots for each in serving), models)


MODELS = st.lists(
    st.builds(
        ModelCard,
        name=st.sampled_from(["m", "n", "o"]),
        capabilities=st.lists(st.sampled_from(["classify", "embed", "reason"]), max_size=3),
    ),
    max_size=3,
)
CARDS = st.builds(
    ReplicaCard,
    zone=st.sampled_from(["local", "cloud"]),
    pool=st.sampled_from(["home", "away"]),
    replica=st.sampled_from(["a", "b", "c"]),
    provider=st.just("noop"),
    models=MODELS,
    slots=st.integers(0, 8),
    busy=st.integers(0, 8),
    draining=st.booleans(),
)


@given(st.lists(st.tuples(CARDS, st.booleans()), max_size=40))
def test_the_sums_of_single_changes_are_those_of_all_cards(steps: list[tuple[ReplicaCard, bool]]):
    """
    Whatever comes, changes and goes in whatever order.
    """
    fleet = Fleet()
    live: dict[str, ReplicaCard] = {}
    for each, comes in steps[:CHANGES_AT_ONCE]:
        key = presence_key(each.zone, each.pool, each.replica)
        fleet.on_card(key, each if comes else None)
        live.pop(key, None)
        if comes:
            live[key] = each
    expected = FleetOfOld(live).pools

    seen = {name: (pool.zone, pool.replicas, pool.slots, pool.models) for name, pool in fleet.view.pools.items()}
    assert expected == seen
    served = {name for *_, models in expected.values() for names in models.values() for name in names}
    assert served == fleet.capabilities()
    for name in served:
        slots = sum(pool[2] for pool in expected.values() if any(name in each for each in pool[3].values()))
        assert slots == fleet.slots_for(name)
    assert sum(pool[2] for pool in expected.values()) == fleet.slots()
    assert sorted(live.values(), key=repr) == sorted(fleet.cards, key=repr)


def test_a_replica_that_is_only_listed_is_routed_to_and_told_of_as_unheard():
    """
    Until its first heartbeat. One that takes nothing is told of as that alone.
    """
    fleet = Fleet()
    told: list[tuple[int, int, int]] = []
    for each, heard in (
        (card(replica="a"), False),
        (card(replica="b", draining=True), False),
        (card(replica="a"), True),
        (card(replica="b"), True),
    ):
        fleet.on_card(presence_key(each.zone, each.pool, each.replica), each, heard=heard)
        [status] = fleet.statuses()
        told.append((status.replicas, status.draining, status.unheard))
        assert fleet.view.pools["home"].slots == (4 if len(told) < 4 else 8)

    assert told == [(1, 0, 1), (2, 1, 1), (2, 1, 0), (2, 0, 0)]


@pytest.mark.parametrize(
    "bad",
    [
        {"slots": -1},
        {"slots": -1_000_000},
        {"slots": SLOTS_PER_REPLICA_MAX + 1},
        {"slots": 2**63},
        {"busy": -5},
        {"models": [ModelCard(name="m", capabilities=[">"])]},
        {"models": [ModelCard(name="m", capabilities=["a b"])]},
        {"models": [ModelCard(name="m", capabilities=["a.b"])]},
        {"models": [ModelCard(name="m", capabilities=["classify\r\nPUB x 0\r\n"])]},
        {"models": [ModelCard(name="m", capabilities=[""])]},
        {"models": [ModelCard(name="m", capabilities=["classify", "*"])]},
        {"models": [ModelCard(name=name, capabilities=["a"]) for name in names(MODELS_PER_POOL_MAX + 1)]},
        {"models": [ModelCard(name="m", capabilities=names(CAPABILITIES_PER_POOL_MAX + 1))]},
    ],
)
def test_a_card_that_breaks_a_bound_is_refused_and_harms_its_own_pool_alone(bad: dict[str, Any]):
    """
    Its replica counts as gone; everybody else's slots are what they were.
    """
    fleet = Fleet()
    refused = counting(fleet)
    announce(fleet, card(), card("evil", zone="cloud"))
    assert 8 == fleet.slots_for("classify")

    announce(fleet, card("evil", zone="cloud", **bad))

    assert ["evil"] == refused
    assert {"home"} == fleet.view.pools.keys()
    assert (4, 4) == (fleet.slots_for("classify"), fleet.slots())
    assert {"classify"} == fleet.capabilities()


@pytest.mark.parametrize(
    "key", ["local.home.other", "local.other.r", "cloud.home.r", "home.r", "", "local.a b.r", "local..r", "x.home.r"]
)
def test_a_card_counts_for_nothing_but_its_key(key: str):
    """
    The key is what a replica's credentials let it write.
    """
    fleet = Fleet()
    refused = counting(fleet)

    fleet.on_card(key, card())

    assert 1 == len(refused)
    assert not fleet.view.pools


async def test_replicas_models_offers_and_slots_of_a_pool_are_bounded():
    """
    Twelve thousand cards of one pool are no more than its bounds, and change nothing for the others.
    """
    fleet = Fleet()
    refused = counting(fleet)
    announce(fleet, card())
    announce(fleet, *(card("evil", f"r{number}", "cloud", slots=SLOTS_PER_REPLICA_MAX) for number in range(12_000)))
    evil = fleet.view.pools["evil"]
    assert evil.slots <= SLOTS_PER_POOL_MAX
    assert 12_000 - REPLICAS_PER_POOL_MAX == len(refused)
    assert REPLICAS_PER_POOL_MAX == len(fleet.replicas_of("evil"))

    for number in range(2 * OFFERS_PER_POOL_MAX):
        labels = {f"l{number}": "x"}
        announce(fleet, card("motley", f"r{number}", "cloud", labels=labels))
    assert OFFERS_PER_POOL_MAX == len(fleet.replicas_of("motley"))

    assert fleet.slots() <= SLOTS_MAX
    assert 4 == fleet.view.pools["home"].slots


async def test_labels_of_a_pool_are_bounded():
    """
    However many its replicas have together.
    """
    fleet = Fleet()
    for number in range(OFFERS_PER_POOL_MAX):
        announce(fleet, card(replica=f"r{number}", labels={f"l{number}.{each}": "x" for each in range(16)}))
    await asyncio.sleep(2 / CHANGES_PER_S)

    assert LABELS_PER_POOL_MAX == len(fleet.view.pools["home"].labels)


async def test_a_pool_that_changes_its_capabilities_all_the_time_comes_to_an_end():
    """
    Each name costs consumers in every scope for an hour.
    """
    fleet = Fleet()
    refused = counting(fleet)
    seen: set[str] = set()
    for number in range(3 * CAPABILITIES_PER_POOL_MAX):
        announce(fleet, card("evil", models=[ModelCard(name="m", capabilities=[f"c{number}"])]))
        seen |= fleet.capabilities()
    announce(fleet, card("other", models=[ModelCard(name="m", capabilities=["another"])]))

    assert len(seen) <= CAPABILITIES_PER_POOL_MAX
    assert set(refused) == {"evil"}
    assert {"another"} <= fleet.capabilities()


def test_pools_and_capabilities_in_all_are_bounded_and_the_first_stay():
    """
    A pool for which there is no room is not there; of one whose names have no room, the names are not.
    """
    fleet = Fleet()
    announce(fleet, card(models=[ModelCard(name="m", capabilities=["mine"])]))
    for pool in range(POOLS_MAX + 10):
        each = names(CAPABILITIES_PER_POOL_MAX, f"c{pool}-")
        announce(fleet, card(f"p{pool}", models=[ModelCard(name="m", capabilities=each)]))

    assert POOLS_MAX == len(fleet.view.pools)
    assert len(fleet.capabilities()) <= CAPABILITIES_MAX
    assert "mine" in fleet.capabilities()
    announce(fleet, card(slots=2, models=[ModelCard(name="m", capabilities=["mine"])]))
    assert 2 == fleet.slots_for("mine")


async def test_a_pool_that_changes_without_end_is_looked_at_a_few_times_a_second():
    """
    Each look has every route decided anew; the last state is seen all the same, and another pool's at once.
    """
    fleet = Fleet()
    looks: list[str] = []
    fleet.on_change = looks.append
    for number in range(2_000):
        announce(fleet, card("evil", slots=1 + number % 7))
    assert len(looks) <= CHANGES_AT_ONCE + 1
    announce(fleet, card("home", slots=3))
    assert "home" == looks[-1]
    assert 3 == fleet.view.pools["home"].slots

    async with asyncio.timeout(5):
        while fleet.view.pools["evil"].slots != 1 + 1_999 % 7:
            await asyncio.sleep(0.02)


async def test_a_card_costs_the_same_however_many_there_are():
    """
    Thousands of replicas must not make each of their refreshes slow.
    """
    few, many = Fleet(), Fleet()
    announce(few, card())
    for pool in range(20):
        announce(many, *(card(f"p{pool}", f"r{number}") for number in range(REPLICAS_PER_POOL_MAX // 2)))
    refreshes = {fleet: [card("p0", "r0", slots=4, busy=number % 3) for number in range(500)] for fleet in (few, many)}

    def took_s(fleet: Fleet) -> float:
        best = float("inf")
        for _ in range(5):
            # Of this thread alone: on a busy machine it is stopped in the middle.
            began = time.thread_time()
            announce(fleet, *refreshes[fleet])
            best = min(best, time.thread_time() - began)
        return best

    assert took_s(many) < 5 * took_s(few)


@given(st.text(max_size=10))
def test_no_name_that_is_none_gets_into_the_view(name: str):
    """
    Capabilities become subjects and consumers.
    """
    fleet = Fleet()
    announce(fleet, card(models=[ModelCard(name="m", capabilities=[name])]))

    assert all(is_name(each) for each in fleet.capabilities())


async def test_the_cards_of_one_pool_leave_room_for_the_others_in_an_answer():
    """
    An answer is one message, however many replicas there are and however much they say.
    """
    fleet = Fleet()
    wordy = [ModelCard(name=name, capabilities=names(100)) for name in names(20, "m")]
    announce(fleet, *(card("evil", f"r{number}", "cloud", models=wordy) for number in range(200)))
    announce(fleet, *(card(replica=f"r{number}") for number in range(5)))

    shown = fleet.cards_within(100_000)

    assert sum(len(encode_card(each)) for each in shown) <= 100_000
    assert 5 == sum(each.pool == "home" for each in shown)
    assert 200 > sum(each.pool == "evil" for each in shown) > 0
    assert [("cloud", "evil", 200), ("local", "home", 5)] == [
        (each.zone, each.pool, each.replicas) for each in fleet.statuses()
    ]


def test_a_cloud_worker_that_announces_redaction_is_not_believed():
    """
    The rest of its card counts; the same card from a local pool counts whole.
    """
    fleet = Fleet()
    models = [ModelCard(name="m", capabilities=["classify", *LOCAL_CAPABILITIES])]
    announce(fleet, card("away", zone="cloud", models=models))
    assert {"classify"} == fleet.capabilities()

    announce(fleet, card("home", models=models))
    assert {"classify", *LOCAL_CAPABILITIES} == fleet.capabilities()
    assert {"classify"} == fleet.capabilities_of("away")


def test_a_route_has_the_dearest_price_that_a_replica_of_its_pool_announces():
    """
    And none where nobody announces one, or the pool is gone.
    """
    fleet = Fleet()
    cheap, dear = (ModelPrice(input_mtok_usd=usd) for usd in (1.0, 3.0))
    for replica, price in (("a", cheap), ("b", dear), ("c", cheap), ("d", UNSET)):
        models = [ModelCard(name="m", capabilities=["classify"], price=price), ModelCard(name="n", capabilities=["x"])]
        announce(fleet, card(replica=replica, models=models))

    routes = [
        Route(zone="local", pool=pool, model=model) for pool, model in (("home", "m"), ("home", "n"), ("gone", "m"))
    ]
    assert [dear, None, None] == [fleet.price_of(route) for route in routes]
