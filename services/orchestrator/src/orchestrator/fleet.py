"""The fleet as this orchestrator sees it: replicas' cards put together into pools, and a lane for each."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final

import structlog

from flotilla.contracts.presence import ReplicaCard
from flotilla.contracts.subjects import Zone, presence_key
from flotilla.fabric.lanes import Lane
from orchestrator.routing.types import FleetView, PoolView

logger = structlog.get_logger("orchestrator")

LANES_MAX: Final = 1000


class Fleet:
    """
    Live replicas, pools and lanes.

    Attributes:
        view: What routing sees; a new object whenever a pool changes.
        changed: Set when that happens; each time a new event takes its place.
        busy: Slots taken by pool: as the cards said (at most 2 s ago), or as this orchestrator knows, if that is more.
        on_change: Called after a replica came, went, or changed in what it can do.
    """

    def __init__(self) -> None:
        self._cards: dict[str, ReplicaCard] = {}
        self._lanes: dict[str, Lane] = {}
        self.view = FleetView()
        self.on_change: Callable[[], None] = _nothing
        self.changed = asyncio.Event()
        self._mine: Counter[str] = Counter()
        self._announced: Counter[str] = Counter()
        self.busy: Final[dict[str, int]] = {}

    @property
    def cards(self) -> list[ReplicaCard]:
        """The card of every live replica."""
        return list(self._cards.values())

    def lane(self, pool: str) -> Lane:
        """The line for one pool."""
        lane = self._lanes.get(pool)
        if lane is None:
            lane = self._lanes[pool] = Lane(pool)
        return lane

    def replicas_of(self, pool: str) -> frozenset[str]:
        """The names of a pool's live replicas."""
        return frozenset(card.replica for card in self._cards.values() if card.pool == pool)

    def capabilities(self) -> frozenset[str]:
        """Everything that some live replica serves."""
        return frozenset(name for pool in self.view.pools.values() for names in pool.models.values() for name in names)

    def slots_for(self, capability: str) -> int:
        """Slots of the live pools that serve a capability."""
        return sum(pool.slots for pool in self.view.serving(capability))

    def slots(self) -> int:
        """Slots of the whole fleet."""
        return sum(pool.slots for pool in self.view.pools.values())

    def began(self, pool: str) -> None:
        """An attempt of this orchestrator took a slot."""
        self._mine[pool] += 1
        self.busy[pool] = max(self._mine[pool], self._announced[pool])

    def ended(self, pool: str) -> None:
        """It gave the slot back."""
        self._mine[pool] -= 1
        self.busy[pool] = max(self._mine[pool], self._announced[pool])

    def on_card(self, key: str, card: ReplicaCard | None) -> None:
        """A replica came, changed or went."""
        if card is not None and key != presence_key(card.zone, card.pool, card.replica):
            # The key is what a replica's credentials allow it to write; a card that says otherwise is not believed.
            logger.error("card_contradicts_key", key=key)
            card = None
        before = self._cards.pop(key, None)
        if card is not None:
            self._cards[key] = card
        pool = card.pool if card is not None else before.pool if before is not None else ""
        self._announced[pool] += (card.busy if card is not None else 0) - (before.busy if before is not None else 0)
        self.busy[pool] = max(self._mine[pool], self._announced[pool])
        if _standing(before) == _standing(card):
            return
        self._rebuild()
        gained = _slots(card) - _slots(before)
        if card is not None and gained > 0:
            self.lane(card.pool).slots_freed(gained)
        for name in [name for name, lane in self._lanes.items() if name not in self.view.pools and not len(lane)]:
            del self._lanes[name]
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()
        self.on_change()

    def _rebuild(self) -> None:
        by_pool: dict[str, list[ReplicaCard]] = {}
        for card in self._cards.values():
            by_pool.setdefault(card.pool, []).append(card)
        pools: dict[str, PoolView] = {}
        for name, cards in by_pool.items():
            zone = cards[0].zone
            if any(card.zone != zone for card in cards):
                # Which zone a pool is in decides where data may go: of two, the one that data may not leave for wins.
                logger.error("pool_in_two_zones", pool=name)
                zone = "cloud"
                cards = [card for card in cards if card.zone == zone]  # noqa: PLW2901
            pools[name] = _pool_view(name, zone, cards)
        self.view = FleetView(pools=pools)


def _nothing() -> None:
    pass


def _pool_view(name: str, zone: Zone, cards: list[ReplicaCard]) -> PoolView:
    models: dict[str, frozenset[str]] = {}
    labels: dict[str, str] = {}
    for card in cards:
        labels.update(card.labels)
        for model in card.models:
            models[model.name] = models.get(model.name, frozenset()) | frozenset(model.capabilities)
    serving = [card for card in cards if not card.draining]
    return PoolView(
        zone=zone,
        pool=name,
        models=models,
        replicas=len(serving),
        slots=sum(card.slots for card in serving),
        labels=labels,
    )


def _slots(card: ReplicaCard | None) -> int:
    return 0 if card is None or card.draining else card.slots


def _standing(card: ReplicaCard | None) -> tuple[object, ...] | None:
    """What of a card matters to routing; its `busy` changes all the time."""
    if card is None:
        return None
    models = tuple((model.name, tuple(model.capabilities)) for model in card.models)
    return card.zone, card.pool, card.slots, card.draining, models, tuple(sorted(card.labels.items()))
