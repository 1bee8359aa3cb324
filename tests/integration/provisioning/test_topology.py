"""Streams and buckets: made once, changed when they differ, never deleted."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flotilla.contracts import subjects
from flotilla.fabric.connection import Connection, Message, NatsSettings, connected
from flotilla.fabric.errors import TopologyError
from flotilla.fabric.inbox import Requests
from flotilla.provisioning import roles
from flotilla.provisioning.credentials import load_or_create
from flotilla.provisioning.embedded_server import EmbeddedServer
from flotilla.provisioning.server_spec import ClusterSpec, JetStreamLimits, ServerSpec, users
from flotilla.provisioning.stream_config import StreamConfig
from flotilla.provisioning.streams import ensure
from flotilla.provisioning.topology import TopologyLimits, topology
from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.plain_client import connect_plainly
from flotilla.testkit.ports import free_ports

NS_PER_S = 1_000_000_000


class Recorded:
    """Passes requests on and remembers their subjects."""

    def __init__(self, requests: Requests, connection: Connection) -> None:
        self.requests = requests
        self.connection = connection
        self.subjects: list[str] = []
        self.asked = asyncio.Event()

    async def request(self, subject: str, body: bytes = b"", *, timeout_s: float = 5.0) -> Message:
        self.subjects.append(subject)
        self.asked.set()
        return await self.requests.request(subject, body, timeout_s=timeout_s)

    async def publish(self, subject: str, body: bytes = b"", headers: dict[str, str] | None = None) -> dict[str, Any]:
        return json.loads((await self.requests.request(subject, body, headers=headers)).data)

    async def info(self, stream: str) -> dict[str, Any]:
        return json.loads((await self.request(f"$JS.API.STREAM.INFO.{stream}")).data)

    def updates(self) -> list[str]:
        return [subject for subject in self.subjects if ".UPDATE." in subject]


@asynccontextmanager
async def requests_as(settings: NatsSettings) -> AsyncGenerator[Recorded]:
    async with connected(settings, name="topology") as connection:
        requests = Requests(connection)
        await requests.start()
        try:
            yield Recorded(requests, connection)
        finally:
            await requests.stop()


@pytest.fixture
async def orchestrator(nats_server: RunningServer) -> AsyncIterator[Recorded]:
    """
    An orchestrator's requests: its own permissions must suffice.
    """
    async with requests_as(nats_server.orchestrator()) as requests:
        yield requests


async def test_a_fleet_gets_every_stream_bounded_and_on_disk(orchestrator: Recorded):
    """
    Whatever the default, nothing may fill a disk.
    """
    await ensure(orchestrator, topology())
    configs = {config.name: (await orchestrator.info(config.name))["config"] for config in topology()}

    assert set(configs) == {
        "TASKS_default",
        "RESULTS_default",
        "EVENTS_default",
        "STEPS_default",
        "SCORES_default",
        "LEDGER_default",
        "COUNTERS",
        "DEAD_default",
        "SUSPENDED_default",
        "AUDIT_default",
        "KV_approvals_default",
        "KV_presence",
        "KV_stats",
        "KV_policy",
        "KV_experiments",
        "KV_blackboard_default",
        "KV_cache_default",
    }
    assert {config["storage"] for config in configs.values()} == {"file"}
    assert all(config["max_bytes"] > 0 for config in configs.values())
    assert configs["TASKS_default"]["retention"] == "workqueue"
    assert configs["TASKS_default"]["duplicate_window"] == 600 * NS_PER_S
    assert configs["RESULTS_default"]["max_msgs_per_subject"] == 1
    assert configs["KV_presence"]["max_age"] == 6 * NS_PER_S


async def test_doing_it_again_changes_nothing(orchestrator: Recorded):
    """
    A create of what is there already is no update, and keeps what is stored.
    """
    await ensure(orchestrator, topology())
    await orchestrator.publish(subjects.tasks("default", "classify"), b"{}")
    await ensure(orchestrator, topology())

    assert orchestrator.updates() == []
    assert (await orchestrator.info("TASKS_default"))["state"]["messages"] == 1


async def test_three_orchestrators_may_start_at_once(nats_server: RunningServer):
    """
    With a fresh server, and with one whose streams all differ from what they want.
    """
    async with AsyncExitStack() as stack:
        starting = [await stack.enter_async_context(requests_as(nats_server.orchestrator())) for _ in range(3)]
        await asyncio.gather(*(ensure(requests, topology()) for requests in starting))
        changed = topology(limits=TopologyLimits(backlog_max=7, results_bytes_max=1024))
        await asyncio.gather(*(ensure(requests, changed) for requests in starting))

        assert (await starting[0].info("TASKS_default"))["config"]["max_msgs_per_subject"] == 7
        assert (await starting[0].info("RESULTS_default"))["config"]["max_bytes"] == 1024


async def test_a_changed_setting_updates_that_stream_alone_and_deletes_nothing(orchestrator: Recorded):
    """
    Tasks that wait stay, and so do streams that nobody listed.
    """
    await ensure(orchestrator, topology(("default", "acme")))
    await orchestrator.publish(subjects.tasks("default", "classify"), b"{}")
    await ensure(orchestrator, topology(limits=TopologyLimits(backlog_max=9)))

    changed = await orchestrator.info("TASKS_default")
    assert orchestrator.updates() == ["$JS.API.STREAM.UPDATE.TASKS_default"]
    assert (changed["config"]["max_msgs_per_subject"], changed["state"]["messages"]) == (9, 1)
    assert (await orchestrator.info("TASKS_acme"))["config"]["name"] == "TASKS_acme"


async def test_a_full_backlog_refuses_that_capability_and_priority_only(orchestrator: Recorded):
    """
    Refused with the server's 10077, which becomes `backlog_full`.
    """
    await ensure(orchestrator, topology(limits=TopologyLimits(backlog_max=2)))
    classify, urgent = subjects.tasks("default", "classify"), subjects.tasks("default", "classify", "high")

    answers = [await orchestrator.publish(classify, b"{}") for _ in range(3)]
    other = await orchestrator.publish(urgent, b"{}")

    assert [answer.get("error", {}).get("err_code") for answer in answers] == [None, None, 10077]
    assert "error" not in other


async def test_a_result_is_committed_once(orchestrator: Recorded):
    """
    Whoever expects its subject to be empty, and is second, is refused.
    """
    await ensure(orchestrator, topology())
    subject, expected = subjects.commit("default", "classify", "t1"), {"Nats-Expected-Last-Subject-Sequence": "0"}

    first = await orchestrator.publish(subject, b"1", expected)
    second = await orchestrator.publish(subject, b"2", expected)

    assert first["stream"] == "RESULTS_default"
    assert second["error"]["err_code"] == 10071


async def test_a_key_that_expires_tells_those_who_watch(orchestrator: Recorded, nats_server: RunningServer):
    """
    With the time to live of presence shortened to a second, its only change here.
    """
    presence = next(config for config in topology() if config.name == "KV_presence")
    short = msgspec.structs.replace(presence, max_age=NS_PER_S, duplicate_window=NS_PER_S)
    await ensure(orchestrator, [short])
    admin = nats_server.admin()
    # A client of any kind: the fleet's own hears no headers but through its handlers.
    watcher = await connect_plainly(nats_server.url, nkeys_seed=str(admin.creds), inbox_prefix=admin.inbox_prefix)
    try:
        jetstream: Any = watcher.nc.jetstream()  # pyright: ignore[reportUnknownMemberType]
        bucket = await jetstream.key_value("presence")
        watch = await bucket.watchall()
        assert await watch.updates() is None

        await watcher.nc.publish(subjects.key("presence", "cloud.cloud.r1"), b"{}")
        written, expired = await watch.updates(5.0), await watch.updates(5.0)
        await watch.stop()
    finally:
        await watcher.nc.close()

    assert (written.key, written.value) == ("cloud.cloud.r1", b"{}")
    assert (expired.key, expired.operation) == ("cloud.cloud.r1", "PURGE")


async def test_it_waits_for_a_server_that_is_not_there_yet(nats_server: RunningServer, orchestrator: Recorded):
    """
    An orchestrator that starts while the server restarts is patient.
    """
    await nats_server.stop()
    ensuring = asyncio.create_task(ensure(orchestrator, topology()))
    await orchestrator.asked.wait()
    await nats_server.start()
    await ensuring

    assert (await orchestrator.info("KV_policy"))["config"]["name"] == "KV_policy"


async def test_its_patience_ends_in_an_error_that_names_the_stream(nats_server: RunningServer):
    """
    A user without the permission hears nothing at all from the API.
    """
    async with requests_as(nats_server.worker("cloud", "cloud")) as worker:
        with pytest.raises(TopologyError, match="TASKS_default"):
            await ensure(worker, topology(), patience_s=0.3)


async def test_a_change_that_the_server_cannot_make_is_an_error_at_once(orchestrator: Recorded):
    """
    A stream's retention cannot be turned round; the text says which stream, and why.
    """
    wanted = StreamConfig(
        name="EVENTS", subjects=("scope.*.events.>",), retention="workqueue", discard="new", max_bytes=1024
    )
    await ensure(orchestrator, [msgspec.structs.replace(wanted, storage="file")])

    with pytest.raises(TopologyError, match=r"EVENTS: .*storage"):
        await asyncio.wait_for(ensure(orchestrator, [msgspec.structs.replace(wanted, storage="memory")]), 60)


async def test_a_bound_is_not_lowered_below_what_a_stream_holds(orchestrator: Recorded):
    """
    The server would drop the oldest tasks and results for it; the bound follows when they have gone.
    """
    await ensure(orchestrator, topology())
    for task in range(4):
        await orchestrator.publish(subjects.tasks("default", "classify"), b"x" * 1000)
        await orchestrator.publish(subjects.commit("default", "classify", f"t{task}"), b"x" * 1000)
    tighter = TopologyLimits(tasks_bytes_max=2000, results_bytes_max=2000)
    await ensure(orchestrator, topology(limits=tighter))

    for name in ("TASKS_default", "RESULTS_default"):
        held = await orchestrator.info(name)
        assert held["state"]["messages"] == 4
        assert held["config"]["max_bytes"] == held["state"]["bytes"]


async def test_what_an_operator_set_and_the_fleet_does_not_know_of_stays(
    orchestrator: Recorded, nats_server: RunningServer
):
    """
    A description, or where a stream is placed; also when something else of it is updated.
    """
    await ensure(orchestrator, topology())
    described = {**(await orchestrator.info("TASKS_default"))["config"], "description": "of the shop"}
    async with requests_as(nats_server.admin()) as admin:
        await admin.request("$JS.API.STREAM.UPDATE.TASKS_default", json.dumps(described).encode())
    await ensure(orchestrator, topology())
    assert orchestrator.updates() == []
    await ensure(orchestrator, topology(limits=TopologyLimits(backlog_max=3)))

    config = (await orchestrator.info("TASKS_default"))["config"]
    assert (config["description"], config["max_msgs_per_subject"]) == ("of the shop", 3)


@asynccontextmanager
async def disk_of(file_bytes_max: int, tmp_path: Path) -> AsyncGenerator[Recorded]:
    credentials = load_or_create(tmp_path / "credentials", users(("default",), ()))
    limits = JetStreamLimits(file_bytes_max=file_bytes_max)
    spec = ServerSpec(store_dir="", public_keys=credentials.public_keys, port=-1, jetstream=limits)
    async with EmbeddedServer(tmp_path, spec) as server:
        role = roles.orchestrator()
        settings = NatsSettings(url=server.url, creds=credentials.path(role.user), inbox_prefix=role.inbox_prefix)
        async with requests_as(settings) as requests:
            yield requests


async def test_more_than_the_disk_may_hold_is_refused(tmp_path: Path):
    """
    Bounds are reserved, so a fleet that could fill the volume does not start.
    """
    async with disk_of(1024 * 1024, tmp_path) as requests:
        with pytest.raises(TopologyError, match="storage resources"):
            await ensure(requests, topology(), patience_s=5.0)


async def test_streams_that_take_the_whole_disk_are_no_reason_not_to_start_again(tmp_path: Path):
    """
    The server refuses to create what would not fit once more, even where it is there already.
    """
    async with disk_of(sum(config.max_bytes for config in topology()), tmp_path) as requests:
        await ensure(requests, topology())
        await ensure(requests, topology(), patience_s=5.0)

        assert requests.updates() == []


async def test_a_cluster_of_three_holds_three_copies_while_three_orchestrators_start(tmp_path: Path):
    """
    Begun before the cluster has a leader; the nodes share everything but their names and ports.
    """
    credentials = load_or_create(tmp_path / "credentials", users(("default",), ()))
    route_ports = free_ports(3)
    routes = tuple(f"nats-route://127.0.0.1:{port}" for port in route_ports)
    role = roles.orchestrator()
    async with AsyncExitStack() as stack:
        nodes = [
            EmbeddedServer(
                tmp_path / f"n{number}",
                ServerSpec(
                    store_dir="",
                    public_keys=credentials.public_keys,
                    port=-1,
                    server_name=f"n{number}",
                    cluster=ClusterSpec(name="fleet", routes=routes, listen_host="127.0.0.1", listen_port=port),
                ),
            )
            for number, port in enumerate(route_ports)
        ]
        for node in nodes:
            await stack.enter_async_context(node)
            stack.push_async_callback(node.kill)
        members = [
            await stack.enter_async_context(
                requests_as(
                    NatsSettings(url=node.url, creds=credentials.path(role.user), inbox_prefix=role.inbox_prefix)
                )
            )
            for node in nodes
        ]
        wanted = topology(limits=TopologyLimits(replicas=3))
        await asyncio.gather(*(ensure(requests, wanted) for requests in members))

        for config in wanted:
            info = await members[0].info(config.name)
            assert info["config"]["num_replicas"] == 3
            assert len(info["cluster"]["replicas"]) == 2
