"""API requests about streams that hold more than is read at a time; the bounds are made small instead of the streams long."""

import json
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from flotilla.contracts import subjects
from flotilla.contracts.api import DeadList, TaskStatus
from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorBody, ErrorKind
from flotilla.contracts.headers import TASK_ID
from flotilla.contracts.results import DeadRecord, Result, encode
from flotilla.fabric import stored
from flotilla.fabric.connection import Connection, Message, connected
from flotilla.fabric.errors import FabricError
from flotilla.fabric.inbox import Requests
from flotilla.fabric.jetstream_api import stream_info, stream_update
from flotilla.fabric.publish_outcomes import Stored
from flotilla.provisioning.streams import ensure
from flotilla.provisioning.topology import TopologyLimits, topology
from flotilla.testkit.nats_server import RunningServer
from orchestrator.api import dead_letter_handlers, task_handlers
from orchestrator.api.dead_letter_handlers import DeadLetterHandlers
from orchestrator.api.requests import ApiRequest
from orchestrator.api.task_handlers import TaskHandlers
from orchestrator.api.turns import Turns
from orchestrator.approvals.gate import Gate
from orchestrator.approvals.suspensions import Suspensions
from orchestrator.state.fleet import Fleet
from orchestrator.state.unreadable_stored import UnreadableStored
from orchestrator.ways_in.commits import Commits


@pytest.fixture
async def connection(nats_server: RunningServer) -> AsyncIterator[Connection]:
    """
    Of an orchestrator.
    """
    async with connected(nats_server.orchestrator(), name="orchestrator") as connection:
        yield connection


@pytest.fixture
async def requests(connection: Connection) -> AsyncIterator[Requests]:
    """
    Of an orchestrator that serves two scopes.
    """
    requests = Requests(connection)
    await requests.start()
    await ensure(requests, topology(("default", "acme"), TopologyLimits()))
    yield requests
    await requests.stop()


def handlers(connection: Connection, requests: Requests, commits: Commits) -> TaskHandlers:
    """
    Of an orchestrator that holds no task, so that every one waits in the stream.
    """
    return TaskHandlers(
        connection,
        requests,
        instance="o1",
        fleet=Fleet(),
        dispatcher=cast("Any", None),
        executors=cast("Any", None),
        commits=commits,
        durables={},
        suspensions=Suspensions(requests, payload_bytes_max=connection.payload_bytes_max),
        gate=Gate(cast("Any", None), cast("Any", None), _nothing_pending),
        walks=Turns(places=1, per_scope_max=1),
        needs=cast("Any", None),
    )


@pytest.fixture
async def tasks(connection: Connection, requests: Requests) -> TaskHandlers:
    """
    With nothing between a look and a commit.
    """
    return handlers(connection, requests, Commits(requests, UnreadableStored(_ignore)))


class _Overtaken(Commits):
    """
    Somebody else's result is committed between the first look and the commit.
    """

    other: Result | None = None

    async def find(self, scope: str, task_id: str, capability: str = "*") -> Result | None:
        found = await super().find(scope, task_id, capability)
        if found is None and self.other is not None:
            await super().commit(scope, self.other)
        return found


class _Impatient(Commits):
    """
    Gives a commit up at once.
    """

    async def commit(self, scope: str, result: Result, *, patience_s: float = 0.1) -> Stored:
        return await super().commit(scope, result, patience_s=min(0.1, patience_s))


@pytest.fixture
def _short_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "SCAN_BATCH", 4)
    monkeypatch.setattr(dead_letter_handlers, "DEAD_STEP_MAX", 8)


@pytest.mark.usefixtures("_short_steps")
@pytest.mark.parametrize("limit", [1, 7, 60])
async def test_the_dead_that_are_listed_are_the_newest(requests: Requests, limit: int):
    """
    Newest first, however many steps that takes, and none of another scope.
    """
    for number in range(40):
        await _bury(requests, "default", f"t{number}")
        await _bury(requests, "acme", f"other{number}")
    for number in range(30):
        await _bury(requests, "acme", f"later{number}")

    listed = await _list(requests, limit)

    assert [entry.task for entry in listed.dead] == [f"t{number}" for number in reversed(range(40))][:limit]


async def test_no_more_of_the_dead_is_read_than_is_listed(requests: Requests, monkeypatch: pytest.MonkeyPatch):
    """
    Their bodies may be large, and of the older ones nothing is wanted.
    """
    for number in range(50):
        await _bury(requests, "default", f"t{number}")
    read = _count_read(monkeypatch, requests)
    listed = await _list(requests, 5)

    assert len(listed.dead) == 5
    assert sum(read) == 5


async def test_dead_that_lie_too_far_back_are_not_listed(requests: Requests, monkeypatch: pytest.MonkeyPatch):
    """
    The walk back has an end.
    """
    monkeypatch.setattr(dead_letter_handlers, "DEAD_WALKED_BACK_MAX", 10)
    for number in range(15):
        await _bury(requests, "default", f"t{number}")
    listed = await _list(requests, 50)

    assert [entry.task for entry in listed.dead] == [f"t{number}" for number in reversed(range(5, 15))]


async def test_a_list_of_the_dead_fits_into_one_message(requests: Requests, monkeypatch: pytest.MonkeyPatch):
    """
    The newest entries that do are given.
    """
    monkeypatch.setattr(dead_letter_handlers, "DEAD_LIST_BYTES_MAX", 1000)
    for number in range(30):
        await _bury(requests, "default", f"t{number}")
    listed = await _list(requests, 30)

    assert 0 < len(listed.dead) < 30
    assert listed.dead[0].task == "t29"
    assert len(encode(listed)) < 1100


@pytest.mark.usefixtures("_short_steps")
@pytest.mark.parametrize("number", [0, 5, 29])
async def test_a_waiting_task_is_found_behind_many_others(requests: Requests, tasks: TaskHandlers, number: int):
    """
    By an id of the caller's own, for which the stream has no index; found, it can be cancelled.
    """
    for each in range(30):
        await _submit(requests, f"t{each}")
    status = await tasks.status(_question("status", f'{{"task":"t{number}"}}'))
    cancelled = await tasks.cancel(_question("cancel", f'{{"task":"t{number}"}}'))

    assert isinstance(status, TaskStatus)
    assert (status.state, status.capability) == ("waiting", "classify")
    assert cancelled.was == "waiting"


@pytest.mark.parametrize("kind", [ErrorKind.PROVIDER_FAILED, ErrorKind.CANCELLED])
async def test_a_task_that_ends_while_it_is_cancelled_is_told_as_it_ended(
    connection: Connection, requests: Requests, kind: ErrorKind
):
    """
    Only one that was cancelled counts as cancelled.
    """
    commits = _Overtaken(requests, UnreadableStored(_ignore))
    error = ErrorBody(kind=kind, message="as it ended")
    commits.other = Result(task="t1", capability="classify", status="failed", error=error)
    await _submit(requests, "t1")
    cancel = handlers(connection, requests, commits).cancel(_question("cancel", '{"task":"t1"}'))

    if kind is ErrorKind.CANCELLED:
        assert "waiting" == (await cancel).was
    else:
        with pytest.raises(TaskError, match="over already") as refused:
            await cancel
        assert ErrorKind.NOT_FOUND is refused.value.kind
    assert error == (await commits.find("default", "t1", "classify") or commits.other).error


async def test_a_cancel_that_cannot_be_committed_is_no_cancel(connection: Connection, requests: Requests):
    """
    The task stays in its stream, and the caller is not told that it is over.
    """
    commits = _Impatient(requests, UnreadableStored(_ignore))
    await _submit(requests, "t1")
    results = subjects.results_stream("default")
    info = json.loads((await requests.request(stream_info(results), b"")).data)
    await requests.request(stream_update(results), json.dumps(info["config"] | {"sealed": True}).encode())
    with pytest.raises(FabricError):
        await handlers(connection, requests, commits).cancel(_question("cancel", '{"task":"t1"}'))

    waiting = await handlers(connection, requests, commits).status(_question("status", '{"task":"t1"}'))
    assert isinstance(waiting, TaskStatus)
    assert "waiting" == waiting.state


async def test_of_a_task_behind_too_many_others_it_is_said_that_nothing_is_known(
    requests: Requests, tasks: TaskHandlers, monkeypatch: pytest.MonkeyPatch
):
    """
    Neither that it waits nor that there is none: it can be asked about again when fewer wait.
    """
    monkeypatch.setattr(task_handlers, "WAITING_LOOKED_AT_MAX", 10)
    for number in range(10):
        await _submit(requests, f"t{number}")
    absent = await _refusals(tasks, "t10")
    await _submit(requests, "t10")
    unseen = await _refusals(tasks, "t10")

    assert [error.kind for error in absent] == [ErrorKind.NOT_FOUND] * 2
    assert [error.kind for error in unseen] == [ErrorKind.BACKLOG_FULL] * 2
    assert all(error.body.retryable for error in unseen)
    assert unseen[0].details == {"task": "t10", "looked_at": 10}


@pytest.mark.usefixtures("_short_steps")
async def test_the_search_for_a_waiting_task_holds_one_batch_at_a_time(
    requests: Requests, tasks: TaskHandlers, monkeypatch: pytest.MonkeyPatch
):
    """
    Their bodies may be large: each batch is dropped before the next is asked for, and none is after the task is found.
    """
    for number in range(30):
        await _submit(requests, f"t{number}")
    read = _count_read(monkeypatch, requests)
    await tasks.status(_question("status", '{"task":"t8"}'))

    assert read == [1, 2, 4, 4]


async def _refusals(tasks: TaskHandlers, task: str) -> list[TaskError]:
    """How `status` and `cancel` refuse it."""
    body = f'{{"task":"{task}"}}'
    with pytest.raises(TaskError) as status:
        await tasks.status(_question("status", body))
    with pytest.raises(TaskError) as cancel:
        await tasks.cancel(_question("cancel", body))
    return [status.value, cancel.value]


async def _submit(requests: Requests, task: str) -> None:
    await requests.request(subjects.tasks("default", "classify"), b"{}", headers={TASK_ID: task})


async def _list(requests: Requests, limit: int) -> DeadList:
    dead = DeadLetterHandlers(requests, Turns(places=1, per_scope_max=1), UnreadableStored(_ignore))
    answer = await dead.answer(_question("dead", f'{{"verb":"list","limit":{limit}}}'))
    assert isinstance(answer, DeadList)
    return answer


def _question(verb: str, body: str) -> ApiRequest:
    return ApiRequest(scope="default", verb=verb, body=body.encode(), from_tenant=False)


async def _bury(requests: Requests, scope: str, task: str) -> None:
    record = DeadRecord(
        task=task,
        scope=scope,
        capability="classify",
        error=ErrorBody(kind=ErrorKind.NO_ROUTE, message="nobody may"),
        at_unix_ms=1,
        subject=subjects.tasks(scope, "classify"),
        headers={},
        body=b"{}",
    )
    await requests.request(subjects.dead(scope, "classify", task), encode(record))


def _count_read(monkeypatch: pytest.MonkeyPatch, requests: Requests) -> list[int]:
    """The numbers of messages that came with each batch from now on."""
    read: list[int] = []
    collect = requests.collect

    async def counted(*arguments: object, **options: object) -> tuple[list[Message], Message]:
        found, last = await collect(*arguments, **options)  # pyright: ignore[reportArgumentType]  # passed on as they came
        read.append(len(found))
        return found, last

    monkeypatch.setattr(requests, "collect", counted)
    return read


async def _nothing_pending(_scope: str, _task: str) -> list[str]:
    return []


def _ignore(_what: str) -> None:
    """Nothing that cannot be read stands here."""
