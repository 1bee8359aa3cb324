"""The fleet as this orchestrator sees it: pools, and a lane for each. A card changes its own pool, and nothing else."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import structlog

from flotilla.contracts.api import PoolStatus
from flotilla.contracts.names import POOLS_MAX, is_name
from flotilla.contracts.presence import ModelPrice, ReplicaCard
from flotilla.contracts.subjects import ZONES, Zone
from flotilla.fabric.lanes import EVEN, Lane
from flotilla.fabric.unreadable import Sparing
from flotilla.routing.types import FleetView, PoolView, Route
from orchestrator.state.pools import CardRefusedError, Pool
from orchestrator.state.replica_states import Replica

logger = structlog.get_logger("orchestrator")

CAPABILITIES_MAX: Final = 4_096
"""Of the whole fleet; a pool that announces more is there without them."""
SLOTS_MAX: Final = 1_000_000
CHANGES_AT_ONCE: Final = 64
CHANGES_PER_S: Final = 16.0
"""Of one pool, beyond CHANGES_AT_ONCE: each has all routes looked at again, and the streams swept."""
UNKNOWN: Final = "unknown"


class Fleet:
    """
    Live replicas, pools and lanes.

    Attributes:
        view: What routing sees; a new object whenever a pool changes.
        changed: Set when that happens; each time a new event takes its place.
        busy: Slots taken by pool: as the cards said (at most 2 s ago), or as this orchestrator knows, if that is more.
        on_change: Called after a replica came, went, or changed in what it can do, with its pool.
        on_refused: Called with the pool of each card that is refused.
        is_storing: Tells whether JetStream stores what is written to it, as far as is known.
    """

    def __init__(self, scope_weights: Mapping[str, int] = EVEN) -> None:
        self._weights = scope_weights
        self._pools: dict[tuple[Zone, str], Pool] = {}
        self._lanes: dict[str, Lane] = {}
        self._paces: dict[str, _Pace] = {}
        self._served: Counter[str] = Counter()
        self._slots: Counter[str] = Counter()
        self._mine: Counter[str] = Counter()
        self._announced: Counter[str] = Counter()
        self._sparing = Sparing()
        self.view = FleetView()
        self.on_change: Callable[[str], None] = _nothing
        self.on_refused: Callable[[str], None] = _nothing
        self.is_storing: Callable[[], bool] = lambda: True
        self.changed = asyncio.Event()
        self.busy: Final[dict[str, int]] = {}

    @property
    def cards(self) -> list[ReplicaCard]:
        """The card of every live replica."""
        return [card for pool in self._pools.values() for card in pool.cards()]

    def cards_within(self, bytes_max: int) -> list[ReplicaCard]:
        """The cards by pool and replica, an equal share of the bytes for each pool."""
        share = bytes_max // max(1, len(self._pools))
        return [card for place in sorted(self._pools) for card in self._pools[place].cards_within(share)]

    def statuses(self) -> list[PoolStatus]:
        """What is told of each live pool."""
        return [pool.status() for _, pool in sorted(self._pools.items()) if len(pool)]

    def lane(self, pool: str) -> Lane:
        """The line for one pool."""
        lane = self._lanes.get(pool)
        if lane is None:
            lane = self._lanes[pool] = Lane(pool, self._weights)
        return lane

    def slot_freed(self, pool: str) -> None:
        """A replica says that it has a free slot again; nothing follows where nobody stands in line."""
        lane = self._lanes.get(pool)
        if lane is not None:
            lane.slots_freed()

    def replicas_of(self, pool: str) -> frozenset[Replica]:
        """A pool's live replicas."""
        found = (self._pools[zone, pool].cards() for zone in ZONES if (zone, pool) in self._pools)
        return frozenset(Replica(pool, card.replica, card.started_unix_ms) for cards in found for card in cards)

    def capabilities(self) -> frozenset[str]:
        """Everything that some live replica serves."""
        return frozenset(self._served)

    def capabilities_of(self, pool: str) -> frozenset[str]:
        """Everything that some live replica of one pool serves."""
        return _served(self.view.pools.get(pool))

    def price_of(self, route: Route) -> ModelPrice | None:
        """What the model of a route costs, where its pool has said so."""
        pool = self.view.pools.get(route.pool)
        return None if pool is None else pool.prices.get(route.model)

    def slots_for(self, capability: str) -> int:
        """Slots of the live pools that serve a capability."""
        return min(self._slots[capability], SLOTS_MAX)

    def slots(self) -> int:
        """Slots of the whole fleet."""
        return min(sum(pool.slots for pool in self.view.pools.values()), SLOTS_MAX)

    def began(self, pool: str) -> None:
        """An attempt of this orchestrator took a slot."""
        self._mine[pool] += 1
        self.busy[pool] = max(self._mine[pool], self._announced[pool])

    def ended(self, pool: str) -> None:
        """It gave the slot back."""
        self._mine[pool] -= 1
        self.busy[pool] = max(self._mine[pool], self._announced[pool])

    def on_card(self, key: str, card: ReplicaCard | None, *, heard: bool = True) -> None:
        """
        A replica came, changed or went. The key is what its credentials allow it to write, and believed.

        One that was not heard yet is routed to, and told of as such.
        """
        place = _place(key)
        if place is None:
            self._refuse(UNKNOWN, "not the key of a replica")
            return
        zone, name, replica = place
        pool = self._pools.get((zone, name))
        if pool is None and card is not None:
            pool = self._opened(zone, name)
        if pool is None:
            return
        busy_before = pool.busy
        changed = pool.drop(replica) if card is None else self._put(pool, place, card, heard=heard)
        self._announced[name] += pool.busy - busy_before
        self.busy[name] = max(self._mine[name], self._announced[name])
        if changed:
            self._paces[name].change()

    def _put(self, pool: Pool, place: "_Place", card: ReplicaCard, *, heard: bool) -> bool:
        """Take a card in, or have its replica count as gone; says whether routing sees a difference."""
        replicas = len(pool)
        try:
            return pool.put(place[2], card, heard=heard)
        except CardRefusedError as error:
            self._refuse(place[1], str(error))
            return len(pool) != replicas

    def _opened(self, zone: Zone, name: str) -> Pool | None:
        """Room for a pool that was not there."""
        if len(self._pools) >= POOLS_MAX:
            for place in [place for place, pool in self._pools.items() if pool.is_forgotten()]:
                del self._pools[place]
            for gone in self._paces.keys() - {pool for _, pool in self._pools}:
                del self._paces[gone], self._announced[gone]
        if len(self._pools) >= POOLS_MAX:
            self._refuse(name, "too many pools")
            return None
        self._paces.setdefault(name, _Pace(name, self._apply))
        pool = self._pools[zone, name] = Pool(zone, name)
        return pool

    def _refuse(self, name: str, reason: str) -> None:
        self.on_refused(name)
        unsaid = self._sparing.due(name)
        if unsaid is not None:
            logger.warning("card_refused", pool=name, reason=reason, unsaid=unsaid)

    def _apply(self, name: str) -> None:
        """Have everybody see what a pool is now."""
        before = self.view.pools.get(name)
        after = self._within_bounds(self._view_of(name), before)
        for capability in _served(before):
            self._count(capability, -1, -(before.slots if before is not None else 0))
        for capability in _served(after):
            self._count(capability, 1, after.slots if after is not None else 0)
        pools = dict(self.view.pools)
        if after is not None:
            pools[name] = after
        else:
            pools.pop(name, None)
        self.view = FleetView(pools=pools)
        lane = self._lanes.get(name)
        gained = (after.slots if after is not None else 0) - (before.slots if before is not None else 0)
        if lane is not None and gained > 0:
            lane.slots_freed(gained)
        for gone in [gone for gone, lane in self._lanes.items() if gone not in pools and not len(lane)]:
            del self._lanes[gone]
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()
        self.on_change(name)

    def _view_of(self, name: str) -> PoolView | None:
        found = [pool.view() for zone in ZONES if (pool := self._pools.get((zone, name))) is not None]
        views = [view for view in found if view is not None]
        if len(views) > 1 and self._sparing.due(f"{name} in two zones") is not None:
            logger.error("pool_in_two_zones", pool=name)
        # Which zone a pool is in decides where data may go: of two, the one that data may not leave for wins.
        return next((view for view in views if view.zone == "cloud"), views[0] if views else None)

    def _within_bounds(self, view: PoolView | None, before: PoolView | None) -> PoolView | None:
        """Without the capabilities that the fleet has no room for: those of pools that were there first stay."""
        if view is None or len(self._served.keys() | _served(view)) <= CAPABILITIES_MAX:
            return view
        self._refuse(view.pool, "too many capabilities in the fleet")
        others = {name for name, pools in self._served.items() if pools > (name in _served(before))}
        known = others | set(sorted(_served(view) - others)[: CAPABILITIES_MAX - len(others)])
        models = {name: capabilities & known for name, capabilities in view.models.items()}
        return msgspec.structs.replace(view, models=models)

    def _count(self, capability: str, pools: int, slots: int) -> None:
        self._served[capability] += pools
        self._slots[capability] += slots
        if not self._served[capability]:
            del self._served[capability], self._slots[capability]


_Place = tuple[Zone, str, str]


class _Pace:
    """Lets a pool's changes be seen at once, until there are too many of them: then those of a moment together."""

    __slots__ = ("_apply", "_at", "_left", "_name", "_timer")

    def __init__(self, name: str, apply: Callable[[str], None]) -> None:
        self._name = name
        self._apply = apply
        self._left = float(CHANGES_AT_ONCE)
        self._at = time.monotonic()
        self._timer: asyncio.TimerHandle | None = None

    def change(self) -> None:
        """The pool is not what it was."""
        if self._timer is not None:
            return
        now = time.monotonic()
        self._left = min(CHANGES_AT_ONCE, self._left + (now - self._at) * CHANGES_PER_S)
        self._at = now
        if self._left >= 1:
            self._left -= 1
            self._apply(self._name)
        else:
            self._timer = asyncio.get_running_loop().call_later(1 / CHANGES_PER_S, self._together)

    def _together(self) -> None:
        self._timer = None
        self._at = time.monotonic()
        self._apply(self._name)


def _nothing(_pool: str) -> None:
    pass


def _served(pool: PoolView | None) -> frozenset[str]:
    return frozenset[str]() if pool is None else frozenset[str]().union(*pool.models.values())


def _place(key: str) -> _Place | None:
    """The zone, pool and replica of a key."""
    match key.split("."):
        case ["local" | "cloud" as zone, pool, replica] if is_name(pool):
            return zone, pool, replica
        case _:
            return None
