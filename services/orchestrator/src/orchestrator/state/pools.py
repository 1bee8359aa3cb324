"""
One pool as its replicas' cards describe it, put together card by card and within bounds.

A card is whatever a worker says of itself. One that breaks a bound is refused, and its replica counts as gone: what a
pool announces harms that pool and no other. Replicas of a pool are alike, so what they offer (models, capabilities,
labels) is kept once for all that offer the same, and a card that changes changes no more than its own share of the sums.
"""

import time
from collections import Counter
from collections.abc import Iterable
from typing import Final

import msgspec

from flotilla.contracts.api import PoolStatus
from flotilla.contracts.names import is_name, is_replica
from flotilla.contracts.presence import ModelPrice, ReplicaCard, encode_card
from flotilla.contracts.redaction import LOCAL_CAPABILITIES
from flotilla.contracts.subjects import Zone
from flotilla.routing.types import PoolView

REPLICAS_PER_POOL_MAX: Final = 1_000
OFFERS_PER_POOL_MAX: Final = 64
"""Different lists of models and labels among the replicas; while all of them are being replaced there are two."""
MODELS_PER_POOL_MAX: Final = 256
CAPABILITIES_PER_POOL_MAX: Final = 256
"""Of live replicas, and of those that have gone within NAMES_KEPT_S: each costs consumers that live on for so long."""
LABELS_PER_POOL_MAX: Final = 64
SLOTS_PER_REPLICA_MAX: Final = 4_096
SLOTS_PER_POOL_MAX: Final = 65_536
PROVIDERS_TOLD_MAX: Final = 8
STAND_INS: Final = frozenset({"embedded", "noop"})
"""Providers that are no models."""
NAMES_KEPT_S: Final = 3600.0


class CardRefusedError(Exception):
    """A card breaks a bound; the text is one of a few, for logs and metrics."""


def _without_local(card: ReplicaCard) -> ReplicaCard:
    """A card of another zone, without what only the local one may serve: it is not believed."""
    if not any(name in LOCAL_CAPABILITIES for model in card.models for name in model.capabilities):
        return card
    models = [
        msgspec.structs.replace(
            model, capabilities=[name for name in model.capabilities if name not in LOCAL_CAPABILITIES]
        )
        for model in card.models
    ]
    return msgspec.structs.replace(card, models=models)


def _dearness(price: ModelPrice) -> float:
    return price.usd(input_tokens=1_000, output_tokens=price.output_tokens_max or 1_000)


class _Offer:
    """What some replicas offer, and how many do."""

    __slots__ = ("labels", "models", "replicas")

    def __init__(self, card: ReplicaCard) -> None:
        self.models: Final = card.models
        self.labels: Final = card.labels
        self.replicas = 0

    def is_of(self, card: ReplicaCard) -> bool:
        """Whether a card offers just this."""
        return self.models == card.models and self.labels == card.labels

    def names(self) -> set[str]:
        """The capabilities of all its models."""
        return {name for model in self.models for name in model.capabilities}


class _Replica:
    """A live replica."""

    __slots__ = ("busy", "card", "offer", "slots", "unheard")

    def __init__(self, card: ReplicaCard, offer: _Offer, *, heard: bool) -> None:
        # The lists are as long as they may be, and the same for all: one copy of them is kept.
        self.card: Final = msgspec.structs.replace(card, models=offer.models, labels=offer.labels)
        self.offer: Final = offer
        self.slots: Final = 0 if card.draining else card.slots
        self.busy: Final = min(card.busy, card.slots)
        self.unheard: Final = not heard and not card.draining


class Pool:
    """
    The live replicas of a pool in one zone.

    Attributes:
        busy: Slots taken, as the cards say.
    """

    __slots__ = ("_gone", "_models", "_name", "_names", "_offers", "_replicas", "_serving", "_slots", "_zone", "busy")

    def __init__(self, zone: Zone, name: str) -> None:
        self._zone: Zone = zone
        self._name = name
        self._replicas: dict[str, _Replica] = {}
        self._offers: list[_Offer] = []
        self._models: Counter[str] = Counter()
        self._names: Counter[str] = Counter()
        self._gone: dict[str, float] = {}
        self._serving = 0
        self._slots = 0
        self.busy = 0

    def __len__(self) -> int:
        return len(self._replicas)

    def cards(self) -> Iterable[ReplicaCard]:
        """The card of every live replica."""
        return (replica.card for replica in self._replicas.values())

    def is_forgotten(self) -> bool:
        """Whether it has no replica, and nothing that its replicas announced counts against its bounds any more."""
        self._forget()
        return not self._replicas and not self._gone

    def put(self, replica: str, card: ReplicaCard, *, heard: bool = True) -> bool:
        """
        Take in the card that stands under a replica's key; says whether routing sees a difference.

        Raises:
            CardRefusedError: It breaks a bound. The replica, if it was there, is not any more.
        """
        if self._zone != "local":
            card = _without_local(card)
        before = self._replicas.get(replica)
        same = before is not None and before.offer.is_of(card)
        try:
            self._check(replica, card, is_new=before is None, offers_anew=not same)
            offer = before.offer if same and before is not None else self._offer_of(card)
        except CardRefusedError:
            self.drop(replica)
            raise
        offer.replicas += 1
        self.drop(replica)
        after = self._replicas[replica] = _Replica(card, offer, heard=heard)
        self._slots += after.slots
        self._serving += not card.draining
        self.busy += after.busy
        if before is None or not same or before.slots != after.slots:
            return True
        return (before.card.draining, before.card.stand_in) != (card.draining, card.stand_in)

    def drop(self, name: str) -> bool:
        """A replica has gone; False when it was not there."""
        replica = self._replicas.pop(name, None)
        if replica is None:
            return False
        self._slots -= replica.slots
        self._serving -= not replica.card.draining
        self.busy -= replica.busy
        replica.offer.replicas -= 1
        if not replica.offer.replicas:
            self._withdraw(replica.offer)
        return True

    @property
    def _gives_way(self) -> bool:
        return all(replica.card.stand_in for replica in self._replicas.values())

    def view(self) -> PoolView | None:
        """What routing sees; None without replicas."""
        if not self._replicas:
            return None
        models: dict[str, set[str]] = {}
        labels: dict[str, str] = {}
        prices: dict[str, ModelPrice] = {}
        for offer in self._offers:
            labels.update(offer.labels)
            for model in offer.models:
                models.setdefault(model.name, set()).update(model.capabilities)
                if isinstance(model.price, ModelPrice):
                    prices[model.name] = max(prices.get(model.name, model.price), model.price, key=_dearness)
        return PoolView(
            zone=self._zone,
            pool=self._name,
            models={name: frozenset(capabilities) for name, capabilities in models.items()},
            replicas=self._serving,
            slots=min(self._slots, SLOTS_PER_POOL_MAX),
            gives_way=self._gives_way,
            prices=prices,
            stands_in=all(replica.card.provider in STAND_INS for replica in self._replicas.values()),
            labels=labels if len(labels) <= LABELS_PER_POOL_MAX else dict(list(labels.items())[:LABELS_PER_POOL_MAX]),
        )

    def status(self) -> PoolStatus:
        """What is told of it."""
        providers = sorted({replica.card.provider for replica in self._replicas.values()})
        return PoolStatus(
            zone=self._zone,
            pool=self._name,
            provider=", ".join(providers[:PROVIDERS_TOLD_MAX]),
            replicas=len(self._replicas),
            slots=min(sum(replica.card.slots for replica in self._replicas.values()), SLOTS_PER_POOL_MAX),
            busy=min(self.busy, SLOTS_PER_POOL_MAX),
            models=sorted(self._models),
            capabilities=sorted(self._names),
            stand_in=self._gives_way,
            draining=len(self._replicas) - self._serving,
            unheard=sum(replica.unheard for replica in self._replicas.values()),
        )

    def cards_within(self, bytes_max: int) -> list[ReplicaCard]:
        """The cards by replica, as many as fit."""
        found: list[ReplicaCard] = []
        for _, replica in sorted(self._replicas.items()):
            bytes_max -= len(encode_card(replica.card)) + 1
            if bytes_max < 0:
                break
            found.append(replica.card)
        return found

    def _check(self, replica: str, card: ReplicaCard, *, is_new: bool, offers_anew: bool) -> None:
        if not is_replica(replica):
            raise CardRefusedError("not a replica's name")
        if (card.zone, card.pool, card.replica) != (self._zone, self._name, replica):
            # The key is what its credentials allow it to write.
            raise CardRefusedError("contradicts its key")
        if not 0 <= card.slots <= SLOTS_PER_REPLICA_MAX or card.busy < 0:
            raise CardRefusedError("slots out of bounds")
        if is_new and len(self._replicas) >= REPLICAS_PER_POOL_MAX:
            raise CardRefusedError("too many replicas")
        if offers_anew and not all(is_name(name) for model in card.models for name in model.capabilities):
            raise CardRefusedError("not a capability's name")

    def _offer_of(self, card: ReplicaCard) -> _Offer:
        """The offer that a card makes, which some replica may make already."""
        known = next((offer for offer in self._offers if offer.is_of(card)), None)
        if known is not None:
            return known
        offer = _Offer(card)
        names = offer.names()
        models = {model.name for model in card.models}
        if len(self._offers) >= OFFERS_PER_POOL_MAX:
            raise CardRefusedError("too many different offers")
        if len(self._models.keys() | models) > MODELS_PER_POOL_MAX:
            raise CardRefusedError("too many models")
        self._forget()
        if len(self._names.keys() | self._gone.keys() | names) > CAPABILITIES_PER_POOL_MAX:
            raise CardRefusedError("too many capabilities")
        self._offers.append(offer)
        self._names.update(names)
        self._models.update(models)
        for name in names:
            self._gone.pop(name, None)
        return offer

    def _withdraw(self, offer: _Offer) -> None:
        self._offers.remove(offer)
        now = time.monotonic()
        self._models.subtract({model.name for model in offer.models})
        self._models = +self._models
        names = offer.names()
        self._names.subtract(names)
        self._names = +self._names
        self._gone |= {name: now for name in names if name not in self._names}

    def _forget(self) -> None:
        oldest = time.monotonic() - NAMES_KEPT_S
        if any(at < oldest for at in self._gone.values()):
            self._gone = {name: at for name, at in self._gone.items() if at >= oldest}
