"""
A server of the version in which workers and the observer were members of the fleet's own account is taken over.

`version_before_accounts/` holds that version's configuration, with names in the place of keys, and its streams.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from msgspec.structs import replace

from flotilla.contracts import subjects
from flotilla.contracts.names import DEFAULT_SCOPE
from flotilla.contracts.presence import ModelCard, ReplicaCard, encode_card
from flotilla.contracts.subjects import Zone
from flotilla.fabric.connection import Connection, connected
from flotilla.fabric.heartbeats import Heartbeats
from flotilla.fabric.inbox import Requests
from flotilla.fabric.kv_cache import live_entries
from flotilla.fabric.presence import announce
from flotilla.provisioning import embedded_server
from flotilla.provisioning.credentials import load_or_create
from flotilla.provisioning.embedded_server import EmbeddedServer
from flotilla.provisioning.server_spec import RANDOM_PORT, ServerSpec, users
from flotilla.provisioning.streams import ensure
from flotilla.provisioning.topology import topology
from flotilla.testkit.nats_server import POOLS, RunningServer

BEFORE: Final = Path(__file__).parent / "version_before_accounts"
WITHIN_S: Final = 60.0
RELOADS: Final = 2
"""nats-server 2.15.1 sets up what a new account asks of another only when it reads the configuration once more."""


def config_before(directory: Path, public_keys: Mapping[str, str]) -> str:
    text = (BEFORE / "nats.conf").read_text("utf-8")
    for user, key in public_keys.items():
        text = text.replace(f"<{user}>", key)
    places = {"STORE_DIR": directory / "jetstream", "PORTS_DIR": directory, "LOG_FILE": directory / "nats.log"}
    for name, place in places.items():
        text = text.replace(name, str(place))
    return text


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[RunningServer]:
    """
    A server that runs as the version before would run it; the next start is this version's.
    """
    directory = tmp_path / "nats"
    credentials = load_or_create(tmp_path / "credentials", users((DEFAULT_SCOPE,), POOLS))
    keys = credentials.public_keys
    spec = ServerSpec(
        store_dir="", public_keys=keys, pools=POOLS, no_auth_scope=DEFAULT_SCOPE, port=RANDOM_PORT, monitoring_port=-1
    )
    server = EmbeddedServer(directory, spec)

    def version_before(_: ServerSpec) -> str:
        return config_before(directory, keys)

    with monkeypatch.context() as before:
        before.setattr(embedded_server, "server_config", version_before)
        await server.start()
    try:
        yield RunningServer(server, credentials)
    finally:
        await server.kill()


async def make_what_it_held(server: RunningServer) -> None:
    """The streams, a task that waits, a result, a policy, and the card of a replica."""
    async with requesting(server.admin()) as requests:
        for config in msgspec.json.decode((BEFORE / "streams.json").read_bytes()):
            name = config["name"]
            reply = await requests.request(f"$JS.API.STREAM.CREATE.{name}", msgspec.json.encode(config))
            assert "error" not in msgspec.json.decode(reply.data), reply.data
        await requests.request(subjects.tasks(DEFAULT_SCOPE, "classify"), b"{}")
        await requests.request(subjects.commit(DEFAULT_SCOPE, "classify", "t1"), b"{}")
        await requests.request(subjects.key("policy", "routing"), b"{}")
    async with requesting(server.worker("local", "local")) as requests:
        await requests.request(subjects.key("presence", "local.local.old"), encode_card(card_of("old")))


@contextlib.asynccontextmanager
async def requesting(settings: Any) -> AsyncGenerator[Requests]:
    async with connected(settings, name="tester") as connection:
        requests = Requests(connection)
        await requests.start()
        yield requests
        await requests.stop()


def card_of(replica: str, zone: Zone = "local", pool: str = "local") -> ReplicaCard:
    models = [ModelCard(name="m", capabilities=["classify"])]
    return ReplicaCard(zone=zone, pool=pool, replica=replica, provider="p", models=models, slots=1)


async def reload(server: EmbeddedServer, says: str = "Reloaded server configuration") -> None:
    """Have the server read its configuration, which is written anew; returns when its log has what it then says."""

    def reloads() -> int:
        return server.log.read_text().count(says)

    server._write_config()  # pyright: ignore[reportPrivateUsage]
    before = reloads()
    os.kill(server.pid, signal.SIGHUP)
    await until(lambda: reloads() > before)


async def test_a_store_keeps_its_streams_and_its_seeds_and_old_cards_are_read(server: RunningServer):
    """
    At the first start of this version on it.
    """
    await make_what_it_held(server)
    await server.restart()

    seen: dict[str, ReplicaCard | None] = {}

    def on_card(key: str, card: ReplicaCard | None, *, heard: bool) -> None:
        seen[key] = card

    async with connected(server.orchestrator(), name="orchestrator") as connection:
        requests = Requests(connection)
        await requests.start()
        presence = next(config for config in topology() if config.name == "KV_presence")
        await ensure(requests, [presence])
        heartbeats = Heartbeats(connection, requests, on_card)
        await heartbeats.start()
        await heartbeats.listed.wait()
        for zone, pool in POOLS:
            async with connected(server.worker(zone, pool), name="worker") as worker:
                await announce(worker, card_of("new", zone, pool))
                await worker.settle()
        await until(lambda: len(seen) == 3)
        await heartbeats.stop()
        await requests.stop()
    async with requesting(server.admin()) as requests:
        counts = {name: await messages_in(requests, name) for name in ("TASKS_default", "RESULTS_default", "KV_policy")}
    async with requesting(server.observer()) as requests:
        kept = set(await live_entries(requests, "presence"))
    async with requesting(server.tenant()) as requests:
        acknowledged = msgspec.json.decode((await requests.request("tasks.classify", b"{}")).data)

    assert set(seen) == {"local.local.old", "local.local.new", "cloud.cloud.new"}
    assert counts == {"TASKS_default": 1, "RESULTS_default": 1, "KV_policy": 1}
    assert "local.local.old" in kept
    assert acknowledged == {"stream": "TASKS_default", "seq": 2}


async def test_a_server_that_only_reloads_says_that_it_wants_a_restart_and_goes_on_as_before(server: RunningServer):
    """
    As the guide says: its configuration has changed in what nats-server reads at its start alone.
    """
    async with (
        connected(server.orchestrator(), name="orchestrator") as orchestrator,
        connected(server.worker("cloud", "cloud"), name="worker") as worker,
    ):
        await answer_attempts(worker)
        before = await ask_attempt(orchestrator)
        await reload(server.server, says="reload not supported for NoSublistCache")
        after = await ask_attempt(orchestrator)

    assert before == after == b"done"


async def test_a_tenant_that_a_reload_adds_is_served_after_the_second(tmp_path: Path):
    """
    As the guide says; a restart does it, too.
    """
    scopes = (DEFAULT_SCOPE, "acme")
    credentials = load_or_create(tmp_path / "credentials", users(scopes, POOLS))
    spec = ServerSpec(store_dir="", public_keys=credentials.public_keys, pools=POOLS, port=RANDOM_PORT)
    server = EmbeddedServer(tmp_path / "nats", spec)
    await server.start()
    try:
        running = RunningServer(server, credentials)
        async with requesting(running.admin()) as requests:
            await ensure(requests, topology(scopes))
        server._spec = replace(server._spec, scopes=scopes)  # pyright: ignore[reportPrivateUsage]
        for _ in range(RELOADS):
            await reload(server)
        async with requesting(running.tenant("acme")) as requests:
            acknowledged = msgspec.json.decode((await requests.request("tasks.classify", b"{}")).data)
    finally:
        await server.kill()

    assert acknowledged == {"stream": "TASKS_acme", "seq": 1}


async def answer_attempts(worker: Connection) -> None:
    async def answer(message: Any) -> None:
        await worker.publish(message.reply, b"done")

    await worker.subscribe("infer.cloud.cloud.*", answer, queue="cloud")
    await worker.settle()


async def ask_attempt(orchestrator: Connection) -> bytes:
    """What comes back for an attempt; empty when nothing does at once."""
    answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def hear(message: Any) -> None:
        if not answered.done():
            answered.set_result(message.data)

    subscription = await orchestrator.subscribe("_INBOX.attempts.*.*.o1.*", hear)
    await orchestrator.publish("infer.cloud.cloud.classify", b"", reply="_INBOX.attempts.cloud.cloud.o1.t")
    try:
        return await asyncio.wait_for(answered, 0.5)
    except TimeoutError:
        return b""
    finally:
        await subscription.unsubscribe()


async def until(holds: Any) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not holds():
            await asyncio.sleep(0.02)


async def messages_in(requests: Requests, stream: str) -> int:
    info = msgspec.json.decode((await requests.request(f"$JS.API.STREAM.INFO.{stream}")).data)
    return info["state"]["messages"]
