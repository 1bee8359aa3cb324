"""A capability that no pool serves: an executor in the orchestrator runs its tasks, and everything else is as with pools."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from flotilla.capabilities.catalogue import Catalogue
from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorKind
from flotilla.contracts.results import Result
from flotilla.fabric.connection import connected
from flotilla.fabric.consumers import consumer_exists
from flotilla.fabric.inbox import Requests
from flotilla.provisioning.takeover import make_stores
from flotilla.routing.router import PolicyRouter
from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.plain_client import PlainClient, connect_plainly, eventually, new_task
from orchestrator.execution.executors import Executor
from orchestrator.execution.task_reports import TaskReports
from orchestrator.reporting.metrics import OrchestratorMetrics
from orchestrator.reporting.traces import NO_TRACES
from orchestrator.service import Orchestrator
from orchestrator.settings import OrchestratorSettings
from orchestrator.state.attempt import OnPiece
from orchestrator.state.fleet import Fleet
from orchestrator.state.tasks import Task

DOCUMENT = {"document": "to be signed"}


class Countersigner:
    """Serves `countersign`: every task waits until it is let go, is cancelled, or its deadline passes."""

    def __init__(self, reports: TaskReports, capacity: int) -> None:
        self.limit = capacity
        self.running: dict[str, Task] = {}
        self.ran: list[str] = []
        self.most = 0
        self.let_go = asyncio.Event()
        self._reports = reports

    def capabilities(self) -> frozenset[str]:
        """See `Executor`."""
        return frozenset({"countersign"})

    def capacity(self, capability: str) -> int:
        """See `Executor`."""
        assert capability == "countersign"
        return self.limit

    def total_capacity(self) -> int:
        """See `Executor`."""
        return self.limit

    async def run(self, task: Task, on_piece: OnPiece | None = None) -> Result:
        """See `Executor`."""
        return await self._reports.of(task, self._sign(task, on_piece))

    async def _sign(self, task: Task, on_piece: OnPiece | None) -> Result:
        self.running[task.id] = task
        self.ran.append(task.id)
        self.most = max(self.most, len(self.running))
        ends = [asyncio.ensure_future(each.wait()) for each in (self.let_go, task.cancelled)]
        left_s = task.deadline_at - time.monotonic()
        try:
            await asyncio.wait(ends, timeout=max(0.0, left_s), return_when=asyncio.FIRST_COMPLETED)
        finally:
            del self.running[task.id]
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


def signed(task: Task) -> Result:
    """What comes of it."""
    output = msgspec.Raw(json.dumps({"signed": task.id}).encode())
    return Result(task=task.id, capability=task.capability, status="ok", output=output, input_sha256=task.input_sha256)


async def _at_once(result: Result) -> Result:
    return result


class Running:
    """One orchestrator in this process, and callers of it."""

    def __init__(
        self, client: PlainClient, admin: PlainClient, requests: Requests, metrics: OrchestratorMetrics
    ) -> None:
        self.client = client
        self.admin = admin
        self.requests = requests
        self._metrics = metrics

    def ended(self, **labels: str) -> float:
        """How many tasks ended so."""
        return self._metrics.registry.get_sample_value("flotilla_tasks_total", labels) or 0.0


MoreExecutors = Callable[[Executor, TaskReports], Sequence[Executor]]


@asynccontextmanager
async def running(server: RunningServer, more: MoreExecutors) -> AsyncGenerator[Running]:
    """An orchestrator with more executors than the pools'; there is no worker at all."""
    settings = OrchestratorSettings(nats_url=server.url)
    fleet, router = Fleet(), PolicyRouter("o1")
    metrics = OrchestratorMetrics(fleet, router)
    async with connected(server.orchestrator(), name="orchestrator o1") as connection:
        requests = Requests(connection)
        await requests.start()
        await make_stores(requests, settings.scope_names(), settings.topology_limits())
        service = Orchestrator(
            connection,
            requests,
            settings=settings,
            instance="o1",
            catalogue=Catalogue.load(None),
            fleet=fleet,
            router=router,
            metrics=metrics,
            traces=NO_TRACES,
            more_executors=more,
        )
        await service.learn()
        await service.start()
        await connection.settle()
        admin = server.admin()
        client = await connect_plainly(server.url)
        admin_client = await connect_plainly(server.url, nkeys_seed=str(admin.creds), inbox_prefix=admin.inbox_prefix)
        try:
            yield Running(client, admin_client, requests, metrics)
        finally:
            await client.nc.close()
            await admin_client.nc.close()
            await service.leave(1.0)
            await requests.stop()


async def test_durable_tasks_reach_it_and_no_more_than_it_can_take(nats_server: RunningServer):
    """
    The sweep makes its consumers; of a backlog no more is pulled than its capacity; each task has its one result.
    """
    made: list[Countersigner] = []
    async with running(nats_server, _countersigner(made, capacity=3)) as fleet:
        client, signer = fleet.client, made[0]
        tasks = [new_task() for _ in range(12)]
        async with client.hearing("results.>") as results:
            await client.submit_many("countersign", DOCUMENT, tasks)
            await eventually(_holds(lambda: len(signer.running) == 3))
            status = await client.api("status", {"task": next(iter(signer.running))})
            held = await fleet.admin.unacknowledged_in("TASKS_default")
            signer.let_go.set()
            await results.until(lambda heard: set(heard.counts()) == set(tasks), 20)
            await fleet.admin.until_empty("TASKS_default")
        consumers = [
            await consumer_exists(fleet.requests, scope="default", capability="countersign", priority=priority)
            for priority in ("high", "normal", "low")
        ]
        dead = await client.api("dead")
        ended = fleet.ended(capability="countersign", path="durable", outcome="ok")

    assert ("running", "countersign") == (status["state"], status["capability"])
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
    made: list[Countersigner] = []
    async with running(nats_server, _countersigner(made, capacity=1)) as fleet:
        client, signer = fleet.client, made[0]
        asking = asyncio.ensure_future(
            client.ask("countersign", DOCUMENT, headers={"Nats-Msg-Id": "a1", "Flotilla-Stream": "true"})
        )
        await eventually(_holds(lambda: "a1" in signer.running))
        again = await client.ask("countersign", DOCUMENT, headers={"Nats-Msg-Id": "a1"})
        signer.let_go.set()
        answer = await asking
        ended = fleet.ended(capability="countersign", path="interactive", outcome="ok")

    assert "bad_request" == again.kind
    assert {"signed": "a1"} == answer.result["output"]
    assert ["signed"] == [piece["text"] for piece in answer.pieces]
    assert 1 == ended


async def test_its_tasks_are_cancelled_like_any(nats_server: RunningServer):
    """
    One that it runs ends at once, with its result and without a dead letter.
    """
    made: list[Countersigner] = []
    async with running(nats_server, _countersigner(made, capacity=1)) as fleet:
        client, signer, task = fleet.client, made[0], new_task()
        async with client.hearing("results.>") as results:
            await client.submit("countersign", DOCUMENT, task=task)
            await eventually(_holds(lambda: task in signer.running))
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
    made: list[Countersigner] = []
    async with running(nats_server, _countersigner(made, capacity=0)) as fleet:
        client, signer = fleet.client, made[0]
        signer.let_go.set()
        hasty, patient = new_task(), new_task()
        async with client.hearing("results.>") as results:
            await client.submit("countersign", DOCUMENT, task=hasty, headers={"Flotilla-Deadline-Ms": "300"})
            await client.submit("countersign", DOCUMENT, task=patient)
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
    made: list[Countersigner] = []

    def more(pools: Executor, reports: TaskReports) -> Sequence[Executor]:
        signers = _countersigner(made, capacity=1)(pools, reports)
        return [Remembering(signer, reports) for signer in signers]

    async with running(nats_server, more) as fleet:
        client, signer = fleet.client, made[0]
        signer.let_go.set()
        tasks = [new_task() for _ in range(5)]
        async with client.hearing("results.>") as results:
            await client.submit_many("countersign", DOCUMENT, tasks)
            await results.until(lambda heard: set(heard.counts()) == set(tasks), 20)
        ended = fleet.ended(capability="countersign", path="durable", outcome="ok")

    assert 1 == len(signer.ran)
    assert len(tasks) == ended


async def test_what_it_does_not_serve_is_the_pools_as_before(nats_server: RunningServer):
    """
    A known capability waits for a pool, an unknown one is refused.
    """
    async with running(nats_server, _countersigner([], capacity=1)) as fleet:
        known = await fleet.client.ask("summarize", DOCUMENT)
        unknown = await fleet.client.ask("notarize", DOCUMENT)

    assert "no_route" == known.kind
    assert "unknown_capability" == unknown.kind


def _countersigner(made: list[Countersigner], *, capacity: int) -> MoreExecutors:
    def more(_pools: Executor, reports: TaskReports) -> Sequence[Executor]:
        made.append(Countersigner(reports, capacity))
        return made[-1:]

    return more


def _holds(condition: Callable[[], Any]) -> Callable[[], Awaitable[object]]:
    async def holds() -> object:
        return condition()

    return holds
