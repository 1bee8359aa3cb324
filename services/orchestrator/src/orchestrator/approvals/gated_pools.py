"""
The policy's gates, before the pools: a task that it wants approved stands at a gate, and every other goes on as it is.

They stand before the cache too: what the policy says of a capability holds for every task of it. Steps of pipelines do not
come by here, since a run knows which of its steps have passed (`pipelines/step_gates.py`).
"""

import time
from typing import Final

from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorKind
from flotilla.contracts.policy_rules import PolicyGate
from flotilla.contracts.results import Result
from flotilla.routing.compiled import InForce
from orchestrator.approvals.elsewhere import GoesElsewhere, run_elsewhere
from orchestrator.approvals.gate import Gate, Opened
from orchestrator.approvals.terms import terms_of
from orchestrator.execution.executors import BeforePools
from orchestrator.execution.task_reports import TaskReports
from orchestrator.state.attempt import OnPiece
from orchestrator.state.tasks import Task


class GatedPools:
    """See `BeforePools`."""

    def __init__(
        self,
        inner: BeforePools,
        gate: Gate,
        *,
        in_force: InForce,
        goes_elsewhere: GoesElsewhere,
        reports: TaskReports,
    ) -> None:
        """
        Stand before others.

        Args:
            inner: Runs every task, in its own way those that it wants.
            gate: Where tasks stand.
            in_force: Has the policy.
            goes_elsewhere: Says which tasks go on without.
            reports: Tells of tasks that go no further.
        """
        self._inner: Final = inner
        self._gate = gate
        self._in_force = in_force
        self._goes_elsewhere = goes_elsewhere
        self._reports = reports

    def wants(self, task: Task) -> bool:
        """Whether the policy has it approved first, or the cache wants it."""
        policy = self._in_force.policy
        return (policy.gates and policy.gate_of(task.view) is not None) or self._inner.wants(task)

    async def run(self, task: Task, on_piece: OnPiece | None = None) -> Result:
        """
        See `Executor`.

        Raises:
            AwaitingApprovalError: Nobody has decided yet.
            NoRouteNowError, FabricError: It cannot be worked on now.
        """
        gate = self._in_force.policy.gate_of(task.view)
        # A task whose time is over leaves nothing, and fails of that.
        if gate is None or (task.durable and time.monotonic() >= task.deadline_at):
            return await self._inner.run(task, on_piece)
        inner = self._inner
        result = await run_elsewhere(
            task, gate.zones, lambda kept_out: inner.run(kept_out, on_piece), goes_elsewhere=self._goes_elsewhere
        )
        if result is not None:
            task.forget_input()
            return result
        try:
            opened = await self._enter(task, gate)
        except TaskError as error:
            return await self._reports.of(task, _refused(error))
        result = await self._inner.run(task.approved(opened.grant, opened.until_unix_ms), on_piece)
        task.forget_input()
        return opened.on_time(result)

    async def _enter(self, task: Task, gate: PolicyGate) -> Opened:
        if task.origin is None:
            # Whoever asks waits for the answer, and a person takes longer.
            text = f"the policy has {task.capability} approved by a person first: submit it as a durable task"
            raise TaskError(ErrorKind.APPROVAL_REQUIRED, text, details={"capability": task.capability})
        return await self._gate.enter(task, task.origin(), terms_of(gate))


async def _refused(error: TaskError) -> Result:
    raise error
