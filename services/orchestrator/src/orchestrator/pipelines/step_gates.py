"""The gates before the steps of a run: what its file says, and what the policy says of a step's capability."""

from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorBody, ErrorKind
from flotilla.contracts.headers import DataClass
from flotilla.pipelines.plan import StepTask
from flotilla.routing.types import TaskView
from orchestrator.approvals.gate import Opened
from orchestrator.approvals.terms import Terms, terms_of_step
from orchestrator.execution.shut_zones import ALL_ZONES
from orchestrator.pipelines.dependencies import PipelineDependencies
from orchestrator.pipelines.step_results import RunResults
from orchestrator.state.tasks import Task


def gate_of(needs: PipelineDependencies, step: StepTask, scope: str, data_class: DataClass) -> Terms | None:
    """On which terms a step's gate opens, by its file and the policy; None where there is none."""
    policy = None
    if step.capability not in needs.pipelines:
        policy = needs.policy().gate_of(TaskView(capability=step.capability, scope=scope, data_class=data_class))
    return terms_of_step(step.approval, policy)


async def enter(
    needs: PipelineDependencies, step: StepTask, terms: Terms, task: Task, kept: RunResults | None
) -> Opened | None:
    """
    Have a step's input approved. None for a step that is a run: its tasks go without its grant, and it takes its time.

    Raises:
        TaskError: It was not; or nobody can be waited for here.
        AwaitingApprovalError: Nobody has decided yet.
        NoRouteNowError, FabricError: The stores cannot be reached.
    """
    if task.origin is None or kept is None:
        # Whoever asks waits for the answer, and a person takes longer.
        raise TaskError(ErrorKind.APPROVAL_REQUIRED, "the step needs an approval: submit it as a durable task")
    origin = task.origin()
    if step.capability not in needs.pipelines:
        return await needs.gate.enter(task, origin, terms, index=step.key.index)
    # The run within may stand at gates of its own for longer than a grant is good: that it passed this one is kept.
    if not await kept.has_passed(step, task.data_class, origin.submission):
        # What it makes of its input may go where the input itself may not.
        await needs.gate.enter(task, origin, terms, index=step.key.index, zones=ALL_ZONES)
        await kept.keep_passed(step, task.data_class, origin.submission)
    return None


def refusal_of_whole(needs: PipelineDependencies, pipeline: str) -> ErrorBody | None:
    """Why a run does not begin that the policy has a gate for as a whole; None where it has none."""
    if not needs.policy().names_gate_of(pipeline):
        return None
    kind = ErrorKind.APPROVAL_REQUIRED
    text = (
        f"the policy has a gate before the pipeline {pipeline} as a whole, which cannot be: it belongs before its steps"
    )
    return ErrorBody(
        kind=kind, message=text, retryable=kind.retryable, details={"key": f"capabilities.{pipeline}.approval"}
    )
