"""The replicas of the fleet: those whose cards are in the bucket, and for a while those that have left or are lost."""

from collections.abc import Callable, Iterator
from typing import Final, Literal

from msgspec import Struct

from flotilla.contracts.presence import EXPIRY_S, REFRESH_S, ReplicaCard, decode_card
from flotilla.contracts.subjects import PRESENCE_BUCKET, Zone, presence_key
from flotilla.fabric.connection import Connection
from flotilla.fabric.inbox import Requests
from flotilla.fabric.kv_cache import KvCache

SILENT_AFTER_S: Final = 2 * REFRESH_S
GONE_KEPT_S: Final = 60.0
LOST_KEPT_S: Final = 3600.0
"""Of a pool that has nobody else: whoever looks an hour later is told still."""
GONE_MAX: Final = 1_000
REPLICAS_MAX: Final = 10_000

ReplicaStatus = Literal["ready", "busy", "joining", "draining", "silent", "lost", "gone"]
"""`silent`: its heartbeats are late; `lost`: they have ceased, without a goodbye; `gone`: it has said goodbye."""


class SeenReplica(Struct, kw_only=True):
    """
    A replica, as its cards have told of it.

    Attributes:
        heard_s: When its last card came, by the loop's clock.
        gone_s: When it left, or its card expired; None while it is there.
    """

    card: ReplicaCard
    heard_s: float
    gone_s: float | None = None

    def status(self, now_s: float) -> ReplicaStatus:
        """Whether it is ready, busy, joining, draining, silent, lost or gone."""
        if self.gone_s is not None:
            # Who leaves does so within a heartbeat; a card expires when several of them are missing.
            return "lost" if self.gone_s - self.heard_s > SILENT_AFTER_S else "gone"
        if now_s - self.heard_s > SILENT_AFTER_S:
            return "silent"
        if self.card.draining:
            return "joining" if self.card.joining is True else "draining"
        return "busy" if self.card.busy >= self.card.slots else "ready"


class Replicas:
    """Follows the presence bucket."""

    def __init__(
        self,
        connection: Connection,
        requests: Requests,
        *,
        on_change: Callable[[], None],
        clock_s: Callable[[], float],
        replicas_max: int = REPLICAS_MAX,
    ) -> None:
        self._replicas_max: Final = replicas_max
        self._clock_s = clock_s
        self._on_change = on_change
        self._seen: Final[dict[str, SeenReplica]] = {}
        self.cache: Final = KvCache(
            connection,
            requests,
            PRESENCE_BUCKET,
            decode=decode_card,
            on_change=self._take,
            expiry_s=EXPIRY_S,
        )

    def __len__(self) -> int:
        return len(self._seen)

    def all(self) -> Iterator[SeenReplica]:
        """Those that are there, and those that have gone or been lost lately."""
        return iter(self._seen.values())

    def zone_of(self, pool: str) -> Zone | None:
        """The zone of a pool; None where none of its replicas is known."""
        return next((seen.card.zone for seen in self._seen.values() if seen.card.pool == pool), None)

    def forget_gone(self) -> None:
        """Drop those that have been gone for long, and the longest gone of too many."""
        now_s = self._clock_s()
        served = {(seen.card.zone, seen.card.pool) for seen in self._seen.values() if seen.gone_s is None}
        gone = [(key, seen.gone_s) for key, seen in self._seen.items() if seen.gone_s is not None]
        over = len(gone) - GONE_MAX
        for index, (key, gone_s) in enumerate(sorted(gone, key=lambda pair: pair[1])):
            seen = self._seen[key]
            is_all = seen.status(now_s) == "lost" and (seen.card.zone, seen.card.pool) not in served
            if index < over or now_s - gone_s > (LOST_KEPT_S if is_all else GONE_KEPT_S):
                del self._seen[key]

    def _has_room(self) -> bool:
        """Whether one more may be held; where there are as many as may be, those that are gone make room."""
        if len(self._seen) >= self._replicas_max:
            gone = [(seen.gone_s, key) for key, seen in self._seen.items() if seen.gone_s is not None]
            if gone:
                del self._seen[min(gone)[1]]
        return len(self._seen) < self._replicas_max

    def _take(self, key: str, card: ReplicaCard | None) -> None:
        seen = self._seen.get(key)
        now_s = self._clock_s()
        if card is None:
            if seen is not None and seen.gone_s is None:
                seen.gone_s = now_s
                self._on_change()
            return
        # The key is what credentials were checked for when the card was heard.
        if presence_key(card.zone, card.pool, card.replica) != key:
            return
        if seen is None and not self._has_room():
            return
        self._seen[key] = SeenReplica(card=card, heard_s=now_s)
        if seen is None or seen.gone_s is not None or seen.card != card:
            self._on_change()
