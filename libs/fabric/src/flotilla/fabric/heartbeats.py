"""
Who lives, as their heartbeats say; and the presence bucket, written for those who read it.

Every orchestrator hears every heartbeat and keeps its own view. The bucket is for the observer and `nats kv`, and tells an
orchestrator that starts of the fleet at once. It is written by whichever orchestrator comes first, after a short random
pause: one that is frozen or gone leaves it to the others, where a queue group would still hand it its share.
"""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Final, Literal, Protocol

from flotilla.contracts import subjects
from flotilla.contracts.errors import DecodeFailedError
from flotilla.contracts.presence import EXPIRY_S, ReplicaCard, decode_card, encode_card
from flotilla.fabric import keyvalue
from flotilla.fabric.connection import Connection, Message
from flotilla.fabric.eager import start
from flotilla.fabric.errors import BucketFullError, NoRespondersError, RequestTimeoutError, TopologyError
from flotilla.fabric.inbox import Requests
from flotilla.fabric.keyvalue import DELETED
from flotilla.fabric.kv_cache import RETRY_S, live_entries
from flotilla.fabric.per_item import guarded
from flotilla.fabric.unreadable import Sparing

logger = logging.getLogger("flotilla.fabric")

TURN_S: Final = 0.1
KEPT_WITHIN_S: Final = 0.5
"""How long after a heartbeat it is in the bucket."""
ASK_EVERY_S: Final = 5.0
"""How often it is asked of a card whether it was stored."""
HEARTBEAT_BYTES_MAX: Final = 128 * 1024
REPLICAS_PER_POOL_MAX: Final = 1_000
REPLICAS_MAX: Final = 20_000
POOL_BYTES_MAX: Final = 4 * 1024 * 1024
"""Of all cards of a pool, as they came: what one pool announces costs the others nothing."""
PER_TURN_MAX: Final = 200
PER_TURN_BYTES_MAX: Final = 1024 * 1024
"""Of one pool's heartbeats in TURN_S, decoded. A full pool sends 50 in that time, of 0.2 MiB."""


class OnCard(Protocol):
    """What is told of replicas."""

    def __call__(self, key: str, card: ReplicaCard | None, /, *, heard: bool) -> None:
        """Take a replica's key and its card; `heard` is False of one in the bucket alone, which may have died since."""


class _Replica:
    """
    A replica that lives.

    Attributes:
        size_bytes: Of its card, as it came.
        heard_at: Its last heartbeat, by the clock of `Heartbeats`.
    """

    __slots__ = ("card", "heard_at", "size_bytes")

    def __init__(self, card: ReplicaCard, size_bytes: int, heard_at: float) -> None:
        self.card: Final = card
        self.size_bytes: Final = size_bytes
        self.heard_at: Final = heard_at


class Heartbeats:
    """
    Calls `on_card` with every card that is heard or listed, and with None when its replica has left or fallen silent.

    The clock stands still while this process or its connection does: a pause here is not mistaken for the fleet's.

    Attributes:
        listed: Set once the bucket was listed.
        on_refused: Called with the pool of each heartbeat that is refused, or dropped because there were too many.
        is_storing: Whether JetStream acknowledged the last card of which that was asked, or nobody can tell. A full disk
            leaves the bucket without acknowledgements, as every stream that was written to meanwhile.
    """

    def __init__(self, connection: Connection, requests: Requests, on_card: OnCard) -> None:
        self._connection = connection
        self._requests = requests
        self._on_card = on_card
        self._replicas: dict[str, _Replica] = {}
        self._in_pool: Counter[str] = Counter()
        self._bytes_of_pool: Counter[str] = Counter()
        self._this_turn: Counter[str] = Counter()
        self._bytes_this_turn: Counter[str] = Counter()
        self._keep_at: dict[str, float] = {}
        self._gone: set[str] = set()
        self._prefix = subjects.key(subjects.PRESENCE_BUCKET, "")
        self._clock_s = 0.0
        self._sparing = Sparing()
        self._tasks: list[asyncio.Task[None]] = []
        self._asking: asyncio.Task[None] | None = None
        self._ask_at_s = 0.0
        self.on_refused: Callable[[str], None] = _nothing
        self.is_storing = True
        self.listed: Final = asyncio.Event()

    async def start(self) -> None:
        """Listen, list the bucket, and follow until `stop`."""
        await self._connection.subscribe(subjects.heartbeat("*", "*", "*"), self._on_heartbeat)  # pyright: ignore[reportArgumentType]  # a wildcard for the zone
        await self._connection.subscribe(f"{self._prefix}>", self._on_kept)
        loop = asyncio.get_running_loop()
        self._tasks += (loop.create_task(self._turn_loop()), loop.create_task(self._list()))

    async def stop(self) -> None:
        """Stop following."""
        for task in (*self._tasks, *((self._asking,) if self._asking else ())):
            task.cancel()

    async def _on_heartbeat(self, message: Message) -> None:
        key = subjects.parse_heartbeat(message.subject)
        if key is None:
            self._refuse("of no replica", "")
        elif not message.data:
            # Not counted against the turn: a pool that leaves at once is heard leaving, and there is nothing to decode.
            await self._on_goodbye(key)
        elif self._is_within_turn(_pool_of(key), len(message.data)) and self._hear(key, message.data):
            self._keep_at.setdefault(key, self._clock_s + random.random() * (KEPT_WITHIN_S - TURN_S))

    def _is_within_turn(self, pool: str, size_bytes: int) -> bool:
        """Whether a pool may have another heartbeat decoded in this turn."""
        if self._this_turn[pool] < PER_TURN_MAX and self._bytes_this_turn[pool] + size_bytes <= PER_TURN_BYTES_MAX:
            self._this_turn[pool] += 1
            self._bytes_this_turn[pool] += size_bytes
            return True
        why = f"more than {PER_TURN_MAX}, or {PER_TURN_BYTES_MAX} bytes, in {TURN_S} s"
        return self._refuse(why, pool, event="heartbeats_dropped")

    def _hear(self, key: str, body: bytes, *, listed: bool = False) -> bool:
        """Take a card; when it is refused, what was known of its replica stands until it expires."""
        pool = _pool_of(key)
        if len(body) > HEARTBEAT_BYTES_MAX:
            return self._refuse(f"of more than {HEARTBEAT_BYTES_MAX} bytes", pool)
        try:
            card = decode_card(body)
        except DecodeFailedError as error:
            return self._refuse(str(error), pool)
        if key != subjects.presence_key(card.zone, card.pool, card.replica):
            return self._refuse("of another replica than its subject says", pool)
        before = self._replicas.get(key)
        grown_bytes = len(body) - (before.size_bytes if before is not None else 0)
        if before is None and (self._in_pool[pool] >= REPLICAS_PER_POOL_MAX or len(self._replicas) >= REPLICAS_MAX):
            return self._refuse(f"of more than {REPLICAS_PER_POOL_MAX} replicas, or {REPLICAS_MAX} in all", pool)
        if self._bytes_of_pool[pool] + grown_bytes > POOL_BYTES_MAX:
            return self._refuse(f"that makes more than {POOL_BYTES_MAX} bytes for its pool", pool)
        self._replicas[key] = _Replica(card, len(body), self._clock_s)
        self._in_pool[pool] += before is None
        self._bytes_of_pool[pool] += grown_bytes
        self._on_card(key, card, heard=not listed)
        return True

    async def _on_goodbye(self, key: str) -> None:
        if not self.listed.is_set() and len(self._gone) < REPLICAS_MAX:
            self._gone.add(key)
        if self._forget(key):
            # By every orchestrator: one that has not heard yet may be about to write the card.
            await self._connection.publish(self._prefix + key, headers=DELETED)

    def _forget(self, key: str) -> bool:
        self._keep_at.pop(key, None)
        gone = self._replicas.pop(key, None)
        if gone is None:
            return False
        pool = _pool_of(key)
        self._bytes_of_pool[pool] -= gone.size_bytes
        self._in_pool[pool] -= 1
        if not self._in_pool[pool]:
            del self._in_pool[pool], self._bytes_of_pool[pool]
        self._on_card(key, None, heard=True)
        return True

    async def _on_kept(self, message: Message) -> None:
        if message.data:
            self._keep_at.pop(message.subject[len(self._prefix) :], None)

    def _refuse(self, why: str, pool: str, *, event: str = "heartbeat_refused") -> Literal[False]:
        self.on_refused(pool.rpartition(".")[2] or "unknown")
        unsaid = self._sparing.due(f"{event} {pool}")
        if unsaid is not None:
            logger.warning(event, extra={"pool": pool, "detail": why, "unsaid": unsaid})
        return False

    async def _list(self) -> None:
        while not self.listed.is_set():
            try:
                entries = await live_entries(self._requests, subjects.PRESENCE_BUCKET)
            except Exception as error:  # noqa: BLE001  (whatever it is, the next listing may succeed)
                logger.warning("presence_not_listed", extra={"error": type(error).__name__})
                await asyncio.sleep(RETRY_S)
                continue
            for key, body in entries.items():
                is_new = key not in self._replicas and key not in self._gone
                if is_new and subjects.parse_heartbeat(f"heartbeat.{key}") == key:
                    with guarded("heartbeats", key):
                        self._hear(key, body, listed=True)
            self.listed.set()
            self._gone.clear()

    async def _turn_loop(self) -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(TURN_S)
            now = time.monotonic()
            if self._connection.is_connected:
                self._clock_s += min(now - last, 2 * TURN_S)
            last = now
            self._this_turn.clear()
            self._bytes_this_turn.clear()
            for key in [key for key, replica in self._replicas.items() if self._clock_s - replica.heard_at > EXPIRY_S]:
                with guarded("heartbeats", key):
                    self._forget(key)
            for key in [key for key, keep_at in self._keep_at.items() if self._clock_s >= keep_at]:
                del self._keep_at[key]
                # A full output buffer while disconnected: the next heartbeat is kept.
                with guarded("heartbeats", key):
                    await self._keep(key, encode_card(self._replicas[key].card))

    async def _keep(self, key: str, body: bytes) -> None:
        """Write a card; of one now and then it is asked whether it was stored."""
        if self._clock_s >= self._ask_at_s and (self._asking is None or self._asking.done()):
            self._ask_at_s = self._clock_s + ASK_EVERY_S
            # Begun at once: a goodbye that is read next must not be overtaken.
            self._asking = start(self._ask_whether_stored(key, body))
        else:
            await self._connection.publish(self._prefix + key, body)

    async def _ask_whether_stored(self, key: str, body: bytes) -> None:
        reconnects = self._connection.reconnects
        with guarded("heartbeats", key):
            try:
                await keyvalue.put(self._requests, subjects.PRESENCE_BUCKET, key, body)
            except NoRespondersError:
                self.is_storing = True  # there is no such bucket: it is made again
            except (RequestTimeoutError, BucketFullError, TopologyError) as error:
                if self._connection.is_answered and self._connection.reconnects == reconnects:
                    self.is_storing = False
                    if (unsaid := self._sparing.due("not stored")) is not None:
                        logger.warning("presence_not_stored", extra={"error": type(error).__name__, "unsaid": unsaid})
            else:
                self.is_storing = True


def _pool_of(key: str) -> str:
    return key.rpartition(".")[0]


def _nothing(_pool: str) -> None:
    pass
