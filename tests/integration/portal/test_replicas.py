"""Which replicas a portal holds: no more than its bound, and none that has gone for long, whether somebody looks or not."""

from collections.abc import AsyncIterator

import msgspec
import pytest

from flotilla.contracts.presence import ReplicaCard
from flotilla.contracts.subjects import PRESENCE_BUCKET, key, presence_key
from flotilla.fabric.connection import Connection, connected
from flotilla.fabric.inbox import Requests
from flotilla.fabric.keyvalue import DELETED
from flotilla.provisioning.streams import ensure
from flotilla.provisioning.topology import topology
from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.plain_client import eventually
from portal.live import replicas
from portal.live.pool_views import pool_views
from portal.live.replicas import GONE_KEPT_S, SILENT_AFTER_S, Replicas
from portal.live.view import FleetView


class Bucket:
    """The presence bucket, as an orchestrator writes it and a portal reads it."""

    def __init__(self, writer: Requests, connection: Connection, reader: Requests) -> None:
        self.writer = writer
        self.connection = connection
        self.reader = reader

    async def tell(self, name: str, *, busy: int = 0) -> None:
        """A card that was heard."""
        card = ReplicaCard(zone="local", pool="local", replica=name, provider="noop", models=[], slots=4, busy=busy)
        await self.writer.request(key(PRESENCE_BUCKET, presence_key("local", "local", name)), msgspec.json.encode(card))

    async def forget(self, name: str) -> None:
        """One that has left."""
        await self.writer.request(key(PRESENCE_BUCKET, presence_key("local", "local", name)), headers=DELETED)


@pytest.fixture
async def bucket(nats_server: RunningServer) -> AsyncIterator[Bucket]:
    """
    Of a fleet that has only just been made.
    """
    async with (
        connected(nats_server.orchestrator(), name="orchestrator") as orchestrator,
        connected(nats_server.observer(), name="observer") as observer,
    ):
        writer, reader = Requests(orchestrator), Requests(observer)
        await writer.start()
        await reader.start()
        await ensure(writer, topology())
        yield Bucket(writer, observer, reader)
        await reader.stop()
        await writer.stop()


async def test_a_bound_that_is_reached_keeps_no_known_replica_from_being_followed(bucket: Bucket):
    """
    More are not taken, until one of those that are known has gone.
    """
    held = Replicas(bucket.connection, bucket.reader, on_change=lambda: None, clock_s=lambda: 1.0, replicas_max=2)

    async def known(*wanted: tuple[str, int, bool]) -> bool:
        return set(wanted) == {(one.card.replica, one.card.busy, one.gone_s is not None) for one in held.all()}

    await held.cache.start()
    await bucket.tell("a")
    await bucket.tell("b")
    await eventually(lambda: known(("a", 0, False), ("b", 0, False)))
    await bucket.tell("c")
    await bucket.tell("b", busy=3)
    await eventually(lambda: known(("a", 0, False), ("b", 3, False)))
    await bucket.forget("a")
    await eventually(lambda: known(("a", 0, True), ("b", 3, False)))
    await bucket.tell("d")
    await eventually(lambda: known(("d", 0, False), ("b", 3, False)))
    await held.cache.stop()


async def test_who_says_goodbye_is_gone_and_whose_heartbeats_cease_is_lost(bucket: Bucket):
    """
    Who is lost is kept for longer where nobody else is in the pool: an hour later it is still to be looked for.
    """
    # Time passes once both were heard, however slow this machine is; cards expire by the real time.
    after_s = SILENT_AFTER_S + 1
    now_s = 0.0
    held = Replicas(
        bucket.connection, bucket.reader, on_change=lambda: None, clock_s=lambda: now_s or after_s * (len(held) > 1)
    )

    async def stand(**wanted: str) -> bool:
        return wanted == {one.card.replica: one.status(after_s) for one in held.all()}

    async def is_joined_by(name: str) -> bool:
        await bucket.tell(name)
        return name in {one.card.replica for one in held.all() if one.gone_s is None}

    await held.cache.start()
    await eventually(lambda: is_joined_by("left"))
    await bucket.forget("left")
    await eventually(lambda: stand(left="gone"))
    await bucket.tell("frozen")
    await eventually(lambda: stand(left="gone", frozen="lost"))

    [pool] = pool_views(held.all(), {}, now_s=after_s)
    assert ("lost", 0, "no replica is heard any more") == (pool.status, pool.slots, pool.words)
    now_s = GONE_KEPT_S + after_s + 1
    held.forget_gone()
    assert await stand(frozen="lost")
    await eventually(lambda: is_joined_by("another"))
    held.forget_gone()
    assert ["another"] == [one.card.replica for one in held.all()]
    await held.cache.stop()


async def test_those_that_have_gone_are_forgotten_while_nobody_looks(bucket: Bucket, monkeypatch: pytest.MonkeyPatch):
    """
    A fleet that starts new replicas all night does not fill the memory of a portal.
    """
    monkeypatch.setattr(replicas, "GONE_KEPT_S", 0.0)
    view = FleetView(bucket.connection, bucket.reader, scopes=("default",))
    await view.start()

    async def held(number: int) -> bool:
        return len(view.replicas) == number

    await bucket.tell("short-lived")
    await eventually(lambda: held(1))
    await bucket.forget("short-lived")
    await eventually(lambda: held(0))
    await view.stop()

    assert 0 == view.viewers
