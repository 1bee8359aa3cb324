"""
A local copy of a KV bucket that follows every change.

Writes to a bucket are ordinary messages on `$KV.<bucket>.<key>`, so a core subscription sees them at once and needs no
consumer on the server; the whole bucket is listed at the start, after every reconnect, and every RELIST_S. A JetStream
watch was blind for about 15 s after a server restart (measured), and leaks consumers when it is not stopped.

What the subscription cannot see is a key that expires: entries that are not refreshed within `expiry_s` are dropped
here by the local clock. And it sees writes that the server then refuses (compare-and-set lost): use `verified=True` for
buckets written that way; each change is then read back from the stream, twice: what is heard may not be stored yet, or
not by the replica that answers. Of such a bucket nothing is forgotten but what somebody deleted: a key that is not there
any more, without a word, was lost.

What stands in a bucket is what somebody wrote. An entry that cannot be read, or that whoever follows it does not bear, is
told once a minute, and keeps none of the others from being followed.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Generic, TypeVar

import msgspec

from flotilla.contracts import subjects
from flotilla.contracts.errors import FlotillaError
from flotilla.fabric.connection import Connection, Message, status_of
from flotilla.fabric.errors import ListFailedError
from flotilla.fabric.inbox import Requests
from flotilla.fabric.jetstream_api import direct_get
from flotilla.fabric.per_item import guarded
from flotilla.fabric.unreadable import Sparing

logger = logging.getLogger("flotilla.fabric")

RELIST_S: Final = 30.0
RELIST_AGAIN_S: Final = 0.3
RETRY_S: Final = 0.5
EXPIRY_CHECK_S: Final = 0.5
KEYS_MAX: Final = 100_000
LIST_BATCH: Final = 500
LIST_MAX: Final = 1_000_000
END_OF_BATCH: Final = "204"
NOTHING_FOUND: Final = "404"

Value = TypeVar("Value")


class KvCache(Generic[Value]):
    """
    The live keys of a bucket, decoded.

    Attributes:
        values: By key. Replaced values are new objects; do not change them.
        revisions: Of the keys when they were last listed; exact for a verified cache, which only changes by listing.
        undecodable: Keys whose newest value did not decode; what was known of them before still stands in `values`.
        on_undecodable: Called with such a key, what stands there, and its revision (0 when it was heard, not listed).
        listed: Set once the bucket was listed for the first time.
    """

    def __init__(
        self,
        connection: Connection,
        requests: Requests,
        bucket: str,
        *,
        keys: str = ">",
        decode: Callable[[bytes], Value],
        on_change: Callable[[str, Value | None], None],
        expiry_s: float | None = None,
        verified: bool = False,
    ) -> None:
        self._connection = connection
        self._requests = requests
        self._bucket = bucket
        self._prefix = subjects.key(bucket, "")
        self._keys = keys
        self._decode = decode
        self._on_change = on_change
        self._expiry_s = expiry_s
        self._verified = verified
        self._loop = asyncio.get_running_loop()
        self._heard_at: dict[str, float] = {}
        self._digests: dict[str, int] = {}
        self._relist_due = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._sparing = Sparing()
        self.on_undecodable: Callable[[str, bytes, int], None] = _ignore
        self.values: dict[str, Value] = {}
        self.undecodable: set[str] = set()
        self.revisions: dict[str, int] = {}
        self.listed: Final = asyncio.Event()

    async def start(self) -> None:
        """Subscribe, list, and follow until `stop`."""
        await self._connection.subscribe(subjects.key(self._bucket, self._keys), self._on_message)
        self._connection.on_reconnect(self._relist_due.set)
        self._relist_due.set()
        self._tasks.append(self._loop.create_task(self._relist_loop()))
        if self._expiry_s is not None:
            self._tasks.append(self._loop.create_task(self._expire_loop(self._expiry_s)))

    def look_again(self) -> None:
        """List the bucket soon."""
        self._relist_due.set()

    def lost(self) -> list[str]:
        """Of a verified cache: the keys that nobody deleted and that the bucket did not hold when it was last listed."""
        return [key for key in self.values if key not in self.revisions]

    async def stop(self) -> None:
        """Stop following."""
        for task in self._tasks:
            task.cancel()

    async def _on_message(self, message: Message) -> None:
        if self._verified:
            # The write may yet be refused; the listing reads what the server holds.
            self._relist_due.set()
            self._loop.call_later(RELIST_AGAIN_S, self._relist_due.set)
            return
        operation = message.headers.get("KV-Operation")
        self._take(message.subject[len(self._prefix) :], None if operation else message.data)

    def _take(self, key: str, body: bytes | None) -> None:
        was_undecodable = key in self.undecodable
        self.undecodable.discard(key)
        if body is None:
            self._heard_at.pop(key, None)
            self.revisions.pop(key, None)
            self._digests.pop(key, None)
            if self.values.pop(key, None) is not None or was_undecodable:
                self._change(key, None)
            return
        try:
            value = self._decode(body)
        except Exception as error:  # noqa: BLE001  (whatever the decoder made of bytes that somebody wrote)
            # A newer or broken writer: what is known of the key stays until it expires.
            if len(self.undecodable) < KEYS_MAX:
                self.undecodable.add(key)
            self._say("undecodable_entry", key, str(error) if isinstance(error, FlotillaError) else "")
            with guarded("kv_caches", key):
                self.on_undecodable(key, body, self.revisions.get(key, 0))
            return
        if key not in self.values and len(self.values) >= KEYS_MAX:
            self._say("kv_cache_full", key, f"{KEYS_MAX} keys")
            return
        self.values[key] = value
        self._heard_at[key] = self._loop.time()
        self._change(key, value)

    def _change(self, key: str, value: Value | None) -> None:
        with guarded("kv_caches", f"{self._bucket} {key}"):
            self._on_change(key, value)

    def _say(self, event: str, key: str, detail: str) -> None:
        """Log at most once a minute for the first part of the key: whoever may write one may write many like it."""
        unsaid = self._sparing.due(f"{event} {key.rpartition('.')[0] or key}")
        if unsaid is not None:
            logger.warning(event, extra={"bucket": self._bucket, "key": key, "detail": detail, "unsaid": unsaid})

    async def _relist_loop(self) -> None:
        while True:
            # Python 3.11's wait_for loses a cancellation that comes with the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(RELIST_S):
                    await self._relist_due.wait()
            self._relist_due.clear()
            try:
                await self._relist()
            except Exception as error:  # noqa: BLE001  (whatever it is, the next listing may succeed)
                logger.warning("bucket_not_listed", extra={"bucket": self._bucket, "error": type(error).__name__})
                await asyncio.sleep(RETRY_S)
                self._relist_due.set()

    async def _relist(self) -> None:
        asked_at = self._loop.time()
        entries = await list_entries(self._requests, self._bucket, self._keys)
        newest = {entry.headers.get("Nats-Subject", ""): entry for entry in entries}
        present: set[str] = set()
        for subject, entry in newest.items():
            key = subject[len(self._prefix) :]
            try:
                if self._read(key, entry, asked_at):
                    present.add(key)
            except (KeyError, ValueError):
                present.add(key)
                self._say("entry_unreadable", key, "without what the server adds to it")
        for key in [key for key in self.values if key not in present and self._heard_at[key] < asked_at]:
            if self._verified:
                self.revisions.pop(key, None)
                self._say("entry_lost", key, "not in the bucket any more, and not deleted: what was known is kept")
            elif not self._heard_lately(key):
                self._take(key, None)
        self.listed.set()

    def _read(self, key: str, entry: Message, asked_at: float) -> bool:
        """Take in one entry of a listing; says whether the key is there."""
        headers = entry.headers
        expired = "Nats-Marker-Reason" in headers
        removed = "KV-Operation" in headers or expired
        if expired and self._heard_lately(key):
            return False
        revision = int(headers["Nats-Sequence"])
        if self._verified:
            # The number alone does not tell: a bucket that was lost and made again counts from 1.
            digest = hash(entry.data)
            if self.revisions.get(key) == revision and self._digests.get(key) == digest:
                return not removed
            self._digests[key] = digest
        if self._verified or self._heard_at.get(key, 0.0) < asked_at:
            self.revisions[key] = revision
            self._take(key, None if removed else entry.data)
        return not removed

    def _heard_lately(self, key: str) -> bool:
        """
        Whether a key was written less than its lifetime ago, so that no listing may say that it has expired.

        A bucket that had no leader for a while took no writes and lets everything expire when it has one again; a
        replica of it that lags does not hold yet what was written last.
        """
        heard_at = self._heard_at.get(key)
        return self._expiry_s is not None and heard_at is not None and self._loop.time() - heard_at < self._expiry_s

    async def _expire_loop(self, expiry_s: float) -> None:
        while True:
            await asyncio.sleep(EXPIRY_CHECK_S)
            oldest = self._loop.time() - expiry_s
            for key in [key for key, heard_at in self._heard_at.items() if heard_at < oldest]:
                self._take(key, None)


async def list_entries(requests: Requests, bucket: str, keys: str = ">") -> list[Message]:
    """
    Every entry of a bucket's keys that match, history included, oldest first: `multi_last` would stop at 1,024 keys.

    Raises:
        FabricError: The bucket did not answer, or not with its entries.
    """
    subject = direct_get(subjects.bucket_stream(bucket))
    found: list[Message] = []
    sequence = 1
    while len(found) < LIST_MAX:
        ask = {"seq": sequence, "next_by_subj": subjects.key(bucket, keys), "batch": LIST_BATCH}
        batch, last = await requests.collect(
            subject, msgspec.json.encode(ask), is_last=lambda message: status_of(message) is not None
        )
        if status_of(last) not in (END_OF_BATCH, NOTHING_FOUND):
            raise ListFailedError(bucket, status_of(last) or "")
        found += batch
        if len(batch) < LIST_BATCH:
            break
        sequence = int(batch[-1].headers["Nats-Sequence"]) + 1
    return found


async def live_entries(requests: Requests, bucket: str) -> dict[str, bytes]:
    """
    The newest values of a bucket by key, without those that were deleted or have expired.

    Raises:
        FabricError: As `list_entries`.
    """
    prefix = subjects.key(bucket, "")
    newest = {entry.headers.get("Nats-Subject", ""): entry for entry in await list_entries(requests, bucket)}
    return {
        subject[len(prefix) :]: entry.data
        for subject, entry in newest.items()
        if "KV-Operation" not in entry.headers and "Nats-Marker-Reason" not in entry.headers
    }


def _ignore(_key: str, _body: bytes, _revision: int) -> None:
    pass
