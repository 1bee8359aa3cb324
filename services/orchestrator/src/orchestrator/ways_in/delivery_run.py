"""One delivery of a durable task: taken, answered, settled; or given back with a nak, to be delivered again."""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog
from msgspec import Struct
from structlog.contextvars import bind_contextvars

from flotilla.contracts import subjects
from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorBody, ErrorKind
from flotilla.fabric.deliveries import Delivery
from flotilla.fabric.errors import FabricError
from flotilla.fabric.pull_groups import PullGroup
from orchestrator.approvals.parts import Approvals
from orchestrator.approvals.suspensions import CannotSuspendError
from orchestrator.execution.dependencies import AwaitingApprovalError, NoRouteNowError
from orchestrator.execution.executors import Executors
from orchestrator.reporting.metrics import OrchestratorMetrics
from orchestrator.state.origins import Origin, submitter_of
from orchestrator.state.tasks import Task
from orchestrator.ways_in.cancelled_tasks import CancelledTasks
from orchestrator.ways_in.commits import Commits
from orchestrator.ways_in.delivery_rules import may_have_a_result, next_of, too_often
from orchestrator.ways_in.durable_answers import DurableAnswer, refusal
from orchestrator.ways_in.durable_intake import DurableIntake
from orchestrator.ways_in.in_hand import InHand, Place
from orchestrator.ways_in.settlement import Settlement

logger = structlog.get_logger("orchestrator")

NAK_DELAY_S: Final = 5.0


class DeliveryDependencies(Struct, frozen=True, kw_only=True):
    """
    What the deliveries of one scope work with.

    Attributes:
        groups: By capability.
        on_room: Called when there may be room for another delivery.
        on_end: Called with each run when it is over.
    """

    scope: str
    intake: DurableIntake
    executors: Executors
    commits: Commits
    settlement: Settlement
    approvals: Approvals
    cancelled: CancelledTasks
    groups: dict[str, PullGroup]
    in_hand: InHand
    metrics: OrchestratorMetrics
    on_room: Callable[[], None]
    on_end: Callable[["DeliveryRun"], None]


class DeliveryRun:
    """
    One delivery's way through this orchestrator.

    Attributes:
        delivery: What was delivered.
    """

    __slots__ = ("_at_gate", "_needs", "_place", "delivery")

    def __init__(self, dependencies: DeliveryDependencies, delivery: Delivery) -> None:
        self._needs = dependencies
        self.delivery: Final = delivery
        self._place: Place | None = None
        # What was suspended has stood at one; all others only if they are asked where they come from.
        self._at_gate = delivery.is_resumed
        parsed = subjects.parse_tasks(delivery.subject)
        group = dependencies.groups.get(parsed.capability) if parsed is not None else None
        if parsed is not None and group is not None:
            executor = dependencies.executors.of(parsed.capability)
            self._place = Place(
                dependencies.in_hand,
                group,
                parsed.priority,
                executor,
                delivery.size_bytes,
                is_resumed=delivery.is_resumed,
            )

    @property
    def is_parked(self) -> bool:
        """Whether it only waits for a route."""
        return self._place is not None and self._place.state == "parked"

    async def run(self) -> None:
        """Answer and settle; a delivery that cannot be settled, or is cancelled, is given back."""
        delivery, needs, place = self.delivery, self._needs, self._place
        try:
            if place is not None:
                place.enter("answering")
            answer = await self._answer()
            if place is not None:
                place.enter("settling")
            needs.on_room()
            if answer is not None and not await needs.settlement.settle(needs.scope, delivery, answer):
                await delivery.nak_after(NAK_DELAY_S)
            elif answer is not None and self._at_gate:
                # It is over, however it ended: what it asked for and nobody has decided is not needed any more.
                await needs.approvals.gate.withdraw(needs.scope, answer.result.task)
        except NoRouteNowError:
            await delivery.nak_after(NAK_DELAY_S)
        except asyncio.CancelledError:
            await delivery.nak()
        except FabricError as error:
            logger.warning("task_nakked", sequence=delivery.sequence, error=type(error).__name__)
            await delivery.nak_after(NAK_DELAY_S)
        except Exception:
            logger.exception("durable_task_crashed", sequence=delivery.sequence)
            await delivery.nak_after(NAK_DELAY_S)
        finally:
            if place is not None:
                place.enter("settling")
            needs.on_end(self)

    async def nak(self) -> None:
        """Give it back at once: nothing is taken any more."""
        try:
            await self.delivery.nak()
        finally:
            self._needs.on_end(self)

    async def _answer(self) -> DurableAnswer | None:
        """
        The result to commit, or the one that is committed already; None when it is suspended, and not held any more.

        Raises:
            NoRouteNowError: It is worked on here already, after an earlier delivery, and that one will settle; or see
                `Executor.run`.
            FabricError: The server could not be asked.
        """
        delivery, needs = self.delivery, self._needs
        try:
            task = needs.intake.take(delivery)
        except TaskError as error:
            return DurableAnswer(refusal(delivery, error.body))
        bind_contextvars(task=task.id, capability=task.capability, scope=task.scope)
        found = None
        if may_have_a_result(deliveries=delivery.deliveries, is_resumed=delivery.is_resumed):
            found = await needs.commits.find(needs.scope, task.id, task.capability)
        is_held = needs.executors.holds(needs.scope, task.id)
        match next_of(has_result=found is not None, is_held=is_held, deliveries=delivery.deliveries):
            case "settle" if found is not None:
                return DurableAnswer(found, task, committed=True)
            case "leave":
                raise NoRouteNowError
            case "give_up":
                return self._failed(task, too_often())
            case _:
                pass
        if needs.cancelled.take(task.id):
            task.cancelled.set()
        task.park = self._park
        task.origin = lambda: self._origin(task.id)
        try:
            return DurableAnswer(await needs.executors.run(task), task)
        except AwaitingApprovalError as waiting:
            return await self._suspend(task, waiting)

    async def _suspend(self, task: Task, waiting: AwaitingApprovalError) -> DurableAnswer | None:
        """Keep it where nobody holds it; one that cannot be kept there fails."""
        delivery, approvals, scope = self.delivery, self._needs.approvals, self._needs.scope
        until = min(waiting.until_unix_ms, task.deadline_unix_ms)
        try:
            await approvals.suspensions.suspend(
                scope,
                task.id,
                delivery,
                until,
                deadline_unix_ms=task.deadline_unix_ms,
                waits_for=waiting.capability,
            )
        except CannotSuspendError as error:
            kind = ErrorKind.BACKLOG_FULL
            return self._failed(task, ErrorBody(kind=kind, message=str(error), retryable=kind.retryable))
        if task.cancelled.is_set():
            # What is kept there finds this result when it is due.
            return self._failed(task, ErrorBody(kind=ErrorKind.CANCELLED, message="cancelled by the caller"))
        # Who decided before it was kept there found nothing to wake.
        if await approvals.store.any_decided(scope, waiting.requests):
            await approvals.suspensions.wake(scope, task.id)
        await delivery.acknowledge()
        logger.info("task_suspended", task=task.id, until_unix_ms=until, waits_for=waiting.capability)
        return None

    def _origin(self, task_id: str) -> Origin:
        """Where the task comes from; only gates ask."""
        self._at_gate = True
        delivery, scope = self.delivery, self._needs.scope
        return Origin(
            task=task_id,
            message=delivery.message_id,
            submission=f"{delivery.subject} {delivery.sequence} {delivery.stored_unix_ms}",
            submitted_by=submitter_of(delivery.headers, scope),
        )

    def _failed(self, task: Task, error: ErrorBody) -> DurableAnswer:
        """The end of a task that is run no more."""
        result = task.failed(error)
        self._needs.metrics.task_ended(task, result, None)
        return DurableAnswer(result, task)

    def _park(self, begins: bool) -> None:  # noqa: FBT001  (see `Task.park`)
        """It waits for a route and leaves its room to others, or goes on."""
        place = self._place
        if place is None:
            return
        if begins:
            place.enter("parked")
            self._needs.on_room()
        elif place.state == "parked":
            place.enter("answering")
