"""What of a step's end is kept, so that nobody works on it again."""

import msgspec

from flotilla.contracts.failures import ErrorBody, ErrorKind
from flotilla.contracts.headers import DataClass
from flotilla.pipelines.plan import StepTask
from orchestrator.pipelines.step_ended import StepEnded
from orchestrator.pipelines.step_results import RunResults


async def keep(kept: RunResults, step: StepTask, data_class: DataClass, ended: StepEnded, *, gated: bool) -> StepEnded:
    """Keep what must not be worked on again; gives the one that counts."""
    if isinstance(ended.result.output, msgspec.Raw):
        counts = await kept.keep(step, data_class, ended)
        if counts is not None:
            return counts
        ended = _too_large(ended)
    # Of a gate the grant is used up, or denied: when the run goes on after another one, this one is not passed again.
    return await kept.keep_failed(step, data_class, ended) if gated else ended


def _too_large(ended: StepEnded) -> StepEnded:
    kind = ErrorKind.TOO_LARGE
    error = ErrorBody(kind=kind, message="the step's output is too large to be kept", retryable=kind.retryable)
    result = msgspec.structs.replace(ended.result, status="failed", output=msgspec.UNSET, error=error)
    return StepEnded(result, ended.data_class)
