"""
An orchestrator in the process of the test, and an executor that a test steers: no worker is needed to see what it does.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from flotilla.capabilities.catalogue import Catalogue
from flotilla.contracts.results import Result
from flotilla.fabric.connection import connected
from flotilla.fabric.inbox import Requests
from flotilla.pipelines.definition import Pipeline
from flotilla.pipelines.pipeline_files import capabilities_of
from flotilla.provisioning.takeover import make_stores
from flotilla.routing.router import PolicyRouter
from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.patient_client import WAIT_S
from flotilla.testkit.plain_client import PlainClient, connect_plainly, eventually
from orchestrator.execution.executors import Executor
from orchestrator.execution.task_reports import TaskReports
from orchestrator.reporting.metrics import OrchestratorMetrics
from orchestrator.reporting.traces import NO_TRACES
from orchestrator.service import Orchestrator
from orchestrator.settings import OrchestratorSettings
from orchestrator.state.attempt import OnPiece
from orchestrator.state.fleet import Fleet
from orchestrator.state.tasks import Task

COUNTERSIGN: Final = "countersign"
DOCUMENT: Final = {"document": "to be signed"}
GRACE_S: Final = 1.0

Work = Callable[[Task, OnPiece | None], Awaitable[Result]]
MoreExecutors = Callable[[Executor, TaskReports], Sequence[Executor]]


class SteeredExecutor:
    """
    Serves `countersign` in the orchestrator itself.

    Attributes:
        limit: Its capacity.
        work: What it does with a task.
        running: The tasks that it has in hand, by id.
        ran: The ids of all that it was given, in order.
        most: The most that it had in hand at a time.
    """

    def __init__(self, work: Work, *, capacity: int) -> None:
        self.limit = capacity
        self.work = work
        self.running: Final[dict[str, Task]] = {}
        self.ran: Final[list[str]] = []
        self.most = 0
        self._reports: TaskReports | None = None

    def of(self, _pools: Executor, reports: TaskReports) -> Sequence[Executor]:
        """For `Orchestrator(more_executors=...)`."""
        self._reports = reports
        return (self,)

    def capabilities(self) -> frozenset[str]:
        """See `Executor`."""
        return frozenset({COUNTERSIGN})

    def capacity(self, capability: str) -> int:
        """See `Executor`."""
        assert capability == COUNTERSIGN  # noqa: S101  (asked for nothing else)
        return self.limit

    def total_capacity(self) -> int:
        """See `Executor`."""
        return self.limit

    async def run(self, task: Task, on_piece: OnPiece | None = None) -> Result:
        """See `Executor`."""
        assert self._reports is not None  # noqa: S101  (the orchestrator was put together with it)
        return await self._reports.of(task, self._work(task, on_piece))

    async def _work(self, task: Task, on_piece: OnPiece | None) -> Result:
        self.running[task.id] = task
        self.ran.append(task.id)
        self.most = max(self.most, len(self.running))
        try:
            return await self.work(task, on_piece)
        finally:
            del self.running[task.id]


def signed(task: Task) -> Result:
    """A result of `countersign`."""
    output = msgspec.Raw(msgspec.json.encode({"signed": task.id}))
    return Result(task=task.id, capability=task.capability, status="ok", output=output, input_sha256=task.input_sha256)


class RunningOrchestrator:
    """
    One orchestrator here, and callers of it.

    Attributes:
        client: A tenant.
        admin: Sees everything in the FLEET account.
        service: The orchestrator itself.
        requests: Its own.
        fleet: The fleet as it sees it.
    """

    def __init__(
        self,
        *,
        client: PlainClient,
        admin: PlainClient,
        service: Orchestrator,
        requests: Requests,
        metrics: OrchestratorMetrics,
        fleet: Fleet,
    ) -> None:
        self.client: Final = client
        self.admin: Final = admin
        self.service: Final = service
        self.requests: Final = requests
        self.fleet: Final = fleet
        self._metrics = metrics

    def ended(self, **labels: str) -> float:
        """How many tasks ended so."""
        return self._metrics.registry.get_sample_value("flotilla_tasks_total", labels) or 0.0

    def backlog(self, **labels: str) -> float | None:
        """What is told of the tasks that wait."""
        return self._metrics.registry.get_sample_value("flotilla_backlog_tasks", labels)

    def left(self, **labels: str) -> float:
        """How many runs of pipelines ended so, or went on later."""
        return self._metrics.registry.get_sample_value("flotilla_pipeline_runs_total", labels) or 0.0


@asynccontextmanager
async def running_orchestrator(
    server: RunningServer,
    more: MoreExecutors = lambda _pools, _reports: (),
    *,
    pipelines: Sequence[Pipeline] = (),
    sealed: bool = False,
    scopes: str = "default",
) -> AsyncGenerator[RunningOrchestrator]:
    """
    An orchestrator of the scopes with more executors than the pools'; it leaves when the block ends.

    With `sealed`, one of the sealed lane. It serves the pipelines.
    """
    settings = OrchestratorSettings(nats_url=server.url, scopes=scopes, lane="sealed" if sealed else "ordinary")
    credentials = server.sealed_orchestrator() if sealed else server.orchestrator()
    fleet, router = Fleet(), PolicyRouter("o1")
    metrics = OrchestratorMetrics(fleet, router)
    async with connected(credentials, name="orchestrator o1") as connection:
        requests = Requests(connection)
        await requests.start()
        await make_stores(requests, settings.scope_names(), settings.topology_limits())
        service = Orchestrator(
            connection,
            requests,
            settings=settings,
            instance="o1",
            catalogue=Catalogue.load(None).with_capabilities(capabilities_of(pipelines)),
            fleet=fleet,
            router=router,
            metrics=metrics,
            traces=NO_TRACES,
            pipelines={each.name: each for each in pipelines},
            more_executors=more,
        )
        await service.learn()
        await service.start()
        await connection.settle()
        role = server.admin()
        client = await connect_plainly(server.url)
        admin = await connect_plainly(server.url, nkeys_seed=str(role.creds), inbox_prefix=role.inbox_prefix)
        try:
            yield RunningOrchestrator(
                client=client, admin=admin, service=service, requests=requests, metrics=metrics, fleet=fleet
            )
        finally:
            await client.nc.close()
            await admin.nc.close()
            await service.leave(GRACE_S)
            await requests.stop()


async def until(condition: Callable[[], object], timeout_s: float = WAIT_S) -> None:
    """
    Return when a condition of this process holds.

    Raises:
        TimeoutError: It does not in time.
    """

    async def holds() -> object:
        return condition()

    await eventually(holds, timeout_s)
