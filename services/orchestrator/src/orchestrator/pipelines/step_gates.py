"""
The gates before the steps of a run, and before the run: what its file says, and what the policy says of a capability.
"""

import hashlib
from typing import Final

import msgspec

from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorKind
from flotilla.contracts.headers import DataClass
from flotilla.pipelines.plan import StepKey, StepTask
from flotilla.routing.types import TaskView
from orchestrator.approvals.gate import Opened
from orchestrator.approvals.terms import Terms, terms_of_step
from orchestrator.execution.shut_zones import ALL_ZONES
from orchestrator.pipelines.dependencies import PipelineDependencies
from orchestrator.pipelines.step_results import RunResults
from orchestrator.state.tasks import Task

WHOLE: Final = StepKey("")
"""In the place of a step, the run itself: no step has this name."""


def gate_of(needs: PipelineDependencies, step: StepTask, scope: str, data_class: DataClass) -> Terms | None:
    """On which terms the gate before a step, or before a run (`whole`), opens, by its file and the policy; None for none."""
    policy = needs.policy()
    if step.capability in needs.pipelines:
        gate = policy.gate_of_run(step.capability, data_class)
    else:
        gate = policy.gate_of(TaskView(capability=step.capability, scope=scope, data_class=data_class))
    return terms_of_step(step.approval, gate)


def whole(task: Task) -> StepTask:
    """What is approved before a run that nobody's step is: its input."""
    return StepTask(
        key=WHOLE,
        capability=task.capability,
        input=msgspec.Raw(task.body),
        data_class=task.data_class,
        approval=None,
        input_digest=hashlib.sha256(task.body).hexdigest(),
    )


async def enter(
    needs: PipelineDependencies, step: StepTask, terms: Terms, task: Task, kept: RunResults | None
) -> Opened | None:
    """
    Have a step's input approved, or a run's. None for a run: its tasks go without its grant, and it takes its time.

    Raises:
        TaskError: It was not; or nobody can be waited for here.
        AwaitingApprovalError: Nobody has decided yet.
        NoRouteNowError, FabricError: The stores cannot be reached.
    """
    if task.origin is None or kept is None:
        # Whoever asks waits for the answer, and a person takes longer.
        what = task.capability if step.key == WHOLE else "the step"
        raise TaskError(ErrorKind.APPROVAL_REQUIRED, f"{what} needs an approval: submit it as a durable task")
    origin = task.origin()
    if step.capability not in needs.pipelines:
        return await needs.gate.enter(task, origin, terms, index=step.key.index)
    # The run may stand at gates of its own for longer than a grant is good: that it passed this one is kept.
    if not await kept.has_passed(step, task.data_class, origin.submission):
        # What it makes of its input may go where the input itself may not.
        await needs.gate.enter(task, origin, terms, index=step.key.index, zones=ALL_ZONES)
        await kept.keep_passed(step, task.data_class, origin.submission)
    return None
