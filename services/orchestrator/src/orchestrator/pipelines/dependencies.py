"""What runs of pipelines work with."""

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from flotilla.capabilities.catalogue import Catalogue
from flotilla.contracts.headers import DataClass
from flotilla.routing.compiled import CompiledPolicy
from orchestrator.approvals.elsewhere import GoesElsewhere
from orchestrator.approvals.gate import Gate
from orchestrator.execution.executors import Executor
from orchestrator.execution.task_reports import TaskReports
from orchestrator.pipelines.step_ended import StepEnded
from orchestrator.pipelines.step_results import StepResults
from orchestrator.reporting.events import Events
from orchestrator.reporting.pipeline_metrics import PipelineMetrics
from orchestrator.state.attempt import OnPiece
from orchestrator.state.shared_quota import Room
from orchestrator.state.tasks import Task


class PipelineDependencies(Struct, frozen=True, kw_only=True):
    """
    What runs work with.

    Attributes:
        below: Runs the steps that are no pipelines.
        pipelines: The names of those that are.
        policy: The one in force: what it declassifies, and its gates.
        results: Of durable runs.
        at_least: The lowest class that a step's task has here; in the sealed lane all are restricted.
        outputs: Room for the bytes of the outputs that runs hold.
        gate: That steps with `approval` stand at.
        goes_elsewhere: Says which steps go on without, where the policy's gate stands before some zones alone.
    """

    below: Executor
    pipelines: frozenset[str]
    catalogue: Catalogue
    events: Events
    reports: TaskReports
    results: StepResults
    policy: Callable[[], CompiledPolicy]
    at_least: DataClass
    outputs: Room
    gate: Gate
    goes_elsewhere: GoesElsewhere
    metrics: PipelineMetrics
    payload_bytes_max: int


class RunStep(Protocol):
    """Runs a step's task."""

    async def __call__(self, task: Task, on_piece: OnPiece | None, *, run_id: str, depth: int) -> StepEnded:
        """
        Take it to its end.

        Args:
            task: The step's.
            on_piece: See `Executor.run`.
            run_id: Under which its own results are kept, should it be a run.
            depth: Of the run that it is a step of; the outermost has 1.

        Raises:
            NoRouteNowError: See `Executor.run`.
        """
        ...
