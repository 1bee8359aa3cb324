"""The gates before the steps of a run: what its file says, and what the policy says of a step's capability."""

from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorBody, ErrorKind
from flotilla.contracts.headers import DataClass
from flotilla.pipelines.plan import StepTask
from flotilla.routing.types import TaskView
from orchestrator.approvals.gate import Opened
from orchestrator.approvals.terms import Terms, terms_of_step
from orchestrator.pipelines.dependencies import PipelineDependencies
from orchestrator.state.tasks import Task


def gate_of(needs: PipelineDependencies, step: StepTask, scope: str, data_class: DataClass) -> Terms | None:
    """On which terms a step's gate opens, by its file and the policy; None where there is none."""
    policy = None
    if step.capability not in needs.pipelines:
        policy = needs.policy().gate_of(TaskView(capability=step.capability, scope=scope, data_class=data_class))
    return terms_of_step(step.approval, policy)


async def enter(needs: PipelineDependencies, step: StepTask, terms: Terms, task: Task) -> Opened:
    """
    Have a step's input approved.

    Raises:
        TaskError: It was not; or nobody can be waited for here.
        AwaitingApprovalError: Nobody has decided yet.
    """
    if step.capability in needs.pipelines:
        # Its grant would be used up when the run within is suspended at a gate of its own. Files of earlier versions.
        text = "the step is a pipeline, which has no gate as a whole: put the gate before its steps"
        raise TaskError(ErrorKind.BAD_REQUEST, text, details={"key": f"steps.{step.key.step}.approval"})
    if task.origin is None:
        # Whoever asks waits for the answer, and a person takes longer.
        raise TaskError(ErrorKind.APPROVAL_REQUIRED, "the step needs an approval: submit it as a durable task")
    return await needs.gate.enter(task, task.origin(), terms, index=step.key.index)


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
