"""
The privacy boundary at the transport: what the server refuses to each role, seen from the role's own connection.

Every refusal is the server's own word (its permission violation, which names the subject), and has a control beside it:
the same attempt by someone who may, from the same kind of connection.
"""

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import nats.errors
import pytest
import pytest_asyncio
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from flotilla.contracts import subjects
from flotilla.contracts.subjects import API_VERBS, BUCKETS, Zone
from flotilla.fabric.connection import NatsSettings, connected
from flotilla.fabric.inbox import Requests
from flotilla.provisioning.crossings import told_by_pool
from flotilla.provisioning.streams import ensure
from flotilla.provisioning.topology import TopologyLimits, topology
from flotilla.testkit.nats_cluster import NODES, RunningCluster, running_cluster
from flotilla.testkit.nats_server import RunningServer, running_server
from flotilla.testkit.patient_client import PatientClient
from flotilla.testkit.plain_client import settled

SCOPES = ("default", "acme")
POOLS: tuple[tuple[Zone, str], ...] = (
    ("local", "ollama"),
    ("local", "vllm"),
    ("cloud", "anthropic"),
    ("cloud", "openai"),
)
SECRET = b'{"document":"the secret of the document"}'
STREAMS = (
    *(subjects.tasks_stream(scope) for scope in SCOPES),
    *(subjects.results_stream(scope) for scope in SCOPES),
    *(subjects.events_stream(scope) for scope in SCOPES),
    *(subjects.dead_stream(scope) for scope in SCOPES),
    *(subjects.bucket_stream(subjects.blackboard_bucket(scope)) for scope in SCOPES),
    *(subjects.bucket_stream(subjects.cache_bucket(scope)) for scope in SCOPES),
    *(subjects.bucket_stream(bucket) for bucket in BUCKETS),
)
NOTES = subjects.key(subjects.blackboard_bucket("default"), "notes")
REPLY_TIMEOUT_S = 60.0
ATTEMPTS = 3_000


class Member:
    """A connection that remembers what the server refused it."""

    def __init__(self, settings: NatsSettings) -> None:
        self.nc: Any = PatientClient()  # its types are partial
        self.violations: list[str] = []
        self._settings = settings

    async def connect(self) -> None:
        creds = self._settings.creds
        await self.nc.connect(
            self._settings.url,
            nkeys_seed=None if creds is None else str(creds),
            inbox_prefix=self._settings.inbox_prefix,
            error_cb=self._on_error,
            allow_reconnect=False,
        )

    async def _on_error(self, error: Exception) -> None:
        self.violations.append(str(error))

    async def settle(self) -> None:
        """A violation comes before the second PONG; see `Connection.settle`."""
        await settled(self.nc)

    async def may_publish(self, subject: str, body: bytes = b"", reply: str = "") -> bool:
        self.violations.clear()
        await self.nc.publish(subject, body, reply)
        await self.settle()
        return not self._refused("publish", subject)

    async def may_subscribe(self, subject: str, queue: str = "") -> bool:
        self.violations.clear()
        subscription = await self.nc.subscribe(subject, queue)
        await self.settle()
        refused = self._refused("subscription", subject)
        await subscription.unsubscribe()
        await self.settle()
        return not refused

    def _refused(self, action: str, subject: str) -> bool:
        expected = f'permissions violation for {action} to "{subject}"'.lower()
        assert all(expected in violation.lower() for violation in self.violations), self.violations
        return bool(self.violations)


class Fleet:
    """A server with every stream, and a connection per role."""

    def __init__(self, server: RunningServer, stack: AsyncExitStack) -> None:
        self.server = server
        self._stack = stack

    async def member(self, settings: NatsSettings) -> Member:
        member = Member(settings)
        await member.connect()
        self._stack.push_async_callback(member.nc.close)
        return member

    async def admin(self) -> Member:
        return await self.member(self.server.admin())

    async def orchestrator(self) -> Member:
        return await self.member(self.server.orchestrator())

    async def observer(self) -> Member:
        return await self.member(self.server.observer())

    async def worker(self, zone: Zone, pool: str) -> Member:
        return await self.member(self.server.worker(zone, pool))

    async def tenant(self, scope: str) -> Member:
        return await self.member(self.server.tenant(scope))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[RunningCluster]:
    """
    Three nodes that hold every stream, shared: to elect leaders takes them seconds.
    """
    async with running_cluster(tmp_path_factory.mktemp("cluster"), scopes=SCOPES, pools=POOLS) as cluster:
        await make_streams(cluster, replicas=NODES)
        yield cluster


@pytest.fixture(params=["one server", "cluster"])
def shared(request: pytest.FixtureRequest) -> RunningCluster | None:
    """
    The cluster, in whose configuration the same roles must stand; None asks for a server of the test's own.
    """
    return request.getfixturevalue("cluster") if request.param == "cluster" else None


@pytest.fixture
async def fleet(shared: RunningCluster | None, tmp_path: Path) -> AsyncGenerator[Fleet]:
    """
    A fleet of two scopes and four pools, its streams holding a secret each.
    """
    async with AsyncExitStack() as stack:
        if shared is None:
            server = await stack.enter_async_context(running_server(tmp_path, scopes=SCOPES, pools=POOLS))
            await make_streams(server, replicas=1)
        else:
            # All to one node: what one may not see there, the others do not send there.
            server = shared.nodes[0]
        fleet = Fleet(server, stack)
        admin = (await fleet.admin()).nc
        if shared is not None:
            await empty_streams(admin)
        for scope in SCOPES:
            await admin.request(subjects.tasks(scope, "classify"), SECRET)
            await admin.request(subjects.commit(scope, "classify", "t1"), SECRET)
            await admin.request(subjects.dead(scope, "classify", "t2"), SECRET)
        await admin.request(NOTES, SECRET)
        yield fleet


async def make_streams(server: RunningServer, *, replicas: int) -> None:
    async with connected(server.orchestrator(), name="setup") as connection:
        requests = Requests(connection)
        await requests.start()
        await ensure(requests, topology(SCOPES, TopologyLimits(replicas=replicas)))
        await requests.stop()


async def empty_streams(admin: Any) -> None:
    """As they were when they were made: what the tests before left in them is gone."""
    for stream in STREAMS:
        names = json.loads((await admin.request(f"$JS.API.CONSUMER.NAMES.{stream}", b"")).data)["consumers"] or ()
        for consumer in names:
            await admin.request(f"$JS.API.CONSUMER.DELETE.{stream}.{consumer}", b"")
        purged = json.loads((await admin.request(f"$JS.API.STREAM.PURGE.{stream}", b"")).data)
        assert purged["success"]


def api_forms(stream: str) -> tuple[str, ...]:
    """Every request of the JetStream API that reads, makes, changes or removes something of a stream."""
    return tuple(
        f"$JS.API.{form}"
        for form in (
            f"STREAM.INFO.{stream}",
            f"STREAM.CREATE.{stream}",
            f"STREAM.UPDATE.{stream}",
            f"STREAM.DELETE.{stream}",
            f"STREAM.PURGE.{stream}",
            f"STREAM.SNAPSHOT.{stream}",
            f"STREAM.RESTORE.{stream}",
            f"STREAM.MSG.GET.{stream}",
            f"STREAM.MSG.DELETE.{stream}",
            f"CONSUMER.CREATE.{stream}",
            f"CONSUMER.CREATE.{stream}.spy",
            f"CONSUMER.CREATE.{stream}.spy.scope.default.tasks.>",
            f"CONSUMER.DURABLE.CREATE.{stream}.spy",
            f"CONSUMER.INFO.{stream}.spy",
            f"CONSUMER.DELETE.{stream}.spy",
            f"CONSUMER.NAMES.{stream}",
            f"CONSUMER.LIST.{stream}",
            f"CONSUMER.MSG.NEXT.{stream}.classify_normal",
            f"DIRECT.GET.{stream}",
            f"DIRECT.GET.{stream}.scope.default.results.classify.t1",
        )
    )


def api_of_all_streams() -> set[str]:
    everything = {form for stream in STREAMS for form in api_forms(stream)}
    return everything | {"$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST", "$JS.hub.API.STREAM.LIST"}


def documents_and_controls() -> set[str]:
    """The subjects of the wire that no worker and no observer has a part in."""
    return {
        *(subjects.tasks(scope, "classify", priority) for scope in SCOPES for priority in subjects.PRIORITIES),
        *(subjects.ask(scope, "classify") for scope in SCOPES),
        *(subjects.results(scope, "classify", "t1") for scope in SCOPES),
        *(subjects.commit(scope, "classify", "t1") for scope in SCOPES),
        *(subjects.dead(scope, "classify", "t2") for scope in SCOPES),
        *(subjects.orchestrator_control(scope, "cancel") for scope in SCOPES),
        subjects.key("policy", "routing"),
        subjects.key("stats", "p.m.c.o"),
        NOTES,
        "tasks.classify",
        "ask.classify",
        "results.classify.t1",
        "_INBOX.x",
        "_INBOX.orchestrator.x.y",
        "_INBOX.admin.x.y",
        "_INBOX.observer.x.y",
        "_R_.abc.def",
        "$JS.ACK.TASKS_default.classify_normal.1.1.1.1.0",
        "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.TASKS_default.classify_normal",
        "$SYS.REQ.SERVER.PING",
    }


def lanes_of(zone: Zone, pool: str) -> set[str]:
    """What belongs to one pool."""
    return {
        subjects.infer(zone, pool, "classify"),
        subjects.infer_control(zone, pool, "r1"),
        subjects.infer_free(zone, pool),
        subjects.attempt_inbox(zone, pool, "o1") + ".t1",
        subjects.heartbeat(zone, pool, "r1"),
        subjects.key("presence", subjects.presence_key(zone, pool, "r1")),
        f"_INBOX.{zone}.{pool}.x",
    }


def wildcards() -> set[str]:
    """Subscriptions that would take in more than a pool's own."""
    return {
        ">",
        "*",
        "*.>",
        "scope.>",
        "scope.*.tasks.>",
        "scope.*.ask.>",
        "scope.*.results.>",
        "scope.*.events.>",
        "infer.>",
        "infer.*.*.*",
        "infer.local.>",
        "infer.cloud.>",
        "infer-control.>",
        "infer-free.>",
        "heartbeat.>",
        "dead.>",
        "orchestrator-control.>",
        "$KV.>",
        "$KV.presence.>",
        "$KV.blackboard.>",
        "$JS.>",
        "$JS.API.>",
        "$JS.ACK.>",
        "$JS.EVENT.>",
        "$SRV.>",
        "_R_.>",
        "_INBOX.>",
        "_INBOX.*",
        "_INBOX.*.>",
        "_INBOX.*.*.>",
        "_INBOX.attempts.>",
    }


async def assert_only_others_publish(member: Member, admin: Member, attempts: Iterable[str]) -> None:
    for subject in sorted(attempts):
        assert not await member.may_publish(subject), f"{subject} was let through"
        # The same words from one who may: were the check blind, this would pass above too.
        if not subject.startswith("$JS.API"):
            assert await admin.may_publish(subject, reply="_INBOX.admin.void")


async def assert_only_others_subscribe(member: Member, admin: Member, attempts: Iterable[str]) -> None:
    for subject in sorted(attempts):
        assert not await member.may_subscribe(subject), f"{subject} was let through"
        assert not await member.may_subscribe(subject, "orchestrator"), f"{subject} was let through by queue"
        assert await admin.may_subscribe(subject)


@pytest.mark.parametrize(("zone", "pool"), [("cloud", "anthropic"), ("local", "ollama")])
async def test_a_worker_publishes_only_its_own_subjects(fleet: Fleet, zone: Zone, pool: str):
    """
    Its heartbeats, its free slots and the replies to its own attempts; not even a task for its own lane.
    """
    member, admin = await fleet.worker(zone, pool), await fleet.admin()
    own = {
        subjects.heartbeat(zone, pool, "r1"),
        subjects.infer_free(zone, pool),
        subjects.attempt_inbox(zone, pool, "o1") + ".t1",
    }
    others = set[str]().union(*(lanes_of(*other) for other in POOLS if other != (zone, pool)))
    refused = (lanes_of(zone, pool) | others | documents_and_controls()) - own
    refused |= {subjects.api(scope, verb) for scope in SCOPES for verb in API_VERBS}
    refused |= {subjects.events("default", "classify", "finished"), "$SRV.PING", "$SRV.INFO.x", "$SRV.STATS.x.y"}

    for subject in own:
        assert await member.may_publish(subject), subject
    await assert_only_others_publish(member, admin, refused)


@pytest.mark.parametrize(("zone", "pool"), [("cloud", "anthropic"), ("local", "ollama")])
async def test_a_worker_subscribes_only_to_what_is_handed_to_its_pool(fleet: Fleet, zone: Zone, pool: str):
    """
    Its lane, its control, its inbox and discovery; not the replies of its own pool's attempts.
    """
    member, admin = await fleet.worker(zone, pool), await fleet.admin()
    own = {
        subjects.infer(zone, pool, "*"),
        subjects.infer(zone, pool, "classify"),
        subjects.infer_control(zone, pool, "r1"),
        f"_INBOX.{zone}.{pool}.x",
        f"_INBOX.{zone}.{pool}.>",
        "$SRV.PING",
        "$SRV.INFO.flotilla",
        "$SRV.STATS.flotilla.r1",
    }
    everyone = set[str]().union(*(lanes_of(*other) for other in POOLS))
    refused = (everyone | documents_and_controls() | wildcards()) - own

    for subject in own:
        assert await member.may_subscribe(subject), subject
        assert await member.may_subscribe(subject, pool), subject
    await assert_only_others_subscribe(member, admin, refused)


@pytest.mark.parametrize(("zone", "pool"), [("cloud", "anthropic"), ("local", "ollama")])
async def test_a_worker_has_no_jetstream(fleet: Fleet, zone: Zone, pool: str):
    """
    Every form of every request on every stream: a consumer or a message get would read around any denied subject.
    """
    member, orchestrator = await fleet.worker(zone, pool), await fleet.orchestrator()

    for subject in sorted(api_of_all_streams()):
        assert not await member.may_publish(subject), f"{subject} was let through"
    for subject in ("$JS.API.STREAM.MSG.GET.TASKS_default", "$JS.API.CONSUMER.DURABLE.CREATE.TASKS_default.spy"):
        assert await orchestrator.may_publish(subject, b"{")


def ways_to_read(stream: str, subject: str) -> list[tuple[str, bytes]]:
    """Requests that really bring a stored message, when they are allowed."""
    last = msgspec.json.encode({"last_by_subj": subject})
    spy: dict[str, Any] = {"deliver_subject": "_INBOX.spied", "ack_policy": "none", "filter_subject": subject}
    return [
        (f"$JS.API.STREAM.MSG.GET.{stream}", last),
        (f"$JS.API.DIRECT.GET.{stream}", last),
        (f"$JS.API.DIRECT.GET.{stream}.{subject}", b""),
        (f"$JS.API.CONSUMER.CREATE.{stream}", msgspec.json.encode({"stream_name": stream, "config": spy})),
    ]


@pytest.mark.parametrize("role", ["cloud", "local", "observer"])
async def test_nobody_reads_a_stored_document_who_should_not(fleet: Fleet, role: str):
    """
    The same requests that bring the admin the document bring the others nothing.
    """
    member = {
        "cloud": lambda: fleet.worker("cloud", "anthropic"),
        "local": lambda: fleet.worker("local", "ollama"),
        "observer": fleet.observer,
    }[role]
    curious, admin = await member(), await fleet.admin()
    places = [
        (subjects.results_stream("default"), subjects.results("default", "classify", "t1")),
        (subjects.dead_stream("default"), subjects.dead("default", "classify", "t2")),
        (subjects.bucket_stream(subjects.blackboard_bucket("default")), NOTES),
    ]
    for stream, subject in places:
        for request, body in ways_to_read(stream, subject):
            spied = await admin.nc.subscribe("_INBOX.spied")
            assert not await curious.may_publish(request, body, "_INBOX.spied")
            assert spied.pending_msgs == 0
            await admin.nc.publish(request, body, "_INBOX.spied")
            await until_secret(spied)
            await spied.unsubscribe()


async def until_secret(spied: Subscription) -> None:
    """Await the secret, as it is or in the base64 of a message get; the answer to a consumer's creation comes too."""
    while True:
        body = (await spied.next_msg(REPLY_TIMEOUT_S)).data
        if SECRET in body or base64.b64encode(SECRET) in body:
            return


async def test_nothing_that_a_worker_says_is_answered_where_it_wants(fleet: Fleet):
    """
    Whatever reply subject it names: JetStream's API, and every subject of the fleet.
    """
    worker, admin = await fleet.worker("cloud", "anthropic"), await fleet.admin()
    before = await stream_states(admin)
    aims = {*api_forms("TASKS_default"), *api_forms("RESULTS_default"), *documents_and_controls()}
    # The server refuses these from any client, whatever its permissions.
    reserved = {aim for aim in aims if aim.startswith(("_R_.", "$JS.ACK."))}
    heard = await admin.nc.subscribe(">")
    await admin.settle()

    for aim in sorted(aims - reserved):
        for said in told_by_pool("cloud", "anthropic"):
            assert await worker.may_publish(said.replace("*", "x"), b"{}", aim)
    await admin.settle()

    subjects_heard = {(await heard.next_msg(REPLY_TIMEOUT_S)).subject for _ in range(heard.pending_msgs)}
    assert not subjects_heard & aims
    assert await stream_states(admin) == before
    for aim in reserved:
        worker.violations.clear()
        await worker.nc.publish(subjects.heartbeat("cloud", "anthropic", "r1"), b"{}", aim)
        await worker.settle()
        assert worker.violations
    # The control: the same subject, asked directly by one who may, does what it says.
    await heard.unsubscribe()
    await admin.nc.request("$JS.API.STREAM.PURGE.TASKS_default", b"")
    assert await stream_states(admin) != before


async def stream_states(admin: Member) -> dict[str, tuple[int, int]]:
    reply = await admin.nc.request("$JS.API.STREAM.LIST", b"")
    states = {stream["config"]["name"]: stream["state"] for stream in json.loads(reply.data)["streams"]}
    return {name: (state["messages"], state["consumer_count"]) for name, state in states.items()}


async def test_a_worker_does_its_whole_job_with_these_permissions(fleet: Fleet):
    """
    Heartbeats and free slots are heard, many replies stream to the attempt's inbox, and discovery is answered.
    """
    worker, orchestrator = await fleet.worker("cloud", "anthropic"), await fleet.orchestrator()
    admin, observer = await fleet.admin(), await fleet.observer()
    inbox = subjects.attempt_inbox("cloud", "anthropic", "o1")
    replies = await orchestrator.nc.subscribe(f"{subjects.attempt_inbox('*', '*', 'o1')}.*")  # pyright: ignore[reportArgumentType]
    free = await orchestrator.nc.subscribe("infer-free.>")
    heartbeats = await orchestrator.nc.subscribe("heartbeat.*.*.*")

    async def answer(message: Msg) -> None:
        for number in range(20):
            await message.respond(str(number).encode())

    await worker.nc.subscribe(subjects.infer("cloud", "anthropic", "*"), "anthropic", cb=answer)
    await worker.nc.subscribe("$SRV.PING", cb=answer)
    for member in (worker, orchestrator):
        await member.settle()

    await worker.nc.publish(subjects.heartbeat("cloud", "anthropic", "r1"), b"{}")
    await orchestrator.nc.publish(subjects.infer("cloud", "anthropic", "classify"), SECRET, f"{inbox}.t1")
    pieces = [(await replies.next_msg(REPLY_TIMEOUT_S)).data for _ in range(20)]
    await worker.nc.publish(subjects.infer_free("cloud", "anthropic"))

    assert (await heartbeats.next_msg(REPLY_TIMEOUT_S)).subject == "heartbeat.cloud.anthropic.r1"
    assert (await free.next_msg(REPLY_TIMEOUT_S)).subject == "infer-free.cloud.anthropic"
    assert [int(piece) for piece in pieces] == list(range(20))
    assert worker.violations == []
    for asker in (admin, observer):
        assert (await asker.nc.request("$SRV.PING")).data == b"0"
    await worker.settle()
    refused = [violation for violation in worker.violations if "_r_." in violation.lower()]
    assert len(refused) == 2 * 19, "discovery may be answered once, wherever the asker listens"


async def test_members_of_a_pool_take_its_attempts_in_turn_and_those_of_no_other(fleet: Fleet):
    """
    Its queue group is one, on whatever nodes its members are; who has left it gets nothing, and nobody is nobody.
    """
    first, second = await fleet.worker("cloud", "anthropic"), await fleet.worker("cloud", "anthropic")
    other, orchestrator = await fleet.worker("cloud", "openai"), await fleet.orchestrator()
    taken: dict[str, list[str]] = {"first": [], "second": [], "other": []}
    lane, requests = subjects.infer("cloud", "anthropic", "classify"), 200

    async def join(member: Member, name: str, pool: str) -> Subscription:
        async def take(message: Msg) -> None:
            taken[name].append(message.reply)
            await member.nc.publish(message.reply, name.encode())

        membership = await member.nc.subscribe(subjects.infer("cloud", pool, "*"), pool, cb=take)
        await member.settle()
        return membership

    async def ask_all() -> list[bytes]:
        replies = await orchestrator.nc.subscribe("_INBOX.attempts.*.*.o1.*")
        await orchestrator.settle()
        for number in range(requests):
            await orchestrator.nc.publish(lane, b"", f"_INBOX.attempts.cloud.anthropic.o1.{number}")
        found = [(await replies.next_msg(REPLY_TIMEOUT_S)).data for _ in range(requests)]
        await replies.unsubscribe()
        return found

    await join(other, "other", "openai")
    with pytest.raises(nats.errors.NoRespondersError):
        await orchestrator.nc.request(lane, b"", timeout=REPLY_TIMEOUT_S)
    memberships = [await join(first, "first", "anthropic"), await join(second, "second", "anthropic")]
    both = await ask_all()
    await memberships[0].unsubscribe()
    await first.settle()
    left = await ask_all()

    assert set(both) == {b"first", b"second"}
    assert set(left) == {b"second"}
    assert taken["other"] == []


async def test_an_orchestrator_deletes_and_purges_nothing(fleet: Fleet):
    """
    Nor does it say anything in a worker's place, or read the inboxes of workers.
    """
    orchestrator, admin = await fleet.orchestrator(), await fleet.admin()
    refused = {f"$JS.API.STREAM.{verb}.{stream}" for verb in ("DELETE", "PURGE", "SNAPSHOT") for stream in STREAMS}
    refused |= {subjects.heartbeat("cloud", "anthropic", "r1"), "_INBOX.cloud.anthropic.x", "$SYS.REQ.SERVER.PING"}

    for subject in sorted(refused):
        assert not await orchestrator.may_publish(subject), subject
    await assert_only_others_subscribe(
        orchestrator, admin, {">", "_INBOX.>", "_INBOX.admin.>", "_INBOX.cloud.anthropic.>", "infer.>", "$JS.API.>"}
    )
    for subject in (subjects.infer("cloud", "openai", "classify"), subjects.infer("local", "vllm", "classify")):
        assert await orchestrator.may_publish(subject)


async def test_an_observer_watches_and_sees_no_document(fleet: Fleet):
    """
    Events, presence, stats and policy; no task, no result, no lane, no dead letter, no blackboard.
    """
    observer, admin = await fleet.observer(), await fleet.admin()
    watched = {"scope.*.events.>", "$KV.presence.>", "$KV.stats.>", "$KV.policy.>", "_INBOX.observer.>"}
    asked = {subjects.api("default", verb) for verb in ("status", "replicas", "stats", "explain")}
    everyone = set[str]().union(*(lanes_of(*pool) for pool in POOLS))
    watched_ones = {subject for subject in everyone | documents_and_controls() if subject.startswith("$KV.")}
    watched_ones -= {NOTES}

    for subject in watched:
        assert await observer.may_subscribe(subject), subject
    for subject in asked:
        assert await observer.may_publish(subject), subject
    await assert_only_others_subscribe(
        observer,
        admin,
        (everyone | documents_and_controls() | wildcards()) - watched - watched_ones - {"_INBOX.observer.x.y"},
    )
    await assert_only_others_publish(
        observer,
        admin,
        everyone
        | documents_and_controls()
        | ({subjects.api(scope, verb) for scope in SCOPES for verb in API_VERBS} - asked)
        - {subjects.api("acme", verb) for verb in ("status", "replicas", "stats", "explain")},
    )
    readable = ("EVENTS_default", "EVENTS_acme", "KV_presence", "KV_stats", "KV_policy")
    allowed = {f"$JS.API.STREAM.INFO.{stream}" for stream in readable}
    allowed |= {form for stream in readable for form in api_forms(stream) if ".DIRECT.GET." in form}
    for subject in sorted(api_of_all_streams()):
        assert (subject in allowed) == await observer.may_publish(subject, b"{}"), subject


async def test_a_tenant_has_no_subject_of_the_fleet(fleet: Fleet):
    """
    Its account holds five imports; the fleet's subjects, other scopes and JetStream are refused by name.
    """
    tenant, admin = await fleet.tenant("acme"), await fleet.admin()
    everyone = set[str]().union(*(lanes_of(*pool) for pool in POOLS))
    strange = everyone | documents_and_controls() | api_of_all_streams() | {"scope.acme.tasks.classify", "$SRV.PING"}
    own = {"tasks.classify", "ask.classify"}

    for subject in own | {"tasks.classify.high", "api.status"}:
        assert await tenant.may_publish(subject), subject
    for subject in sorted((strange | {"events.classify.finished"}) - own):
        assert not await tenant.may_publish(subject), subject
    inboxes = {subject for subject in strange | wildcards() if subject.startswith("_INBOX.")}
    for subject in sorted((strange | wildcards()) - inboxes - {"results.classify.t1"}):
        assert not await tenant.may_subscribe(subject), subject
    for subject in ("results.>", "events.>", "_INBOX.>"):
        assert await tenant.may_subscribe(subject), subject
    assert await admin.may_subscribe(">")


async def test_a_tenant_sees_its_own_results_and_events_only(fleet: Fleet):
    """
    What the fleet tells one scope reaches that scope, in its own words, and nobody else.
    """
    orchestrator = await fleet.orchestrator()
    tenants = {scope: await fleet.tenant(scope) for scope in SCOPES}
    heard: dict[str, list[str]] = {scope: [] for scope in SCOPES}
    for scope, tenant in tenants.items():

        async def hear(message: Msg, scope: str = scope) -> None:
            heard[scope].append(f"{message.subject} {message.data.decode()}")

        for subject in ("results.>", "events.>", "_INBOX.>"):
            await tenant.nc.subscribe(subject, cb=hear)
        await tenant.settle()

    for scope in SCOPES:
        await orchestrator.nc.publish(subjects.commit(scope, "classify", "t9"), scope.encode())
        await orchestrator.nc.publish(subjects.events(scope, "classify", "finished"), scope.encode())
    # A result is republished once it is stored, by a majority where there are several nodes: no flush waits for that.
    async with asyncio.timeout(60):
        while any(len(subjects) < 2 for subjects in heard.values()):
            await asyncio.sleep(0.01)
    for tenant in tenants.values():
        await tenant.settle()

    assert {scope: sorted(subjects) for scope, subjects in heard.items()} == {
        scope: [f"events.classify.finished {scope}", f"results.classify.t9 {scope}"] for scope in SCOPES
    }


async def test_a_tenant_gets_its_acknowledgement_and_learns_of_a_duplicate(fleet: Fleet):
    """
    Both pass through the import; another tenant's equal id is another task.
    """
    acme, other = await fleet.tenant("acme"), await fleet.tenant("default")
    headers = {"Nats-Msg-Id": "order-17"}

    first = json.loads((await acme.nc.request("tasks.classify", SECRET, headers=headers)).data)
    again = json.loads((await acme.nc.request("tasks.classify", SECRET, headers=headers)).data)
    others = json.loads((await other.nc.request("tasks.classify", SECRET, headers=headers)).data)

    assert first["stream"] == "TASKS_acme"
    assert "duplicate" not in first
    assert (again["seq"], again["duplicate"]) == (first["seq"], True)
    assert others["stream"] == "TASKS_default"
    assert "duplicate" not in others


async def test_without_an_orchestrator_an_ask_fails_at_once(fleet: Fleet):
    """
    No responders passes through the import; nothing waits for a timeout.
    """
    tenant = await fleet.tenant("acme")

    with pytest.raises(nats.errors.NoRespondersError):
        await tenant.nc.request("ask.classify", SECRET, timeout=30)


async def test_streamed_replies_reach_the_tenant_and_leave_nothing_behind(fleet: Fleet):
    """
    An empty last message ends the way back of an ask at once; one with headers (`Msg.respond` echoes the request's)
    does not.
    """
    tenant, orchestrator = await fleet.tenant("acme"), await fleet.orchestrator()
    asked: list[Msg] = []

    async def answer(message: Msg) -> None:
        asked.append(message)
        for number in range(3):
            await message.respond(str(number).encode())

    await orchestrator.nc.subscribe("scope.*.ask.>", "orchestrator", cb=answer)
    await orchestrator.settle()
    inbox = tenant.nc.new_inbox()
    replies = await tenant.nc.subscribe(f"{inbox}.*")
    for number in range(100):
        await tenant.nc.publish("ask.classify", SECRET, f"{inbox}.{number}")
    pieces = [(await replies.next_msg(REPLY_TIMEOUT_S)).data for _ in range(300)]

    assert sorted(pieces) == sorted([b"0", b"1", b"2"] * 100)
    assert await ways_back(fleet) == 100
    await asked[0].respond(b"")
    assert (await replies.next_msg(REPLY_TIMEOUT_S)).data == b""
    assert await ways_back(fleet) == 100
    for message in asked:
        await orchestrator.nc.publish(message.reply, b"")
    assert [(await replies.next_msg(REPLY_TIMEOUT_S)).data for _ in range(100)] == [b""] * 100
    assert await ways_back(fleet) == 0


async def test_attempts_leave_nothing_behind_in_the_server(fleet: Fleet):
    """
    Whether they are answered with one message, with several, or with none, because a worker was killed or told to stop.
    """
    worker, orchestrator = await fleet.worker("cloud", "anthropic"), await fleet.orchestrator()
    inbox = subjects.attempt_inbox("cloud", "anthropic", "o1")
    answers: list[bytes] = []

    async def answer(message: Msg) -> None:
        for number in range(int(message.reply.rsplit(".", 1)[1]) % 3):
            await worker.nc.publish(message.reply, str(number).encode())

    async def hear(message: Msg) -> None:
        answers.append(message.data)

    await worker.nc.subscribe(subjects.infer("cloud", "anthropic", "*"), "anthropic", cb=answer)
    await worker.nc.subscribe(subjects.infer_control("cloud", "anthropic", "*"), cb=answer)
    await orchestrator.nc.subscribe(f"{inbox}.*", cb=hear)
    for member in (worker, orchestrator):
        await member.settle()
    # Of what each node does at its start something may be left for a moment.
    async with asyncio.timeout(60):
        while any(await _ways_back_of_a_lane(fleet)):
            await asyncio.sleep(0.1)
    for number in range(ATTEMPTS):
        await orchestrator.nc.publish(subjects.infer("cloud", "anthropic", "classify"), SECRET, f"{inbox}.{number}")
        await orchestrator.nc.publish(subjects.infer_control("cloud", "anthropic", "_all"), b"", f"{inbox}.{number}")
    async with asyncio.timeout(60):
        while len(answers) < 2 * ATTEMPTS:
            await asyncio.sleep(0.02)

    assert await _ways_back_of_a_lane(fleet) == [0, 0]


async def _ways_back_of_a_lane(fleet: Fleet) -> list[int]:
    return [await ways_back(fleet, account) for account in ("FLEET", "POOL.cloud.anthropic")]


async def ways_back(fleet: Fleet, account: str = "FLEET") -> int:
    """How many replies the server still expects to carry from an account to another."""
    found = await fleet.server.monitored(f"/accountz?acc={account}")
    return len(found["account_detail"].get("responses") or {})


async def test_a_client_without_credentials_is_the_default_tenant_on_loopback(fleet: Fleet):
    """
    With the tenant's permissions, and no more.
    """
    anonymous = await fleet.member(fleet.server.anonymous())

    acknowledged = json.loads((await anonymous.nc.request("tasks.classify", SECRET)).data)

    assert acknowledged["stream"] == "TASKS_default"
    assert not await anonymous.may_subscribe(">")
    assert not await anonymous.may_publish("$JS.API.STREAM.NAMES")


async def test_without_a_scope_for_them_clients_without_credentials_are_refused(tmp_path: Path):
    """
    As in production.
    """
    async with running_server(tmp_path, no_auth_scope=None) as server:
        stranger = Member(server.anonymous())
        with pytest.raises(nats.errors.Error, match=r"(?i)authorization"):
            await stranger.connect()
        await stranger.nc.close()
        member = Member(server.tenant("default"))
        await member.connect()
        assert await member.may_publish("tasks.classify")
        await member.nc.close()
