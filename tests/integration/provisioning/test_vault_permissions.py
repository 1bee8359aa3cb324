"""
Who gets at the vaults: a local pool that is marked for it, and nobody else, whatever role's credentials were stolen.

On one server as `flotilla up` configures it, and on a cluster's configuration.
"""

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from flotilla.contracts import subjects
from flotilla.contracts.subjects import VAULT_BUCKET, Zone
from flotilla.fabric.connection import NatsSettings, connected
from flotilla.fabric.errors import NoRespondersError
from flotilla.fabric.inbox import Requests
from flotilla.fabric.keyvalue import get, keys, purge, put
from flotilla.provisioning.streams import ensure
from flotilla.provisioning.topology import VAULT_BYTES_MAX, TopologyLimits, topology, vault_bucket
from flotilla.testkit.nats_cluster import NODES, running_cluster
from flotilla.testkit.nats_server import RunningServer, running_server
from flotilla.testkit.patient_client import PatientClient
from flotilla.testkit.plain_client import connect_plainly, eventually, settled

POOLS: tuple[tuple[Zone, str], ...] = (("local", "redaction"), ("local", "ollama"), ("cloud", "anthropic"))
SECRET = b"what the vault holds"
MINE = b"mine"
KEY = subjects.vault_key("default", "abcdefghijklmnopqrstuvwx23")
SUBJECT = subjects.key(VAULT_BUCKET, KEY)
STREAM = subjects.bucket_stream(VAULT_BUCKET)
ROLES: dict[str, Callable[[RunningServer], NatsSettings]] = {
    "orchestrator": lambda server: server.orchestrator(),
    "admin": lambda server: server.admin(),
    # The portal's too.
    "observer": lambda server: server.observer(),
    "sealed orchestrator": lambda server: server.sealed_orchestrator(),
    "tenant": lambda server: server.tenant("default"),
    "approver": lambda server: server.approver("default"),
    "local worker": lambda server: server.worker("local", "ollama"),
    "cloud worker": lambda server: server.worker("cloud", "anthropic"),
}
ANSWER_WITHIN_S = 0.5


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=["one server", "cluster"])
async def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[RunningServer]:
    """
    A server, or the first node of three, with every stream, and a vault that holds the secret.
    """
    folder = tmp_path_factory.mktemp("vault")
    spec: dict[str, Any] = {"pools": POOLS, "vault_pools": ("redaction",), "sealed": True}
    async with AsyncExitStack() as stack:
        if request.param == "cluster":
            cluster = await stack.enter_async_context(running_cluster(folder, **spec))
            server, replicas = cluster.nodes[0], NODES
        else:
            server = await stack.enter_async_context(running_server(folder, **spec))
            replicas = 1
        async with connected(server.orchestrator(), name="setup") as connection:
            requests = Requests(connection)
            await requests.start()
            await ensure(requests, topology(limits=TopologyLimits(replicas=replicas)))
            await requests.stop()
        async with connected(server.worker("local", "redaction"), name="redaction") as connection:
            requests = Requests(connection)
            await requests.start()
            await ensure(requests, [vault_bucket(replicas)])
            # The nodes of a cluster learn of a new stream one after the other.
            await eventually(lambda: _is_stored(requests), 60)
            await requests.stop()
        yield server


async def _is_stored(requests: Requests) -> bool:
    try:
        return await put(requests, VAULT_BUCKET, KEY, SECRET, ttl_s=600) is not None
    except NoRespondersError:
        return False


def everything_asked() -> list[tuple[str, bytes]]:
    """Every request that reads, writes, lists, mirrors or removes the vaults."""
    last = json.dumps({"last_by_subj": SUBJECT}).encode()
    spy = {"deliver_subject": "_INBOX.spied", "ack_policy": "none"}
    mirror = {"name": "MIRROR", "mirror": {"name": STREAM}, "storage": "memory"}
    return [
        (SUBJECT, MINE),
        (subjects.key(VAULT_BUCKET, "default.new"), MINE),
        (f"$JS.API.STREAM.MSG.GET.{STREAM}", last),
        (f"$JS.API.DIRECT.GET.{STREAM}", last),
        (f"$JS.API.DIRECT.GET.{STREAM}.{SUBJECT}", b""),
        (f"$JS.API.STREAM.INFO.{STREAM}", b'{"subjects_filter":">"}'),
        (f"$JS.API.STREAM.PURGE.{STREAM}", b""),
        (f"$JS.API.STREAM.DELETE.{STREAM}", b""),
        (f"$JS.API.STREAM.MSG.DELETE.{STREAM}", b'{"seq":1}'),
        (f"$JS.API.CONSUMER.CREATE.{STREAM}", json.dumps({"stream_name": STREAM, "config": spy}).encode()),
        ("$JS.API.STREAM.CREATE.MIRROR", json.dumps(mirror).encode()),
    ]


async def said(settings: NatsSettings, asked: list[tuple[str, bytes]], heard: list[str]) -> list[dict[str, Any]]:
    """What comes back to a role that asks all of it: on its inbox, and on the given subscriptions."""
    nc: Any = PatientClient()  # its types are partial
    refused: list[str] = []

    async def on_error(error: Exception) -> None:
        refused.append(str(error))

    creds = settings.creds
    await nc.connect(
        settings.url,
        nkeys_seed=None if creds is None else str(creds),
        inbox_prefix=settings.inbox_prefix,
        error_cb=on_error,
        allow_reconnect=False,
    )
    answers: list[bytes] = []

    async def on_message(message: Any) -> None:
        answers.append(message.data)

    inbox = nc.new_inbox()
    for subject in (inbox, *heard):
        await nc.subscribe(subject, cb=on_message)
    await settled(nc)
    for subject, body in asked:
        await nc.publish(subject, body, inbox)
    await settled(nc)
    await asyncio.sleep(ANSWER_WITHIN_S)
    await nc.close()
    found: list[dict[str, Any]] = []
    for body in answers:
        assert SECRET not in body
        assert base64.b64encode(SECRET) not in body
        # Else the status of a request that nobody answers, or what it has said itself, in the account that it is in.
        if body not in (b"", MINE):
            found.append(json.loads(body))
    return found


@pytest.mark.parametrize("role", ROLES)
async def test_nobody_else_gets_at_the_vaults(server: RunningServer, role: str):
    """
    Neither a value nor a key, nor a word that something was stored or removed; and the vault is as it was.
    """
    heard = [subjects.key(VAULT_BUCKET, ">")]
    answers = await said(ROLES[role](server), everything_asked(), heard)

    for answer in answers:
        # FLEET has JetStream: its own people are told that it has no such stream.
        done = {"config", "message", "success", "seq"} & answer.keys()
        assert not done or answer.get("config", {}).get("name") == "MIRROR", answer
        assert not answer.get("state", {}).get("messages"), answer
    async with connected(server.worker("local", "redaction"), name="control") as connection:
        requests = Requests(connection)
        await requests.start()
        held = await get(requests, VAULT_BUCKET, KEY)
        assert held is not None
        assert SECRET == held.body
        assert [KEY] == await keys(requests, VAULT_BUCKET, "default.*")
        await requests.stop()


async def test_the_pool_with_the_vault_has_nothing_else_of_jetstream(server: RunningServer):
    """
    Not of the fleet's streams, nor what would read around a key of its own.
    """
    stolen = [
        (subject.replace(STREAM, stream), body)
        for subject, body in everything_asked()
        if subject.startswith("$JS.API")
        for stream in (subjects.tasks_stream("default"), subjects.bucket_stream("policy"))
    ]
    own = [
        (f"$JS.API.STREAM.DELETE.{STREAM}", b""),
        (f"$JS.API.STREAM.PURGE.{STREAM}", b""),
        (f"$JS.API.CONSUMER.CREATE.{STREAM}", b"{}"),
        ("$JS.API.INFO", b""),
        ("$JS.API.STREAM.NAMES", b""),
        ("$JS.API.STREAM.LIST", b""),
    ]

    assert [] == await said(server.worker("local", "redaction"), [*stolen, *own], [])


@pytest.mark.parametrize(
    "wanted",
    [{"max_bytes": -1}, {"max_bytes": 2 * VAULT_BYTES_MAX}, {"max_bytes": 1_000_000, "storage": "memory"}],
    ids=["no bound", "a larger one", "in memory"],
)
async def test_the_pool_with_the_vault_cannot_make_its_bucket_without_bounds(tmp_path: Path, wanted: dict[str, Any]):
    """
    Nor change it to that: what it takes of the server's disk and memory is the account's to say.
    """
    config = json.loads(msgspec.json.encode(vault_bucket(1)))
    async with running_server(tmp_path, pools=POOLS, vault_pools=("redaction",)) as server:
        settings = server.worker("local", "redaction")
        client = await connect_plainly(server.url, nkeys_seed=str(settings.creds), inbox_prefix=settings.inbox_prefix)

        async def refused(verb: str, config: dict[str, Any]) -> bool:
            reply = await client.nc.request(f"$JS.API.STREAM.{verb}.{STREAM}", json.dumps(config).encode(), timeout=60)
            return "error" in json.loads(reply.data)

        outcomes = [
            await refused("CREATE", config | wanted),
            await refused("CREATE", config),
            await refused("UPDATE", config | wanted),
        ]
        await client.nc.close()

    assert [True, False, True] == outcomes


async def test_a_reply_to_the_pool_with_the_vault_goes_where_it_alone_listens(server: RunningServer):
    """
    It may name a subject of the fleet's: the server puts one of its own in its place.
    """
    heard: list[bytes] = []
    async with connected(server.orchestrator(), name="listener") as listener:
        await listener.subscribe("_INBOX.orchestrator.spied", lambda message: _note(heard, message))
        await listener.settle()
        nc: Any = PatientClient()
        settings = server.worker("local", "redaction")
        await nc.connect(settings.url, nkeys_seed=str(settings.creds), inbox_prefix=settings.inbox_prefix)
        await nc.publish(
            f"$JS.API.STREAM.MSG.GET.{STREAM}",
            json.dumps({"last_by_subj": SUBJECT}).encode(),
            "_INBOX.orchestrator.spied",
        )
        await settled(nc)
        await asyncio.sleep(ANSWER_WITHIN_S)
        await nc.close()

    assert [] == heard


async def _note(heard: list[bytes], message: Any) -> None:
    heard.append(message.data)


async def test_a_vault_is_forgotten_at_once(server: RunningServer):
    """
    What is left is a marker without a value, and another value can be written behind it.
    """
    async with connected(server.worker("local", "redaction"), name="redaction") as connection:
        requests = Requests(connection)
        await requests.start()
        key = subjects.vault_key("default", "forgotten")
        revision = await put(requests, VAULT_BUCKET, key, b"x", expected_revision=0, ttl_s=600)
        assert revision is not None
        assert await put(requests, VAULT_BUCKET, key, b"y", expected_revision=0, ttl_s=600) is None

        gone = await purge(requests, VAULT_BUCKET, key, expected_revision=revision, marker_ttl_s=60)

        left = await get(requests, VAULT_BUCKET, key)
        assert left is not None
        assert (True, b"") == (left.deleted, left.body)
        assert await put(requests, VAULT_BUCKET, key, b"z", expected_revision=gone, ttl_s=1) is not None
        await purge(requests, VAULT_BUCKET, key, marker_ttl_s=1)
        await requests.stop()
