"""What is told of the steps of a run while it goes on: to a caller who wants a stream, and as events."""

from flotilla.contracts.failures import ErrorBody
from flotilla.contracts.results import Result, StepMessage
from flotilla.pipelines.plan import StepTask
from orchestrator.pipelines.step_tally import StepTally
from orchestrator.reporting.events import Events
from orchestrator.state.tasks import Task


def began(step: StepTask) -> StepMessage:
    """The first task of a step is started."""
    return StepMessage(step=step.key.step, capability=step.capability, status="started")


def over(step: StepTask, result: Result) -> StepMessage:
    """A task of a step has ended."""
    error = result.error.kind.value if isinstance(result.error, ErrorBody) else ""
    return StepMessage(
        step=step.key.step,
        capability=step.capability,
        status="failed" if error else "succeeded",
        index=step.key.index,
        pool=result.pool,
        model=result.model,
        zone=result.zone,
        latency_ms=result.latency_ms,
        error=error,
    )


def tell_end(events: Events, task: Task, tally: StepTally, result: Result, *, kept: bool, error: str = "") -> None:
    """Tell that a task of a step is over. One whose result was kept was told of before, and took and cost nothing now."""
    events.tell(
        task,
        "step_failed" if error else "step_finished",
        step=tally.name,
        needs=tally.needs if kept else (),
        error=error,
        latency_ms=0.0 if kept or error else result.latency_ms,
        cost_usd=0.0 if kept or error else result.usage.cost_usd,
        kept=kept,
    )
