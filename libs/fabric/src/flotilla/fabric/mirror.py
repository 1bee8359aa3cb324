"""
A local copy of a KV bucket that follows every change.

Writes to a bucket are ordinary messages on `$KV.<bucket>.<key>`, so a core subscription sees them at once and needs no
consumer on the server; the whole bucket is listed at the start, after every reconnect, and every RELIST_S. A JetStream
watch was blind for about 15 s after a server restart (measured), and leaks consumers when it is not stopped.

What the subscription cannot see is a key that expires: entries that are not refreshed within `expiry_s` are dropped
here by the local clock. And it sees writes that the server then refuses (compare-and-set lost): use `verified=True` for
buckets written that way; each change is then read back from the stream, twice: what is heard may not be stored yet, or
not by the replica that answers.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Generic, TypeVar

import msgspec
import nats.errors

from flotilla.contracts import subjects
from flotilla.contracts.errors import FlotillaError
from flotilla.fabric.connection import Connection, Message, status_of
from flotilla.fabric.errors import FabricError, ListFailedError
from flotilla.fabric.inbox import Requests

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


class Mirror(Generic[Value]):
    """
    The live keys of a bucket, decoded.

    Attributes:
        values: By key. Replaced values are new objects; do not change them.
        revisions: Of the keys when they were last listed; exact for a verified mirror, which only changes by listing.
        undecodable: Keys whose newest value did not decode; what was known of them before still stands in `values`.
        listed: Set once the bucket was listed for the first time.
    """

    def __init__(
        self,
        connection: Connection,
        requests: Requests,
        bucket: str,
        *,
        decode: Callable[[bytes], Value],
        on_change: Callable[[str, Value | None], None],
        expiry_s: float | None = None,
        verified: bool = False,
    ) -> None:
        self._connection = connection
        self._requests = requests
        self._bucket = bucket
        self._prefix = subjects.key(bucket, "")
        self._decode = decode
        self._on_change = on_change
        self._expiry_s = expiry_s
        self._verified = verified
        self._loop = asyncio.get_running_loop()
        self._heard_at: dict[str, float] = {}
        self._relist_due = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.values: dict[str, Value] = {}
        self.undecodable: set[str] = set()
        self.revisions: dict[str, int] = {}
        self.listed: Final = asyncio.Event()

    async def start(self) -> None:
        """Subscribe, list, and follow until `stop`."""
        await self._connection.subscribe(self._prefix + ">", self._on_message)
        self._connection.on_reconnect(self._relist_due.set)
        self._relist_due.set()
        self._tasks.append(self._loop.create_task(self._relist_loop()))
        if self._expiry_s is not None:
            self._tasks.append(self._loop.create_task(self._expire_loop(self._expiry_s)))

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
        self.undecodable.discard(key)
        if body is None:
            self._heard_at.pop(key, None)
            self.revisions.pop(key, None)
            if self.values.pop(key, None) is not None:
                self._on_change(key, None)
            return
        try:
            value = self._decode(body)
        except FlotillaError as error:
            self.undecodable.add(key)
            # A newer or broken writer: what is known of the key stays until it expires.
            logger.warning("undecodable_entry", extra={"bucket": self._bucket, "key": key, "detail": str(error)})
            return
        if key not in self.values and len(self.values) >= KEYS_MAX:
            logger.error("mirror_full", extra={"bucket": self._bucket, "keys": len(self.values)})
            return
        self.values[key] = value
        self._heard_at[key] = self._loop.time()
        self._on_change(key, value)

    async def _relist_loop(self) -> None:
        while True:
            # Python 3.11's wait_for loses a cancellation that comes with the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(RELIST_S):
                    await self._relist_due.wait()
            self._relist_due.clear()
            try:
                await self._relist()
            except (FabricError, nats.errors.Error) as error:
                logger.warning("relist_failed", extra={"bucket": self._bucket, "error": type(error).__name__})
                await asyncio.sleep(RETRY_S)
                self._relist_due.set()

    async def _relist(self) -> None:
        asked_at = self._loop.time()
        newest = {
            entry.headers["Nats-Subject"]: entry
            for entry in await list_entries(self._requests, self._bucket)
            if entry.headers
        }
        present: set[str] = set()
        for subject, entry in newest.items():
            headers = entry.headers
            key = subject[len(self._prefix) :]
            expired = "Nats-Marker-Reason" in headers
            removed = "KV-Operation" in headers or expired
            if not removed:
                present.add(key)
            elif expired and self._heard_lately(key):
                continue
            revision = int(headers["Nats-Sequence"])
            if self._verified and self.revisions.get(key) == revision:
                continue
            if self._verified or self._heard_at.get(key, 0.0) < asked_at:
                self.revisions[key] = revision
                self._take(key, None if removed else entry.data)
        for key in [key for key in self.values if key not in present and self._heard_at[key] < asked_at]:
            if not self._heard_lately(key):
                self._take(key, None)
        self.listed.set()

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


async def list_entries(requests: Requests, bucket: str) -> list[Message]:
    """
    Every entry of a bucket, history included, oldest first: `multi_last` would stop at 1,024 keys.

    Raises:
        FabricError: The bucket did not answer, or not with its entries.
    """
    subject = f"$JS.API.DIRECT.GET.{subjects.bucket_stream(bucket)}"
    found: list[Message] = []
    sequence = 1
    while len(found) < LIST_MAX:
        ask = {"seq": sequence, "next_by_subj": subjects.key(bucket, ">"), "batch": LIST_BATCH}
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
