"""What is no policy never takes the place of one: not in orchestrators that run, and not in those that start."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from flotilla.contracts import subjects
from flotilla.contracts.api_routing import PolicyHistory, PolicyQuery, PolicyReply
from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorKind
from flotilla.contracts.headers import DataClass
from flotilla.contracts.policy import FORMAT
from flotilla.contracts.presence import ModelCard, ReplicaCard
from flotilla.fabric import keyvalue
from flotilla.fabric.connection import connected
from flotilla.fabric.inbox import Requests
from flotilla.provisioning.streams import ensure
from flotilla.provisioning.topology import TopologyLimits, topology
from flotilla.routing.router import PolicyRouter
from flotilla.testkit.fleet import running_fleet
from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.plain_client import BODIES, Json, PlainClient, eventually
from orchestrator.api.policy_handlers import PolicyHandlers
from orchestrator.api.requests import ApiRequest
from orchestrator.execution.death_notes import DeathNotes
from orchestrator.policy_and_health.configured_policy import FILE_KEY, put_in_force
from orchestrator.policy_and_health.health import HealthBoard, PolicyNotUnderstoodError
from orchestrator.policy_and_health.policy_documents import POLICY_KEY, Source, source_of, stored
from orchestrator.state.fleet import Fleet

BUCKET = subjects.POLICY_BUCKET
HISTORY = 10
STRICT = '[default]\ndata_classes = ["restricted"]\nroutes = [{ pool = "local" }]\n'
OTHER = '[default]\nroutes = [{ pool = "cloud" }]\n'
ACK = b'{"stream":"KV_policy","seq":3}'
NOTHING = [ACK, b"", b"{}", b"null", b"[]", b'"x"', b"\xff\xfe", b"{", b'{"format":null}', b'{"format":"1"}']
BROKEN = [
    b'{"format":1,"default":{"return_after_s":-1}}',
    b'{"format":1,"capabilities":[]}',
    b'{"format":1,"scopes":7}',
]
NEWER = b'{"format":%d}' % (FORMAT + 1)


class Bucket:
    """The bucket, and orchestrators that follow it."""

    def __init__(self, server: RunningServer, requests: Requests, operator: Requests) -> None:
        self._server = server
        self.requests = requests
        self.operator = operator

    async def put(self, body: bytes, key: str = POLICY_KEY) -> int:
        revision = await keyvalue.put(self.operator, BUCKET, key, body)
        assert revision is not None
        return revision

    async def set(self, toml: str) -> int:
        return await self.put(stored(Source(toml=toml, author="me")))

    async def newest(self) -> str:
        entry = await keyvalue.get(self.requests, BUCKET, POLICY_KEY)
        return "" if entry is None else source_of(entry.body).toml

    @asynccontextmanager
    async def orchestrator(self) -> AsyncGenerator[tuple[HealthBoard, PolicyRouter]]:
        """One that has started."""
        async with AsyncExitStack() as stack:
            connection = await stack.enter_async_context(connected(self._server.orchestrator(), name="o"))
            requests = Requests(connection)
            await requests.start()
            stack.push_async_callback(requests.stop)
            router = PolicyRouter("o")
            board = HealthBoard(connection, requests, router, DeathNotes(connection))
            stack.push_async_callback(board.stop)
            await board.start()
            yield board, router


@pytest.fixture
async def bucket(nats_server: RunningServer) -> AsyncIterator[Bucket]:
    """
    Of a fleet that has only just been made.
    """
    async with AsyncExitStack() as stack:
        found: list[Requests] = []
        for settings in (nats_server.orchestrator(), nats_server.admin()):
            requests = Requests(await stack.enter_async_context(connected(settings, name="test")))
            await requests.start()
            stack.push_async_callback(requests.stop)
            found.append(requests)
        await ensure(found[0], topology(("default",), TopologyLimits()))
        yield Bucket(nats_server, *found)


def is_strict(router: PolicyRouter) -> bool:
    """Whether a router follows the first policy."""
    return router.rules_of("classify").data_classes == frozenset[DataClass](("restricted",))


@pytest.mark.parametrize("body", NOTHING)
async def test_what_was_never_meant_as_a_policy_changes_nothing_and_is_written_over(bucket: Bucket, body: bytes):
    """
    Otherwise more of it would push the policy out of the key's history, and whoever starts then would have none.
    """
    revision = await bucket.set(STRICT)
    seen: list[tuple[str, str]] = []
    async with bucket.orchestrator() as (board, router):
        board.on_unreadable = lambda what, key: seen.append((what, key))
        for _ in range(HISTORY + 2):
            await bucket.put(body)
            await eventually(lambda: _is(bucket, STRICT))
        assert is_strict(router)
        assert board.policy_revision > revision
        assert {("policy", POLICY_KEY)} == set(seen)
    async with bucket.orchestrator() as (_, router):
        assert is_strict(router)


async def _is(bucket: Bucket, toml: str) -> bool:
    return await bucket.newest() == toml


@pytest.mark.parametrize("body", [*NOTHING, *BROKEN])
async def test_whoever_starts_goes_back_to_the_last_that_was_a_policy(bucket: Bucket, body: bytes):
    """
    Nobody ran when it was written. What another version may have meant as a policy is left where it is.
    """
    await bucket.set(OTHER)
    revision = await bucket.set(STRICT)
    for _ in range(HISTORY - 2):
        await bucket.put(body)

    async with bucket.orchestrator() as (board, router):
        assert is_strict(router)
        assert board.policy_revision >= revision
        newest = await keyvalue.get(bucket.requests, BUCKET, POLICY_KEY)
        assert newest is not None
        assert (body in BROKEN) == (newest.body == body)


@pytest.mark.parametrize("body", BROKEN)
async def test_a_policy_that_is_broken_leaves_the_one_in_force_and_is_not_written_over(bucket: Bucket, body: bytes):
    """
    It may be right for another version.
    """
    revision = await bucket.set(STRICT)
    async with bucket.orchestrator() as (board, router):
        broken = await bucket.put(body)
        await eventually(lambda: _unreadable(board))
        assert is_strict(router)
        assert board.policy_revision == revision
        entry = await keyvalue.get(bucket.requests, BUCKET, POLICY_KEY)
        assert entry is not None
        assert entry.revision == broken
        await keyvalue.delete(bucket.operator, BUCKET, POLICY_KEY)
        await eventually(lambda: _none(router))


async def _unreadable(board: HealthBoard) -> bool:
    return POLICY_KEY in board.policy.undecodable


async def _none(router: PolicyRouter) -> bool:
    return not is_strict(router)


@pytest.mark.parametrize("bodies", [[ACK], [ACK] * (HISTORY + 1), [NEWER], [NEWER, ACK]])
async def test_without_a_policy_that_can_be_read_nobody_starts(bucket: Bucket, bodies: list[bytes]):
    """
    The bucket says that there was one. The error says what to do.
    """
    if len(bodies) > 1:
        await bucket.set(STRICT)
    for body in bodies:
        await bucket.put(body)

    with pytest.raises(PolicyNotUnderstoodError) as refused:
        async with bucket.orchestrator():
            pass

    assert "delete the key `routing`" in str(refused.value)


async def test_a_deletion_is_an_operators_word_and_what_is_written_behind_it_brings_nothing_back(bucket: Bucket):
    """
    The policy before it was in force no more.
    """
    await bucket.set(STRICT)
    await keyvalue.delete(bucket.operator, BUCKET, POLICY_KEY)
    async with bucket.orchestrator() as (board, _):
        assert board.policy_revision == 0
    await bucket.put(ACK)

    with pytest.raises(PolicyNotUnderstoodError):
        async with bucket.orchestrator():
            pass


async def test_a_bucket_that_was_emptied_leaves_the_policy_in_force(bucket: Bucket):
    """
    Nobody has deleted it: a store that was lost, or purged, does not open what was closed. A new one counts.
    """
    await bucket.set(STRICT)
    async with bucket.orchestrator() as (board, router):
        await bucket.operator.request(f"$JS.API.STREAM.PURGE.{subjects.bucket_stream(BUCKET)}")
        board.policy.listed.clear()
        board.policy._relist_due.set()  # pyright: ignore[reportPrivateUsage]
        await board.policy.listed.wait()
        assert is_strict(router)
        await bucket.set(OTHER)
        await eventually(lambda: _none(router))


async def test_the_file_takes_the_place_of_what_is_no_policy_where_none_is_left(bucket: Bucket):
    """
    A fleet with a file is never without a policy; one that is in the history still counts before the file.
    """
    await put_in_force(bucket.requests, STRICT, instance="o")
    await bucket.set(OTHER)
    await bucket.put(ACK)
    await put_in_force(bucket.requests, STRICT, instance="o")
    kept = await keyvalue.get(bucket.requests, BUCKET, POLICY_KEY)
    for _ in range(HISTORY):
        await bucket.put(ACK)
    await put_in_force(bucket.requests, STRICT, instance="o")

    assert kept is not None
    assert kept.body == ACK
    assert await bucket.newest() == STRICT


@pytest.mark.parametrize("count", [1, HISTORY + 1])
async def test_what_stands_in_the_place_of_the_files_record_does_not_make_the_file_new(bucket: Bucket, count: int):
    """
    It would undo what somebody has set by hand since.
    """
    await put_in_force(bucket.requests, STRICT, instance="o")
    await bucket.set(OTHER)
    for _ in range(count):
        await bucket.put(ACK, FILE_KEY)
    await put_in_force(bucket.requests, STRICT, instance="o")

    assert await bucket.newest() == OTHER


async def test_no_version_that_is_no_policy_is_gone_back_to(bucket: Bucket):
    """
    Its text is empty, and an empty text is a policy that says nothing.
    """
    revision = await bucket.set(STRICT)
    by_hand = await bucket.put(b'{"format":1}')
    garbage = await bucket.put(ACK)
    handlers = _handlers(bucket)

    history = await handlers.answer(_asking(PolicyQuery(verb="history")))
    assert isinstance(history, PolicyHistory)
    assert [by_hand, revision] == [version.revision for version in history.versions]
    for wanted in (garbage, by_hand):
        with pytest.raises(TaskError):
            await handlers.answer(_asking(PolicyQuery(verb="rollback", revision=wanted)))
    back = await handlers.answer(_asking(PolicyQuery(verb="rollback", revision=revision)))
    assert isinstance(back, PolicyReply)
    assert await bucket.newest() == STRICT


def _here(by: str) -> str:
    """A policy that the live pool serves, told from others by its comment."""
    return f'# {by}\n[default]\nroutes = [{{ pool = "local" }}]\n'


@pytest.mark.parametrize(
    ("writes", "goes_to"),
    [
        ([_here("a"), _here("b")], _here("a")),
        ([_here("a"), OTHER], _here("a")),
        ([_here("a"), OTHER, _here("b")], _here("a")),
        ([_here("a"), _here("b"), _here("b")], _here("a")),
        ([_here("a"), _here("b"), _here("a")], _here("b")),
        ([_here("a"), None], _here("a")),
        ([_here("a"), None, _here("b")], ""),
        ([OTHER], ""),
        ([OTHER, _here("a")], ""),
        ([_here("a")], ""),
        ([None], ""),
    ],
)
async def test_a_rollback_goes_to_the_last_good_policy_or_to_none(
    bucket: Bucket, writes: list[str | None], goes_to: str
):
    """
    Not to one that leaves what is served now without a route, nor to the same text again; None deletes the policy.
    """
    for toml in writes:
        if toml is None:
            await keyvalue.delete(bucket.operator, BUCKET, POLICY_KEY)
        else:
            await bucket.set(toml)
    handlers = _handlers(bucket, _fleet_of_local())

    back = await handlers.answer(_asking(PolicyQuery(verb="rollback")))

    assert isinstance(back, PolicyReply)
    assert bool(goes_to) == bool(back.revision)
    newest = await keyvalue.get(bucket.requests, BUCKET, POLICY_KEY)
    assert newest is not None
    assert newest.deleted == (goes_to == "")
    assert goes_to == await bucket.newest()


async def test_no_rollback_goes_to_none_where_older_policies_were_forgotten(bucket: Bucket):
    """
    What was in force before them is not known, and none at all may allow what they all forbade.
    """
    for _ in range(HISTORY):
        await bucket.set(OTHER)
    handlers = _handlers(bucket, _fleet_of_local())

    with pytest.raises(TaskError, match="flotilla policy unset") as refused:
        await handlers.answer(_asking(PolicyQuery(verb="rollback")))

    assert refused.value.kind is ErrorKind.NOT_FOUND
    assert OTHER == await bucket.newest()


async def test_a_policy_that_leaves_a_capability_without_a_route_is_set_by_force_alone(bucket: Bucket):
    """
    By `set` and by `rollback` to a revision of one's choice; `check` warns of it.
    """
    gone = await bucket.set(OTHER)
    kept = await bucket.set(_here("a"))
    handlers = _handlers(bucket, _fleet_of_local())

    for query in (PolicyQuery(verb="set", toml=OTHER), PolicyQuery(verb="rollback", revision=gone)):
        with pytest.raises(TaskError, match="classify without a live route") as refused:
            await handlers.answer(_asking(query))
        assert refused.value.kind is ErrorKind.NO_ROUTE
        assert ["classify"] == refused.value.details["unserved"]
        assert _here("a") == await bucket.newest()
    checked = await handlers.answer(_asking(PolicyQuery(verb="check", toml=OTHER)))
    forced = await handlers.answer(_asking(PolicyQuery(verb="set", toml=OTHER, force=True)))

    assert isinstance(checked, PolicyReply)
    assert isinstance(forced, PolicyReply)
    assert any(warning.startswith("classify: no live route") for warning in checked.warnings)
    assert forced.warnings == checked.warnings
    assert forced.revision > kept
    assert OTHER == await bucket.newest()


async def test_none_can_be_expected_after_a_policy_was_unset(bucket: Bucket):
    """
    A deletion counts as none; unsetting twice is no error, but not what somebody else has put in force meanwhile.
    """
    handlers = _handlers(bucket)
    first = await bucket.set(STRICT)
    for expected in (0, first + 1):
        with pytest.raises(TaskError) as refused:
            await handlers.answer(_asking(PolicyQuery(verb="unset", expected_revision=expected)))
        assert refused.value.kind is ErrorKind.CONFLICT
    for expected in (first, None, 0):
        unset = await handlers.answer(_asking(PolicyQuery(verb="unset", expected_revision=expected)))
        assert unset == PolicyReply(revision=0)

    done = await handlers.answer(_asking(PolicyQuery(verb="set", toml=OTHER, expected_revision=0)))

    assert isinstance(done, PolicyReply)
    assert done.revision > first
    with pytest.raises(TaskError):
        await handlers.answer(_asking(PolicyQuery(verb="set", toml=STRICT, expected_revision=0)))


async def test_the_history_says_when_there_was_no_policy(bucket: Bucket):
    """
    Between those that there were, and who wanted none; an `unset` is nothing to go back to.
    """
    handlers = _handlers(bucket)
    first = await bucket.set(STRICT)
    await handlers.answer(_asking(PolicyQuery(verb="unset", author="ann")))
    last = await bucket.set(OTHER)

    history = await handlers.answer(_asking(PolicyQuery(verb="history")))

    assert isinstance(history, PolicyHistory)
    unset = history.versions[1]
    assert [(last, True, False), (unset.revision, False, True), (first, False, False)] == [
        (version.revision, version.in_force, version.unset) for version in history.versions
    ]
    assert "ann" == unset.author
    assert unset.at_unix_ms > 0
    with pytest.raises(TaskError):
        await handlers.answer(_asking(PolicyQuery(verb="rollback", revision=unset.revision)))


async def test_an_orchestrator_that_cannot_read_the_policy_ends_with_one_line_that_says_what_to_do(tmp_path: Path):
    """
    One that runs serves on meanwhile, by the policy that was in force.
    """
    async with running_fleet(tmp_path, local=1, cloud=1) as fleet:
        client, admin = await fleet.client(), await fleet.admin()
        await admin.nc.request(subjects.key(BUCKET, POLICY_KEY), stored(Source(toml=STRICT)))
        body = BODIES["classify"]
        refused = await _until_refused(client, body)
        await admin.nc.request(subjects.key(BUCKET, POLICY_KEY), NEWER)
        late = await fleet.start_orchestrator("late", wait=False)
        code = await asyncio.wait_for(late.wait(), 60)
        still = await client.ask("classify", body)
        served = await client.ask("classify", body, headers={"Flotilla-Data-Class": "restricted"})

    assert refused == "no_route"
    assert code == 1
    lines = [line for line in late.log_text().splitlines() if '"event": "stopped"' in line]
    assert 1 == len(lines)
    assert "flotilla policy set" in lines[0]
    assert still.kind == "no_route"
    assert served.result["status"] == "ok"


def _handlers(bucket: Bucket, fleet: Fleet | None = None) -> PolicyHandlers:
    return PolicyHandlers(
        bucket.requests,
        instance="o",
        router=PolicyRouter("o"),
        fleet=fleet or Fleet(),
        pipelines=frozenset({"a-pipeline"}),
        policy_scopes=frozenset(),
    )


def _fleet_of_local() -> Fleet:
    """A live pool `local` that serves classify."""
    fleet = Fleet()
    model = ModelCard(name="m", capabilities=["classify"])
    card = ReplicaCard(zone="local", pool="local", replica="one", provider="noop", models=[model], slots=1)
    fleet.on_card("local.local.one", card)
    return fleet


def _asking(query: PolicyQuery) -> ApiRequest:
    return ApiRequest(scope="default", verb="policy", body=msgspec.json.encode(query), from_tenant=False)


async def _until_refused(client: PlainClient, body: Json) -> str:
    """The kind of error, once the policy counts."""
    async with asyncio.timeout(60):
        while not (kind := (await client.ask("classify", body)).kind):
            pass
    return kind
