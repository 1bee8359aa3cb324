"""The executor of pipelines: each of its tasks is a run, whose steps are tasks of the executor below, or runs again."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from flotilla.contracts.results import Result
from flotilla.fabric.errors import FabricError
from flotilla.pipelines.definition import NESTING_MAX, Pipeline
from flotilla.pipelines.streaming import streamed
from orchestrator.execution.dependencies import AwaitingApprovalError, NoRouteNowError
from orchestrator.pipelines.dependencies import PipelineDependencies
from orchestrator.pipelines.pipeline_run import PipelineRun
from orchestrator.pipelines.runs_in_hand import RunsInHand
from orchestrator.pipelines.step_ended import StepEnded
from orchestrator.pipelines.step_places import StepPlaces
from orchestrator.state.attempt import OnPiece
from orchestrator.state.tasks import Task

RUNS_MAX: Final = 256
"""Durable runs of a scope that one orchestrator works on at a time."""
STEPS_IN_FLIGHT_MAX: Final = 256
"""Tasks of a scope's steps that one orchestrator works on at a time, durable and asked ones each; the others wait."""


class PipelineExecutor:
    """Serves the pipelines of this orchestrator's files."""

    def __init__(self, pipelines: Mapping[str, Pipeline], dependencies: PipelineDependencies) -> None:
        self._pipelines = dict(pipelines)
        self._names = dependencies.pipelines
        self._needs = dependencies
        self._streamed = {
            name: found.step
            for name, pipeline in self._pipelines.items()
            if (found := streamed(pipeline, self._pipelines, dependencies.catalogue)) is not None
        }
        self._in_hand = RunsInHand(self._names)
        dependencies.metrics.runs = self._in_hand
        # Of steps that are no runs, so that a run never waits for a place that it holds itself; asks have their own.
        self._places: defaultdict[tuple[str, bool], StepPlaces] = defaultdict(lambda: StepPlaces(STEPS_IN_FLIGHT_MAX))

    def capabilities(self) -> frozenset[str]:
        """See `Executor`."""
        return self._names

    def capacity(self, capability: str) -> int:
        """See `Executor`."""
        return RUNS_MAX if capability in self._names else 0

    def total_capacity(self) -> int:
        """See `Executor`."""
        return RUNS_MAX

    async def run(self, task: Task, on_piece: OnPiece | None = None) -> Result:
        """See `Executor`. The pieces are those of the last step, where it streams (`flotilla.pipelines.streaming`)."""
        ended = await self._run(task, on_piece, run_id=task.options.resume or task.id, depth=1)
        return ended.result

    async def run_step(self, task: Task, on_piece: OnPiece | None, *, run_id: str, depth: int) -> StepEnded:
        """
        Run a step's task, which may be a run again.

        Raises:
            NoRouteNowError: See `Executor.run`.
        """
        if task.capability in self._names and depth < NESTING_MAX:
            return await self._run(task, on_piece, run_id=run_id, depth=depth + 1)
        places = self._places[task.scope, task.durable]
        await places.enter()
        _leave_while_parked(task, places)
        try:
            return StepEnded(await self._needs.below.run(task, on_piece), task.data_class)
        finally:
            places.leave()

    async def _run(self, task: Task, on_piece: OnPiece | None, *, run_id: str, depth: int) -> StepEnded:
        pipeline = self._pipelines[task.capability]
        run = PipelineRun(task, pipeline, self._needs, self.run_step, run_id=run_id, depth=depth)
        if on_piece is not None and not task.durable:
            # A durable run may be one of an earlier file, whose last step is another.
            run.stream(self._streamed.get(pipeline.name), on_piece)
        metrics = self._needs.metrics
        try:
            with self._in_hand.holding(pipeline.name, run):
                result = await self._needs.reports.of(task, run.result(), run.trace_under)
        except AwaitingApprovalError as waiting:
            metrics.run_left(task, "put_off" if waiting.capability else "suspended")
            raise
        except (NoRouteNowError, FabricError):
            metrics.run_left(task, "nakked")
            raise
        metrics.run_ended(task, result)
        return StepEnded(result, run.data_class)


def _leave_while_parked(task: Task, places: StepPlaces) -> None:
    park = task.park
    if park is None:
        return

    def parked(begins: bool) -> None:  # noqa: FBT001  (see `Task.park`)
        (places.leave if begins else places.enter_again)()
        park(begins)

    task.park = parked
