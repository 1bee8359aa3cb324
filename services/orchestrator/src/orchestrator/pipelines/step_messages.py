"""What a caller who wants a stream is told of the steps of a run."""

from flotilla.contracts.failures import ErrorBody
from flotilla.contracts.results import Result, StepMessage
from flotilla.pipelines.plan import StepTask


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
