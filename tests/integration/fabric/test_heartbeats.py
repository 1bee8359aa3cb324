"""Who lives, by heartbeats: what orchestrators see of replicas, and what they keep of it in the presence bucket."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from flotilla.contracts import subjects
from flotilla.contracts.presence import CAPABILITIES_MAX, ModelCard, ReplicaCard, encode_card
from flotilla.contracts.subjects import Zone
from flotilla.fabric import heartbeats
from flotilla.fabric.connection import Connection, connected
from flotilla.fabric.heartbeats import Heartbeats
from flotilla.fabric.inbox import Requests
from flotilla.fabric.kv_cache import live_entries
from flotilla.fabric.presence import announce, announced, say_goodbye
from flotilla.provisioning.streams import ensure
from flotilla.provisioning.topology import topology
from flotilla.testkit.nats_server import RunningServer

KEPT_WITHIN_S = 60.0


def card_of(replica: str, zone: Zone = "cloud", pool: str = "cloud", *, wide: int = 0, **more: Any) -> ReplicaCard:
    """A card; each of `wide` models makes it 8 KiB longer."""
    models = [ModelCard(name="m", capabilities=["classify"])]
    many = [f"c{number:060d}" for number in range(CAPABILITIES_MAX)]
    models += [ModelCard(name=f"wide-{number}", capabilities=many) for number in range(wide)]
    return ReplicaCard(zone=zone, pool=pool, replica=replica, provider="p", models=models, slots=1, **more)


class Watcher:
    """
    An orchestrator's view, and its own way to the bucket.

    Attributes:
        seen: The cards that are there now.
        heard: Of these, the keys of those that were heard, not only listed.
        writes: Of every key of the bucket, deletions included, as this connection hears them.
    """

    def __init__(self, connection: Connection, requests: Requests) -> None:
        self.connection = connection
        self.requests = requests
        self.seen: dict[str, ReplicaCard] = {}
        self.heard: set[str] = set()
        self.writes: list[tuple[str, bytes]] = []
        self.heartbeats = Heartbeats(connection, requests, self._on_card)
        self._changed = asyncio.Event()

    def _on_card(self, key: str, card: ReplicaCard | None, *, heard: bool) -> None:
        if card is None:
            del self.seen[key]
            self.heard.discard(key)
        else:
            self.seen[key] = card
            if heard:
                self.heard.add(key)
        self._changed.set()

    async def until(self, keys: set[str]) -> None:
        async with asyncio.timeout(60):
            while set(self.seen) != keys:
                self._changed.clear()
                await self._changed.wait()

    async def kept(self) -> set[str]:
        """The keys in the bucket."""
        return set(await live_entries(self.requests, subjects.PRESENCE_BUCKET))

    async def until_kept(self, keys: set[str], timeout_s: float = KEPT_WITHIN_S) -> None:
        async with asyncio.timeout(timeout_s):
            while await self.kept() != keys:
                await asyncio.sleep(0.02)


@asynccontextmanager
async def watching(server: RunningServer, name: str = "o1") -> AsyncGenerator[Watcher]:
    async with connected(server.orchestrator(), name=name) as connection:
        requests = Requests(connection)
        await requests.start()
        await ensure(requests, topology())
        watcher = Watcher(connection, requests)
        await watcher.heartbeats.start()
        await watcher.heartbeats.listed.wait()
        await connection.settle()
        yield watcher
        await watcher.heartbeats.stop()
        await requests.stop()


async def test_a_replica_is_seen_at_its_first_heartbeat_and_gone_with_its_goodbye(nats_server: RunningServer):
    """
    The bucket has it within a moment, and loses it as fast, so that `nats kv` shows the fleet.
    """
    async with (
        watching(nats_server) as watcher,
        connected(nats_server.worker("cloud", "cloud"), name="worker") as worker,
    ):
        async with announced(worker, lambda: card_of("r1")):
            await watcher.until({"cloud.cloud.r1"})
            await watcher.until_kept({"cloud.cloud.r1"})
            (kept,) = (await live_entries(watcher.requests, subjects.PRESENCE_BUCKET)).values()
        await watcher.until(set())
        await watcher.until_kept(set())

    assert json.loads(kept) == json.loads(encode_card(card_of("r1")))


async def test_a_replica_that_falls_silent_expires(nats_server: RunningServer, monkeypatch: pytest.MonkeyPatch):
    """
    By the orchestrator's own clock, after EXPIRY_S without a heartbeat; here shortened.
    """
    monkeypatch.setattr(heartbeats, "EXPIRY_S", 0.5)
    async with (
        watching(nats_server) as watcher,
        connected(nats_server.worker("cloud", "cloud"), name="worker") as worker,
    ):
        await announce(worker, card_of("r1"))
        await watcher.until({"cloud.cloud.r1"})
        await watcher.until(set())


async def test_a_pause_of_the_orchestrator_is_no_silence_of_the_fleet(
    nats_server: RunningServer, monkeypatch: pytest.MonkeyPatch
):
    """
    Its clock stands still while it does: who was there before a pause is there after it, until it falls silent.
    """
    monkeypatch.setattr(heartbeats, "EXPIRY_S", 1.0)
    async with (
        watching(nats_server) as watcher,
        connected(nats_server.worker("cloud", "cloud"), name="worker") as worker,
    ):
        await announce(worker, card_of("r1"))
        await watcher.until({"cloud.cloud.r1"})
        time.sleep(2.0)  # noqa: ASYNC251  (the whole process stands still)
        await asyncio.sleep(3 * heartbeats.TURN_S)
        after_the_pause = set(watcher.seen)
        await watcher.until(set())

    assert after_the_pause == {"cloud.cloud.r1"}


async def test_an_orchestrator_that_starts_knows_the_fleet_from_the_bucket(nats_server: RunningServer):
    """
    Without waiting for heartbeats; but not one that has said goodbye while it listed. What it has not heard is told apart.
    """
    async with (
        watching(nats_server) as first,
        connected(nats_server.worker("cloud", "cloud"), name="worker") as worker,
    ):
        for replica in ("r1", "r2"):
            await announce(worker, card_of(replica))
        await first.until_kept({"cloud.cloud.r1", "cloud.cloud.r2"})
        await say_goodbye(worker, card_of("r2"))
        await first.until_kept({"cloud.cloud.r1"})
        await first.connection.publish("$KV.presence.nonsense", b"{}")
        await first.connection.publish("$KV.presence.cloud.cloud.r9", encode_card(card_of("r8")))
        async with watching(nats_server, "o2") as second:
            seen, heard = dict(second.seen), set(second.heard)
            await announce(worker, card_of("r1"))
            async with asyncio.timeout(60):
                while not second.heard:
                    await asyncio.sleep(0.01)

    assert seen == {"cloud.cloud.r1": card_of("r1")}
    assert set() == heard


async def test_each_heartbeat_is_kept_once_however_many_orchestrators_hear_it(
    nats_server: RunningServer, monkeypatch: pytest.MonkeyPatch
):
    """
    Seldom twice: two that come first before they hear of each other, which takes long on a busy machine.
    """
    monkeypatch.setattr(heartbeats, "KEPT_WITHIN_S", 6.0)
    replicas = [f"r{number}" for number in range(100)]
    async with (
        watching(nats_server, "o1"),
        watching(nats_server, "o2"),
        watching(nats_server, "o3"),
        connected(nats_server.worker("cloud", "cloud"), name="worker") as worker,
        connected(nats_server.admin(), name="admin") as admin,
    ):
        writes: list[str] = []

        async def on_write(message: Any) -> None:
            writes.append(message.subject)

        await admin.subscribe("$KV.presence.>", on_write)
        await admin.settle()
        for replica in replicas:
            await announce(worker, card_of(replica))
        async with asyncio.timeout(KEPT_WITHIN_S):
            while len(set(writes)) < len(replicas):
                await asyncio.sleep(0.02)

    assert len(writes) < 2 * len(replicas)


async def test_a_bucket_that_acknowledges_nothing_is_told_until_it_does_again(
    nats_server: RunningServer, monkeypatch: pytest.MonkeyPatch
):
    """
    As a full disk leaves it: the server answers everything else.
    """
    monkeypatch.setattr(heartbeats, "ASK_EVERY_S", 0.0)
    stream = subjects.bucket_stream(subjects.PRESENCE_BUCKET)

    async def until_storing(storing: bool) -> None:  # noqa: FBT001
        info = json.loads((await admin.nc.request(f"$JS.API.STREAM.INFO.{stream}", timeout=60)).data)
        config = json.dumps(info["config"] | {"no_ack": not storing}).encode()
        updated = json.loads((await admin.nc.request(f"$JS.API.STREAM.UPDATE.{stream}", config, timeout=60)).data)
        assert "error" not in updated, updated
        async with asyncio.timeout(60):
            while watcher.heartbeats.is_storing is not storing:
                await announce(worker, card_of("r1"))
                await asyncio.sleep(0.2)

    async with (
        watching(nats_server) as watcher,
        connected(nats_server.worker("cloud", "cloud"), name="worker") as worker,
        connected(nats_server.admin(), name="admin") as admin,
    ):
        await until_storing(False)
        await until_storing(True)


@pytest.mark.parametrize(
    "card",
    [
        card_of("r2"),
        card_of("r1", pool="other"),
        card_of("r1", zone="local"),
        card_of("r1", wide=heartbeats.HEARTBEAT_BYTES_MAX // 8192 + 1),
    ],
    ids=["another replica's", "another pool's", "another zone's", "too long"],
)
async def test_a_card_that_its_subject_does_not_bear_out_is_dropped(nats_server: RunningServer, card: ReplicaCard):
    """
    The subject is what credentials bind; what was known of the replica stands.
    """
    async with (
        watching(nats_server) as watcher,
        connected(nats_server.worker("cloud", "cloud"), name="worker") as worker,
    ):
        await announce(worker, card_of("r1", version="good"))
        await worker.publish("heartbeat.cloud.cloud.r1", encode_card(card))
        for body in (b"\xff", b"{}", b"[" * 10_000):
            await worker.publish("heartbeat.cloud.cloud.r1", body)
        await announce(worker, card_of("last"))
        await watcher.until({"cloud.cloud.r1", "cloud.cloud.last"})
        await watcher.until_kept({"cloud.cloud.r1", "cloud.cloud.last"})

    assert watcher.seen["cloud.cloud.r1"].version == "good"


async def test_what_one_pool_announces_costs_another_nothing(
    nats_server: RunningServer, monkeypatch: pytest.MonkeyPatch
):
    """
    A pool has room for so many replicas, and for so many bytes of cards; the rest of its heartbeats is dropped.
    """
    monkeypatch.setattr(heartbeats, "REPLICAS_PER_POOL_MAX", 50)
    monkeypatch.setattr(heartbeats, "POOL_BYTES_MAX", 50_000)
    monkeypatch.setattr(heartbeats, "PER_TURN_MAX", 1_000)
    async with (
        watching(nats_server) as watcher,
        connected(nats_server.worker("cloud", "cloud"), name="cloud") as cloud,
        connected(nats_server.worker("local", "local"), name="local") as local,
    ):
        for number in range(200):
            await announce(cloud, card_of(f"r{number}"))
        await cloud.settle()
        await announce(local, card_of("r1", "local", "local"))
        await watcher.until({f"cloud.cloud.r{number}" for number in range(50)} | {"local.local.r1"})
        for number in range(50):
            await announce(cloud, card_of(f"r{number}", wide=1))
        await cloud.settle()
        await announce(local, card_of("r2", "local", "local"))
        await watcher.until(set(watcher.seen) | {"local.local.r2"})
        large = sum(1 for card in watcher.seen.values() if len(card.models) > 1)
        for number in range(50):
            await say_goodbye(cloud, card_of(f"r{number}"))
        await watcher.until({"local.local.r1", "local.local.r2"})
        await announce(cloud, card_of("again", wide=5))
        await watcher.until({"local.local.r1", "local.local.r2", "cloud.cloud.again"})

    assert 0 < large < 5


@pytest.mark.parametrize("bound", ["messages", "bytes"])
async def test_a_flood_of_one_pool_is_dropped_before_it_is_decoded(
    nats_server: RunningServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, bound: str
):
    """
    Each turn decodes so many of a pool's heartbeats, and so many bytes; other pools' are heard, and so is who leaves.
    """
    taken = 20
    size_bytes = len(encode_card(card_of("r100")))
    bounds = {"messages": ("PER_TURN_MAX", taken), "bytes": ("PER_TURN_BYTES_MAX", taken * size_bytes)}
    monkeypatch.setattr(heartbeats, *bounds[bound])
    monkeypatch.setattr(heartbeats, "TURN_S", 3600.0)
    flood = [f"r{number}" for number in range(100, 300)]
    first = {f"cloud.cloud.{replica}" for replica in flood[:taken]}
    async with (
        watching(nats_server) as watcher,
        connected(nats_server.worker("cloud", "cloud"), name="cloud") as cloud,
        connected(nats_server.worker("local", "local"), name="local") as local,
    ):
        refused: list[str] = []
        watcher.heartbeats.on_refused = refused.append
        for replica in flood:
            await announce(cloud, card_of(replica))
        await cloud.settle()
        await announce(local, card_of("r1", "local", "local"))
        await watcher.until(first | {"local.local.r1"})
        for replica in flood:
            await say_goodbye(cloud, card_of(replica))
        await watcher.until({"local.local.r1"})

    assert ["cloud"] * (len(flood) - taken) == refused
    assert ["heartbeats_dropped"] == [record.message for record in caplog.records if record.name == "flotilla.fabric"]


async def test_a_pool_that_was_too_loud_is_heard_in_the_next_turn(
    nats_server: RunningServer, monkeypatch: pytest.MonkeyPatch
):
    """
    Nothing is held against it: all of a pool's replicas that start at once are there after their next heartbeats.
    """
    monkeypatch.setattr(heartbeats, "PER_TURN_MAX", 20)
    replicas = [f"r{number}" for number in range(50)]
    everyone = {f"cloud.cloud.{replica}" for replica in replicas}
    async with (
        watching(nats_server) as watcher,
        connected(nats_server.worker("cloud", "cloud"), name="cloud") as cloud,
    ):
        async with asyncio.timeout(60):
            while set(watcher.seen) != everyone:
                for key in everyone - set(watcher.seen):
                    await announce(cloud, card_of(key.rpartition(".")[2]))
                await asyncio.sleep(heartbeats.TURN_S)


async def test_a_replica_that_cannot_be_taken_in_or_forgotten_is_in_no_others_way(
    nats_server: RunningServer, monkeypatch: pytest.MonkeyPatch
):
    """
    Whatever is made of its card: the others come, are kept in the bucket, and expire.
    """
    monkeypatch.setattr(heartbeats, "EXPIRY_S", 1.5)
    async with (
        watching(nats_server) as watcher,
        connected(nats_server.worker("cloud", "cloud"), name="worker") as worker,
    ):
        taken = watcher.heartbeats._on_card  # pyright: ignore[reportPrivateUsage]

        def on_card(key: str, card: ReplicaCard | None, *, heard: bool) -> None:
            if key.endswith(".bad"):
                raise ZeroDivisionError
            taken(key, card, heard=heard)

        watcher.heartbeats._on_card = on_card  # pyright: ignore[reportPrivateUsage]
        for replica in ("bad", "good"):
            await announce(worker, card_of(replica))
        await watcher.until({"cloud.cloud.good"})
        await watcher.until_kept({"cloud.cloud.good"})
        await watcher.until(set())
        await announce(worker, card_of("later"))
        await watcher.until({"cloud.cloud.later"})
        await watcher.until(set())


async def test_an_orchestrator_that_starts_knows_the_others_of_a_replica_that_cannot_be_taken_in(
    nats_server: RunningServer,
):
    """
    The bucket holds it, and is listed all the same.
    """
    async with (
        watching(nats_server) as first,
        connected(nats_server.worker("cloud", "cloud"), name="worker") as worker,
    ):
        for replica in ("bad", "good"):
            await announce(worker, card_of(replica))
        await first.until_kept({"cloud.cloud.bad", "cloud.cloud.good"})
        seen: set[str] = set()

        def on_card(key: str, _card: ReplicaCard | None, *, heard: bool) -> None:
            if key.endswith(".bad"):
                raise ZeroDivisionError
            seen.add(key)

        second = Heartbeats(first.connection, first.requests, on_card)
        await second.start()
        async with asyncio.timeout(60):
            await second.listed.wait()
        await second.stop()

    assert {"cloud.cloud.good"} == seen
