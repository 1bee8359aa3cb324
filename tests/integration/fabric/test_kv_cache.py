"""A cache follows its bucket, and does not forget what it has just heard because the bucket has."""

import asyncio

import msgspec
import pytest

from flotilla.contracts import subjects
from flotilla.fabric.connection import Connection, connected
from flotilla.fabric.inbox import Requests
from flotilla.fabric.keyvalue import DELETED
from flotilla.fabric.kv_cache import KvCache
from flotilla.provisioning.streams import ensure
from flotilla.provisioning.topology import topology
from flotilla.testkit.nats_server import RunningServer

EXPIRY_S = 1.0
BUCKET = subjects.STATS_BUCKET


class Follower:
    """A cache whose changes can be awaited."""

    def __init__(self, connection: Connection, requests: Requests) -> None:
        self._changed = asyncio.Event()
        self.cache = KvCache(connection, requests, BUCKET, decode=bytes, on_change=self._on_change, expiry_s=EXPIRY_S)

    def _on_change(self, _key: str, _value: bytes | None) -> None:
        self._changed.set()

    async def until(self, values: dict[str, bytes]) -> None:
        async with asyncio.timeout(60):
            while self.cache.values != values:
                self._changed.clear()
                await self._changed.wait()

    async def relist(self) -> None:
        """What a reconnect does."""
        self.cache.listed.clear()
        self.cache._relist_due.set()  # pyright: ignore[reportPrivateUsage]
        await self.cache.listed.wait()


async def test_a_key_heard_lately_outlives_a_listing_without_it(nats_server: RunningServer):
    """
    A bucket without a leader takes no writes: their writers are alive all the same, until they fall silent.
    """
    async with (
        connected(nats_server.orchestrator(), name="follower") as connection,
        connected(nats_server.admin(), name="admin") as admin,
    ):
        requests, operator = Requests(connection), Requests(admin)
        await requests.start()
        await operator.start()
        await ensure(requests, topology())
        follower = Follower(connection, requests)
        await follower.cache.start()
        await follower.cache.listed.wait()
        for key in ("lost", "deleted"):
            await requests.request(subjects.key(BUCKET, key), b"1")
        await follower.until({"lost": b"1", "deleted": b"1"})

        await operator.request(f"$JS.API.STREAM.PURGE.{subjects.bucket_stream(BUCKET)}")
        await requests.request(subjects.key(BUCKET, "deleted"), headers=DELETED)
        await follower.relist()
        kept = dict(follower.cache.values)
        await follower.until({})

        await follower.cache.stop()
        await requests.stop()
        await operator.stop()

    assert kept == {"lost": b"1"}


@pytest.mark.parametrize(
    "error", [ValueError(), OverflowError(), TypeError(), KeyError("a"), msgspec.ValidationError(), RecursionError()]
)
@pytest.mark.parametrize("kind", ["heard", "verified"])
async def test_an_entry_that_nobody_can_decode_or_bear_keeps_no_other_from_being_followed(
    nats_server: RunningServer, error: Exception, kind: str
):
    """
    Whatever the decoder, or who follows, makes of it; in the bucket before, and written later.
    """
    taken: dict[str, bytes | None] = {}

    def decode(body: bytes) -> bytes:
        if body == b"undecodable":
            raise error
        return body

    def on_change(key: str, value: bytes | None) -> None:
        if value == b"unbearable":
            raise error
        taken[key] = value

    async with connected(nats_server.orchestrator(), name="follower") as connection:
        requests = Requests(connection)
        await requests.start()
        await ensure(requests, topology())
        cache = KvCache(connection, requests, BUCKET, decode=decode, on_change=on_change, verified=kind == "verified")
        for key, body in (("a", b"undecodable"), ("b", b"unbearable"), ("c", b"1")):
            await requests.request(subjects.key(BUCKET, key), body)
        await cache.start()
        async with asyncio.timeout(60):
            await cache.listed.wait()
            for key, body in (("d", b"undecodable"), ("e", b"unbearable"), ("f", b"2")):
                await requests.request(subjects.key(BUCKET, key), body)
            while "f" not in taken:
                await asyncio.sleep(0.02)
        await cache.stop()
        await requests.stop()

    assert {"c": b"1", "f": b"2"} == taken
    assert {"a", "d"} == cache.undecodable
