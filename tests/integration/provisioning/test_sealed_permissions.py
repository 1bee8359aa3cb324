"""
Who gets at what is sealed: the orchestrators of the sealed lane, and nobody else, whatever role's credentials were stolen.

On one server as `flotilla up` configures it, and on a cluster's configuration.
"""

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack
from typing import Any, Final

import pytest
import pytest_asyncio

from flotilla.contracts import subjects
from flotilla.contracts.subjects import Zone
from flotilla.fabric.connection import NatsSettings, connected
from flotilla.fabric.inbox import Requests
from flotilla.provisioning.streams import ensure
from flotilla.provisioning.topology import TopologyLimits, topology
from flotilla.testkit.nats_cluster import NODES, running_cluster
from flotilla.testkit.nats_server import RunningServer, running_server
from flotilla.testkit.patient_client import PatientClient
from flotilla.testkit.plain_client import connect_plainly, eventually, settled

POOLS: tuple[tuple[Zone, str], ...] = (("local", "redaction"), ("local", "ollama"), ("cloud", "anthropic"))
SCOPES: Final = ("default", "acme")
SECRET: Final = b"what was sealed"
TASK: Final = subjects.tasks("acme", "classify")
STREAMS: Final = (subjects.tasks_stream("acme"), subjects.dead_stream("acme"), subjects.results_stream("acme"))
HEARD: Final = (TASK, subjects.ask("acme", "classify"))
"""What the test publishes in the sealed lane while a thief listens."""
ROLES: dict[str, Callable[[RunningServer], NatsSettings]] = {
    "orchestrator": lambda server: server.orchestrator(),
    "admin": lambda server: server.admin(),
    # The portal's too.
    "observer": lambda server: server.observer(),
    "another tenant": lambda server: server.tenant("default"),
    "another tenant's approver": lambda server: server.approver("default"),
    # In the account of the tenant whose tasks are sealed, beside it.
    "the tenant's own approver": lambda server: server.approver("acme"),
    "local worker": lambda server: server.worker("local", "ollama"),
    "worker with the vault": lambda server: server.worker("local", "redaction"),
    "cloud worker": lambda server: server.worker("cloud", "anthropic"),
}
ATTEMPT: Final = subjects.infer("cloud", "anthropic", "classify")


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=["one server", "cluster"])
async def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[RunningServer]:
    """
    A server, or the first node of three, with the streams of both lanes, and a secret in each of the sealed ones.
    """
    folder = tmp_path_factory.mktemp("sealed")
    spec: dict[str, Any] = {
        "scopes": SCOPES,
        "pools": POOLS,
        "vault_pools": ("redaction",),
        "sealed": True,
        "sealed_scopes": ("acme",),
    }
    async with AsyncExitStack() as stack:
        if request.param == "cluster":
            cluster = await stack.enter_async_context(running_cluster(folder, **spec))
            server, replicas = cluster.nodes[0], NODES
        else:
            server, replicas = await stack.enter_async_context(running_server(folder, **spec)), 1
        for settings in (server.orchestrator(), server.sealed_orchestrator()):
            async with connected(settings, name="setup") as connection:
                requests = Requests(connection)
                await requests.start()
                await ensure(requests, topology(SCOPES, limits=TopologyLimits(replicas=replicas)))
                if settings == server.sealed_orchestrator():
                    for subject in (TASK, subjects.dead("acme", "classify", "t"), "commit.acme.classify.t"):
                        stored = await requests.request(subject, SECRET, timeout_s=10.0)
                        assert b'"seq"' in stored.data
                await requests.stop()
        yield server


def everything_asked(stream: str) -> list[tuple[str, bytes]]:
    """Every request that reads, writes, lists, mirrors or removes a sealed stream."""
    spy = {"deliver_subject": "_INBOX.spied", "ack_policy": "none"}
    copies = {
        "MIRROR": {"name": "MIRROR", "mirror": {"name": stream}, "storage": "memory"},
        "SOURCE": {"name": "SOURCE", "sources": [{"name": stream}], "storage": "memory"},
        "ELSEWHERE": {
            "name": "ELSEWHERE",
            "sources": [{"name": stream, "external": {"api": "$JS.FLEET.sealed.API", "deliver": "spied"}}],
            "storage": "memory",
        },
    }
    last = json.dumps({"last_by_subj": TASK}).encode()
    return [
        (f"$JS.API.STREAM.MSG.GET.{stream}", b'{"seq":1}'),
        (f"$JS.API.DIRECT.GET.{stream}", last),
        (f"$JS.API.DIRECT.GET.{stream}.{TASK}", b""),
        (f"$JS.API.STREAM.INFO.{stream}", b'{"subjects_filter":">"}'),
        (f"$JS.API.CONSUMER.CREATE.{stream}", json.dumps({"stream_name": stream, "config": spy}).encode()),
        (f"$JS.API.CONSUMER.MSG.NEXT.{stream}.classify_normal", b'{"batch":1}'),
        (f"$JS.API.STREAM.MSG.DELETE.{stream}", b'{"seq":1}'),
        (f"$JS.API.STREAM.PURGE.{stream}", b""),
        *((f"$JS.API.STREAM.CREATE.{name}", json.dumps(config).encode()) for name, config in copies.items()),
        *((f"$JS.API.DIRECT.GET.{name}", b'{"seq":1}') for name in copies),
        # Last: what is there afterwards is what counts.
        (f"$JS.API.STREAM.DELETE.{stream}", b""),
    ]


async def connected_as(settings: NatsSettings, refused: list[str]) -> Any:
    nc: Any = PatientClient()  # its types are partial

    async def on_error(error: Exception) -> None:
        refused.append(str(error))

    await nc.connect(
        settings.url,
        nkeys_seed=str(settings.creds),
        inbox_prefix=settings.inbox_prefix,
        error_cb=on_error,
        allow_reconnect=False,
    )
    return nc


async def in_the_lane(server: RunningServer, stream: str) -> int:
    """How many messages a sealed stream holds."""
    client = await connect_plainly(
        server.url,
        nkeys_seed=str(server.sealed_orchestrator().creds),
        inbox_prefix=server.sealed_orchestrator().inbox_prefix,
    )
    try:
        return await client.messages_in(stream)
    finally:
        await client.nc.close()


@pytest.mark.parametrize("role", ROLES)
async def test_nobody_else_gets_at_what_is_sealed(server: RunningServer, role: str):
    """
    Neither a message, by any request or subscription, nor a copy of the stream; and nothing in it is removed.
    """
    heard: list[bytes] = []
    before = [await in_the_lane(server, stream) for stream in STREAMS]

    async def on_message(message: Any) -> None:
        heard.append(message.data)

    thief = await connected_as(ROLES[role](server), [])
    lane = await connected_as(server.sealed_orchestrator(), [])
    victim = await connected_as(server.tenant("acme"), [])
    inbox = thief.new_inbox()
    control = asyncio.Event()

    async def on_control(_message: Any) -> None:
        control.set()

    await lane.subscribe(subjects.ask("acme", ">"), cb=on_control)
    await settled(lane)
    for subject in (inbox, *HEARD, "scope.>", "_INBOX.sealed-attempts.>", "sealed.tasks.>", "sealed.ask.>", ">"):
        await thief.subscribe(subject, cb=on_message)
    await settled(thief)
    await victim.publish("ask.classify", SECRET, victim.new_inbox())
    assert (await victim.request("tasks.classify", SECRET, timeout=10)).data.find(b'"seq"') > 0
    await asyncio.wait_for(control.wait(), 60)
    for stream in STREAMS:
        for subject, body in everything_asked(stream):
            await thief.publish(subject, body, inbox)
    # What was refused on one connection is refused before what follows is answered.
    await settled(thief)
    await asyncio.sleep(0.5)
    await asyncio.gather(thief.close(), lane.close(), victim.close())

    for body in heard:
        assert SECRET not in body
        assert base64.b64encode(SECRET) not in body
    after = [await in_the_lane(server, stream) for stream in STREAMS]
    assert [before[0] + 1, *before[1:]] == after


@pytest.mark.parametrize("role", ROLES)
async def test_nobody_else_publishes_into_the_lane(server: RunningServer, role: str):
    """
    Not a task, a commit or a dead letter of a scope that is not its own.
    """
    before = [await in_the_lane(server, stream) for stream in STREAMS]
    thief = await connected_as(ROLES[role](server), [])
    for subject in (TASK, subjects.dead("acme", "classify", "x"), "commit.acme.classify.x", f"sealed.{TASK}"):
        await thief.publish(subject, b"forged")
    await settled(thief)
    await thief.close()

    assert before == [await in_the_lane(server, stream) for stream in STREAMS]


async def test_the_sealed_lane_cannot_reach_a_cloud_pool(server: RunningServer):
    """
    A publish that no routing stands before is refused by the server, which says so; the pool hears what is not sealed.
    """
    heard: list[bytes] = []
    refused: list[str] = []

    async def on_message(message: Any) -> None:
        heard.append(message.data)

    pool = await connected_as(server.worker("cloud", "anthropic"), [])
    await pool.subscribe(subjects.infer("cloud", "anthropic", "*"), cb=on_message)
    await pool.subscribe(subjects.infer_control("cloud", "anthropic", "*"), cb=on_message)
    await settled(pool)
    lane = await connected_as(server.sealed_orchestrator(), refused)
    for subject in (ATTEMPT, subjects.infer_control("cloud", "anthropic", "r")):
        await lane.publish(subject, SECRET)
    await settled(lane)
    ordinary = await connected_as(server.orchestrator(), [])
    await ordinary.publish(ATTEMPT, b"not sealed")
    await settled(ordinary)

    async def came() -> bool:
        return b"not sealed" in heard and len(refused) >= 2

    await eventually(came, timeout_s=60)
    await asyncio.gather(pool.close(), lane.close(), ordinary.close())
    assert [b"not sealed"] == heard
    assert all("permissions violation" in text.lower() for text in refused), refused


async def test_the_lane_has_nothing_of_the_ordinary_one(server: RunningServer):
    """
    Nor may an orchestrator of it make a mirror of what is in the account of the others.
    """
    marker = b"in the ordinary lane"
    async with connected(server.orchestrator(), name="marks") as connection:
        requests = Requests(connection)
        await requests.start()
        await requests.request(subjects.tasks("default", "classify"), marker, timeout_s=10.0)
        await requests.stop()
    heard: list[bytes] = []

    async def on_message(message: Any) -> None:
        heard.append(message.data)

    lane = await connected_as(server.sealed_orchestrator(), [])
    inbox = lane.new_inbox()
    await lane.subscribe(inbox, cb=on_message)
    stream = subjects.tasks_stream("default")
    for subject, body in everything_asked(stream):
        await lane.publish(subject, body, inbox)
    await settled(lane)
    await asyncio.sleep(0.5)
    await lane.close()

    assert not [body for body in heard if marker in body or base64.b64encode(marker) in body]
