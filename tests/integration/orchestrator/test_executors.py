"""A capability that no pool serves: an executor in the orchestrator runs its tasks, and everything else is as with pools."""

import asyncio
import json
import time
from collections.abc import Sequence

from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorKind
from flotilla.contracts.results import Result
from flotilla.fabric.consumers import consumer_exists
from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.orchestrator_here import (
    COUNTERSIGN,
    DOCUMENT,
    SteeredExecutor,
    running_orchestrator,
    signed,
    until,
)
from flotilla.testkit.plain_client import new_task
from orchestrator.execution.executors import Executor
from orchestrator.execution.task_reports import TaskReports
from orchestrator.state.attempt import OnPiece
from orchestrator.state.tasks import Task


class Countersigner(SteeredExecutor):
    """Every task waits until it is let go, is cancelled, or its deadline passes."""

    def __init__(self, *, capacity: int) -> None:
        super().__init__(self._sign, capacity=capacity)
        self.let_go = asyncio.Event()

    async def _sign(self, task: Task, on_piece: OnPiece | None) -> Result:
        ends = [asyncio.ensure_future(each.wait()) for each in (self.let_go, task.cancelled)]
        left_s = task.deadline_at - time.monotonic()
        try:
            await asyncio.wait(ends, timeout=max(0.0, left_s), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
        if task.cancelled.is_set():
            raise TaskError(ErrorKind.CANCELLED, "cancelled by the caller")
        if left_s <= 0 or not self.let_go.is_set():
            raise TaskError(ErrorKind.DEADLINE_EXCEEDED, "nobody signed in time")
        if on_piece is not None:
            await on_piece("signed")
        return signed(task)


class Remembering:
    """A cache before another executor: an input that was answered before is not run again."""

    def __init__(self, inner: Executor, reports: TaskReports) -> None:
        self.capabilities = inner.capabilities
        self.capacity = inner.capacity
        self.total_capacity = inner.total_capacity
        self.known: dict[bytes, Result] = {}
        self._inner = inner
        self._reports = reports

    async def run(self, task: Task, on_piece: OnPiece | None = None) -> Result:
        """See `Executor`."""
        body = task.body
        if body in self.known:
            return await self._reports.of(task, _at_once(signed(task)))
        result = self.known[body] = await self._inner.run(task, on_piece)
        return result


async def _at_once(result: Result) -> Result:
    return result


async def test_durable_tasks_reach_it_and_no_more_than_it_can_take(nats_server: RunningServer):
    """
    The sweep makes its consumers; of a backlog no more is pulled than its capacity; each task has its one result.
    """
    signer = Countersigner(capacity=3)
    async with running_orchestrator(nats_server, signer.of) as fleet:
        client = fleet.client
        tasks = [new_task() for _ in range(12)]
        async with client.hearing("results.>") as results:
            await client.submit_many(COUNTERSIGN, DOCUMENT, tasks)
            await until(lambda: len(signer.running) == 3)
            status = await client.api("status", {"task": next(iter(signer.running))})
            held = await fleet.admin.unacknowledged_in("TASKS_default")
            signer.let_go.set()
            await results.until(lambda heard: set(heard.counts()) == set(tasks))
            await fleet.admin.until_empty("TASKS_default")
        consumers = [
            await consumer_exists(fleet.requests, scope="default", capability=COUNTERSIGN, priority=priority)
            for priority in ("high", "normal", "low")
        ]
        dead = await client.api("dead")
        ended = fleet.ended(capability=COUNTERSIGN, path="durable", outcome="ok")

    assert ("running", COUNTERSIGN) == (status["state"], status["capability"])
    assert 3 == held
    assert 3 == signer.most
    assert dict.fromkeys(tasks, 1) == results.counts()
    assert {json.dumps({"signed": task}) for task in tasks} == {json.dumps(body["output"]) for body in results.bodies()}
    assert [True, True, True] == consumers
    assert [] == dead["dead"]
    assert len(tasks) == ended


async def test_asks_reach_it_with_their_pieces(nats_server: RunningServer):
    """
    As any ask: accepted, answered, streamed; a second one of the same id is refused while the first is held.
    """
    signer = Countersigner(capacity=1)
    async with running_orchestrator(nats_server, signer.of) as fleet:
        client = fleet.client
        asking = asyncio.ensure_future(
            client.ask(COUNTERSIGN, DOCUMENT, headers={"Nats-Msg-Id": "a1", "Flotilla-Stream": "true"})
        )
        await until(lambda: "a1" in signer.running)
        again = await client.ask(COUNTERSIGN, DOCUMENT, headers={"Nats-Msg-Id": "a1"})
        signer.let_go.set()
        answer = await asking
        ended = fleet.ended(capability=COUNTERSIGN, path="interactive", outcome="ok")

    assert "bad_request" == again.kind
    assert {"signed": "a1"} == answer.result["output"]
    assert ["signed"] == [piece["text"] for piece in answer.pieces]
    assert 1 == ended


async def test_its_tasks_are_cancelled_like_any(nats_server: RunningServer):
    """
    One that it runs ends at once, with its result and without a dead letter.
    """
    signer = Countersigner(capacity=1)
    async with running_orchestrator(nats_server, signer.of) as fleet:
        client, task = fleet.client, new_task()
        async with client.hearing("results.>") as results:
            await client.submit(COUNTERSIGN, DOCUMENT, task=task)
            await until(lambda: task in signer.running)
            cancelled = await client.api("cancel", {"task": task})
            result = await results.result(task)
        dead = await client.api("dead")

    assert "running" == cancelled["was"]
    assert "cancelled" == result["error"]["kind"]
    assert [] == dead["dead"]


async def test_without_capacity_nothing_is_pulled_and_deadlines_pass_in_the_stream(nats_server: RunningServer):
    """
    What waits longer is served once there is capacity again.
    """
    signer = Countersigner(capacity=0)
    async with running_orchestrator(nats_server, signer.of) as fleet:
        client = fleet.client
        signer.let_go.set()
        hasty, patient = new_task(), new_task()
        async with client.hearing("results.>") as results:
            await client.submit(COUNTERSIGN, DOCUMENT, task=hasty, headers={"Flotilla-Deadline-Ms": "300"})
            await client.submit(COUNTERSIGN, DOCUMENT, task=patient)
            expired = await results.result(hasty)
            ran_before = [task for task in signer.ran if task != hasty]
            signer.limit = 1
            served = await results.result(patient)

    assert "deadline_exceeded" == expired["error"]["kind"]
    assert [] == ran_before
    assert "ok" == served["status"]


async def test_an_executor_is_wrapped_by_another(nats_server: RunningServer):
    """
    A cache in front: of tasks with the same input one is run, all have results, and each is counted once.
    """
    signer = Countersigner(capacity=1)

    def more(pools: Executor, reports: TaskReports) -> Sequence[Executor]:
        return [Remembering(inner, reports) for inner in signer.of(pools, reports)]

    async with running_orchestrator(nats_server, more) as fleet:
        client = fleet.client
        signer.let_go.set()
        tasks = [new_task() for _ in range(5)]
        async with client.hearing("results.>") as results:
            await client.submit_many(COUNTERSIGN, DOCUMENT, tasks)
            await results.until(lambda heard: set(heard.counts()) == set(tasks))
        ended = fleet.ended(capability=COUNTERSIGN, path="durable", outcome="ok")

    assert 1 == len(signer.ran)
    assert len(tasks) == ended


async def test_what_it_does_not_serve_is_the_pools_as_before(nats_server: RunningServer):
    """
    A known capability waits for a pool, an unknown one is refused.
    """
    async with running_orchestrator(nats_server, Countersigner(capacity=1).of) as fleet:
        known = await fleet.client.ask("summarize", DOCUMENT)
        unknown = await fleet.client.ask("notarize", DOCUMENT)

    assert "no_route" == known.kind
    assert "unknown_capability" == unknown.kind
