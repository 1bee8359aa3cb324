"""A store that the version before made becomes this one's: nothing is lost, whoever starts, and wherever they die."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from flotilla.contracts import subjects
from flotilla.fabric import keyvalue
from flotilla.fabric.connection import Connection, Message, connected
from flotilla.fabric.errors import TopologyError
from flotilla.fabric.inbox import Requests
from flotilla.fabric.stored import scan
from flotilla.provisioning.takeover import BATCH, make_stores
from flotilla.provisioning.topology import TopologyLimits, topology
from flotilla.testkit.nats_server import RunningServer, running_server
from flotilla.testkit.stores_before import (
    bury_before,
    commit_before,
    delete_before,
    make_stores_before,
    note_before,
    tell_before,
)

SCOPES = ("default", "acme")
DEAD = 4
Held = dict[str, Any]


class Died(BaseException):
    """A process that is gone."""


class Mortal(Requests):
    """
    An orchestrator's requests, of which one may be its last.

    Attributes:
        last: The number of that one.
        answered: Whether the server has done what it asked.
        made: How many there were.
        pause: How long each takes longer, in seconds.
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.last = 0
        self.answered = False
        self.made = 0
        self.pause: Callable[[], float] = lambda: 0.0

    async def request(self, subject: str, body: bytes = b"", **options: Any) -> Message:
        self.made += 1
        is_last = self.made == self.last
        if is_last and not self.answered:
            raise Died
        await asyncio.sleep(self.pause())
        message = await super().request(subject, body, **options)
        if is_last:
            raise Died
        return message


@pytest.fixture
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    """
    With both scopes in its configuration.
    """
    async with running_server(tmp_path_factory.mktemp("before"), scopes=SCOPES) as server:
        yield server


@pytest.fixture
async def admin(server: RunningServer) -> AsyncIterator[Requests]:
    """
    One that stands for the version before, and for an operator.
    """
    async with connected(server.admin(), name="before") as connection:
        requests = Requests(connection)
        await requests.start()
        yield requests
        await requests.stop()


@pytest.fixture
async def starting(server: RunningServer) -> AsyncIterator[list[Mortal]]:
    """
    Three orchestrators: their own permissions must suffice.
    """
    async with connected(server.orchestrator(), name="orchestrator") as connection:
        members = [Mortal(connection) for _ in range(3)]
        for member in members:
            await member.start()
        yield members
        for member in members:
            await member.stop()


async def _fill(admin: Requests, scopes: Sequence[str] = SCOPES, *, keys: int = 3) -> None:
    await make_stores_before(admin, scopes)
    for number in range(12):
        for scope in scopes:
            await note_before(admin, scope, "plan.state", {"step": number, "of": scope})
    for scope in scopes:
        for number in range(DEAD):
            await bury_before(admin, scope, f"bad-{number}")
        for number in range(keys):
            await note_before(admin, scope, f"key.{number}", number)
        await note_before(admin, scope, "gone", 1)
        await delete_before(admin, scope, "gone")
        await note_before(admin, scope, "short", "kept for an hour", ttl_s=3600)
        await tell_before(admin, scope, "t-1")
        await commit_before(admin, scope, "t-1")
        await admin.request(subjects.tasks(scope, "classify"), b"{}", headers={"Nats-Msg-Id": "t-2"})
    await admin.request("$KV.policy.routing", b'{"format":1}')


async def _streams(admin: Requests) -> set[str]:
    reply = await admin.request("$JS.API.STREAM.NAMES", b"")
    return set(msgspec.json.decode(reply.data)["streams"])


async def _held(admin: Requests, scope: str) -> Held:
    """What a scope's new stores hold, in order."""
    dead = await scan(admin, subjects.dead_stream(scope), subjects.dead(scope, "*", "*"), messages_max=10_000)
    bucket = subjects.blackboard_bucket(scope)
    histories = {
        key: [(entry.body, entry.deleted) for entry in await keyvalue.history(admin, bucket, key)]
        for key in await keyvalue.keys(admin, bucket, ">")
    }
    return {"dead": [(message.subject, message.body) for message in dead], "board": histories}


async def _expected(admin: Requests, scope: str) -> Held:
    """The same of the old ones."""
    dead = await scan(admin, "DEAD", subjects.dead(scope, "*", "*"), messages_max=10_000)
    histories = {
        key.removeprefix(f"{scope}."): [
            (entry.body, entry.deleted) for entry in await keyvalue.history(admin, "blackboard", key)
        ]
        for key in await keyvalue.keys(admin, "blackboard", f"{scope}.>")
    }
    return {"dead": [(message.subject, message.body) for message in dead], "board": histories}


async def _state(admin: Requests, stream: str) -> dict[str, int]:
    reply = await admin.request(f"$JS.API.STREAM.INFO.{stream}")
    state = msgspec.json.decode(reply.data)["state"]
    return {name: state[name] for name in ("messages", "first_seq", "last_seq")}


async def test_the_scopes_get_what_was_theirs_and_the_old_streams_go(admin: Requests, starting: list[Mortal]):
    """
    Records and values in their order, histories, deletions and lifetimes with them; tasks, results and policy untouched.
    """
    await _fill(admin)
    await admin.request(subjects.key("blackboard", "acme.by-hand"), b"1", headers={"Nats-TTL": "1h30m"})
    expected = {scope: await _expected(admin, scope) for scope in SCOPES}
    untouched = ("TASKS_default", "RESULTS_default", "TASKS_acme", "RESULTS_acme", "KV_policy")
    before = {stream: await _state(admin, stream) for stream in untouched}
    last_revision = (await _state(admin, "KV_blackboard"))["last_seq"]

    await make_stores(starting[0], SCOPES)

    assert await _streams(admin) == {config.name for config in topology(SCOPES)}
    assert {scope: await _held(admin, scope) for scope in SCOPES} == expected
    assert len(expected["acme"]["dead"]) == DEAD
    assert len(expected["acme"]["board"]["plan.state"]) == 10
    assert expected["acme"]["board"]["gone"][-1] == (b"", True)
    assert {stream: await _state(admin, stream) for stream in untouched} == before
    bucket = subjects.blackboard_bucket("acme")
    entries = [entry for key in expected["acme"]["board"] for entry in await keyvalue.history(admin, bucket, key)]
    assert min(entry.revision for entry in entries) > last_revision
    assert await keyvalue.put(admin, bucket, "plan.state", b"1", expected_revision=last_revision) is None
    short = await scan(admin, subjects.bucket_stream(bucket), subjects.key(bucket, "short"), messages_max=1)
    assert 3500 < int(short[0].headers["Nats-TTL"].removesuffix("s")) <= 3600
    by_hand = await scan(admin, subjects.bucket_stream(bucket), subjects.key(bucket, "by-hand"), messages_max=1)
    assert by_hand[0].headers["Nats-TTL"] == "1h30m"


async def test_starting_again_changes_nothing(admin: Requests, starting: list[Mortal]):
    """
    Nor what was written in the meantime.
    """
    await _fill(admin)
    await make_stores(starting[0], SCOPES)
    bucket = subjects.blackboard_bucket("default")
    await keyvalue.put(admin, bucket, "plan.state", b"newer")
    held = await _held(admin, "default")
    await make_stores(starting[1], SCOPES)

    assert await _held(admin, "default") == held


@pytest.mark.parametrize("answered", [True, False])
async def test_whoever_dies_in_the_middle_leaves_the_rest_to_the_next(
    admin: Requests,
    starting: list[Mortal],
    answered: bool,  # noqa: FBT001  (a parameter of the test)
):
    """
    Before any request, or between it and its answer; each start gets one further than the one before.
    """
    await _fill(admin)
    expected = {scope: await _expected(admin, scope) for scope in SCOPES}
    member = starting[0]
    member.answered = answered
    for member.last in range(1, 10_000):
        member.made = 0
        with suppress(Died):
            await make_stores(member, SCOPES)
            break

    assert member.last > 40
    assert {scope: await _held(admin, scope) for scope in SCOPES} == expected
    assert not await _streams(admin) & set(subjects.SHARED_BEFORE)


@pytest.mark.parametrize("seed", range(4))
async def test_several_that_start_at_once_copy_everything_once(admin: Requests, starting: list[Mortal], seed: int):
    """
    Each as slow as chance has it; who is done first serves, and what is written then is not overwritten by the others.
    """
    await _fill(admin, keys=BATCH + 20)
    expected = {scope: await _expected(admin, scope) for scope in SCOPES}
    chance = random.Random(seed)
    bucket = subjects.blackboard_bucket("default")

    async def start(member: Mortal) -> None:
        slow = chance.random() * 0.01
        member.pause = lambda: chance.random() * slow
        await make_stores(member, SCOPES)
        await keyvalue.put(member, bucket, "key.1", b"newer")

    await asyncio.gather(*(start(member) for member in starting))
    held = {scope: await _held(admin, scope) for scope in SCOPES}

    assert held["default"]["board"].pop("key.1")[1:] == [(b"newer", False)] * len(starting)
    del expected["default"]["board"]["key.1"]
    assert held == expected


async def test_orchestrators_of_different_scopes_take_their_own(admin: Requests, starting: list[Mortal]):
    """
    What is another's stays where it is until that one starts.
    """
    await _fill(admin)
    expected = {scope: await _expected(admin, scope) for scope in SCOPES}
    await make_stores(starting[0], ("default",))

    assert await _held(admin, "default") == expected["default"]
    assert await _expected(admin, "acme") == expected["acme"]
    await make_stores(starting[1], ("acme",))
    assert await _held(admin, "acme") == expected["acme"]
    assert not await _streams(admin) & set(subjects.SHARED_BEFORE)


@pytest.mark.parametrize(
    "limits",
    [TopologyLimits(blackboard_values_max=9), TopologyLimits(blackboard_bytes_max=1500)],
    ids=["count", "bytes"],
)
async def test_a_blackboard_that_does_not_fit_is_refused_before_anything_changes(
    admin: Requests, starting: list[Mortal], limits: TopologyLimits
):
    """
    In one line that says what to do; with larger bounds it starts.
    """
    await _fill(admin)
    before = await _streams(admin)
    with pytest.raises(TopologyError, match="start with larger FLOTILLA_BLACKBOARD_VALUES_MAX") as refused:
        await make_stores(starting[0], SCOPES, limits)
    assert "\n" not in str(refused.value)
    assert await _streams(admin) == before
    await note_before(admin, "default", "still", "written by the version before")
    expected = await _expected(admin, "default")

    await make_stores(starting[0], SCOPES)

    assert await _held(admin, "default") == expected
