"""
Attempts in flight: sending a request to a lane, and hearing its replies.

One inbox per orchestrator hears every attempt, and one sweep watches the liveness of all (`liveness.py`): an attempt has no
subscription, task or timer of its own.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final, cast

import msgspec

from flotilla.chassis.tracing import Span
from flotilla.contracts import subjects
from flotilla.contracts.attempts import CancelAttempt, Failed, InferRequest, encode
from flotilla.contracts.failures import FailureKind
from flotilla.contracts.redaction import EVERY_TYPE, RedactionPolicy
from flotilla.contracts.subjects import Zone
from flotilla.fabric.connection import Connection
from flotilla.fabric.inbox import Inbox
from flotilla.fabric.lanes import Lane
from flotilla.routing.types import Route
from orchestrator.economy.admission import Admission
from orchestrator.economy.permits import Permit
from orchestrator.execution.in_flight_checks import ReplicasOf
from orchestrator.execution.liveness import LivenessWatch
from orchestrator.execution.liveness_rules import end_at_timeout
from orchestrator.reporting.traces import NO_TRACES, Traces, end_attempt, options_of
from orchestrator.state.attempt import Attempt, OnPiece, OnStart
from orchestrator.state.outcomes import Ended, Outcome, found_no_slot
from orchestrator.state.outputs import Outputs
from orchestrator.state.tasks import Task

ABANDONED_S: Final = 10.0


class Attempts:
    """
    Every attempt that this orchestrator has in flight.

    Attributes:
        live: Those in flight, by their reply subjects.
        outputs: Looks at what workers give.
        renewed_at: When the watch last turned, by the loop's clock; a liveness probe looks at it.
    """

    def __init__(
        self,
        connection: Connection,
        instance: str,
        outputs: Outputs,
        traces: Traces = NO_TRACES,
        replicas_of: ReplicasOf = lambda _: frozenset(),
        *,
        redaction: Callable[[], RedactionPolicy] = lambda: EVERY_TYPE,
        sealed: bool = False,
    ) -> None:
        self._connection = connection
        self._traces = traces
        self._redaction = redaction
        self._instance = instance
        self._sealed = sealed
        # Of the sealed lane there are no others, and its credentials allow no wildcard for the zone.
        every_zone = cast("Zone", "local" if sealed else "*")
        self._inbox = Inbox(connection, subjects.attempt_inbox(every_zone, "*", instance, sealed=sealed))
        self._count = 0
        self._watching: asyncio.Task[None] | None = None
        self.live: Final[dict[str, Attempt]] = {}
        self.outputs: Final = outputs
        self.liveness: Final = LivenessWatch(
            connection, self, instance, inbox=self._inbox, replicas_of=replicas_of, sealed=sealed
        )
        self.clock_at: Final = self.liveness.clock_at
        self.loop: Final = asyncio.get_running_loop()
        self.renewed_at = self.loop.time()

    @property
    def clock_s(self) -> float:
        """See `LivenessWatch`."""
        return self.liveness.clock_s

    @property
    def in_flight(self) -> int:
        """Attempts somebody waits for, and abandoned ones not yet heard out."""
        return len(self.live)

    async def start(self) -> None:
        """Listen for replies and watch for silences."""
        await self._inbox.start()
        self._connection.on_denied(self._on_denied)
        self._watching = self.loop.create_task(self.liveness.watch())

    async def stop(self) -> None:
        """Stop watching."""
        if self._watching is not None:
            self._watching.cancel()

    def owns(self, attempt: str) -> bool:
        """Whether an attempt's id is one of this orchestrator's."""
        return attempt.startswith(self._instance + ".")

    async def send(
        self,
        task: Task,
        route: Route,
        lane: Lane,
        *,
        timeout_s: float | None,
        on_start: OnStart,
        on_piece: OnPiece | None,
        parent: Span | None = None,
        admission: Admission | None = None,
    ) -> Attempt:
        """
        Send a request to a lane; its `outcome` resolves when it ends.

        Args:
            task: What is asked.
            route: Of whom.
            lane: Of the route's pool.
            timeout_s: For the attempt alone; the task's deadline holds in any case.
            on_start: Called at the first reply of a replica that took it.
            on_piece: Called with each piece in order; None asks for no stream.
            parent: The task's span.
            admission: Of limits and budgets, where the policy has any.

        Raises:
            OverLimitError: A limit or budget has no room for it now; nothing was sent.
        """
        if route.zone in task.shut_zones:
            raise AssertionError("a task goes into no zone that is shut to it")
        permit = None if admission is None else await admission.admit(task.view, route)
        attempt = Attempt(self, task, route, lane, on_start=on_start, on_piece=on_piece)
        if timeout_s is not None:
            attempt.gives_up_at = min(attempt.gives_up_at, attempt.started_at + timeout_s)
        attempt.reply = reply = self._inbox.open(
            attempt.hear, prefix=subjects.attempt_inbox(route.zone, route.pool, self._instance, sealed=self._sealed)
        )
        self._count += 1
        attempt.id = f"{self._instance}.{self._count}"
        self.live[reply] = attempt
        self.liveness.attempt_began()
        attempt.span = self._traces.attempt_began(task, route, parent)
        request = InferRequest(
            task=task.id,
            attempt=attempt.id,
            capability=task.capability,
            model=route.model,
            input=msgspec.Raw(task.body),
            options=options_of(task, attempt.span, self._redaction),
            deadline_unix_ms=task.deadline_unix_ms,
            data_class=task.data_class,
            stream=on_piece is not None,
        )
        try:
            await self._connection.publish(
                subjects.infer(route.zone, route.pool, task.capability),
                encode(request),
                reply=reply,
            )
        except BaseException as error:
            self.forget(attempt)
            attempt.outcome.cancel()
            if permit is not None:
                _end_unsent(permit, attempt, error)
            raise
        if permit is not None:
            attempt.outcome.add_done_callback(permit.close)
        return attempt

    def end(self, attempt: Attempt, outcome: Outcome) -> None:
        """An attempt is over: its slot is free, and whoever waits for it learns how it ended."""
        self.forget(attempt)
        if not found_no_slot(outcome):
            attempt.lane.own_attempt_ended()
            _end_span(attempt, outcome)
        if not attempt.outcome.done():
            attempt.outcome.set_result(outcome)

    async def abandon(self, attempt: Attempt, outcome: Outcome) -> None:
        """
        Stop waiting for an attempt, and have its replica stop working on it.

        The replica may not be known yet; the attempt is then listened to until its first reply tells.
        """
        self.leave(attempt, outcome)
        if attempt.replica:
            await self.tell_to_stop(attempt)

    def leave(self, attempt: Attempt, outcome: Outcome) -> None:
        """Stop waiting for an attempt, and tell its replica only when it speaks."""
        attempt.abandoned = True
        _end_span(attempt, outcome)
        attempt.gives_up_at = time.monotonic() + ABANDONED_S
        if not attempt.outcome.done():
            attempt.outcome.set_result(outcome)

    async def time_out(self, attempt: Attempt) -> None:
        """Its time is over, or its task's."""
        end = end_at_timeout(gives_up_at=attempt.gives_up_at, deadline_at=attempt.task.deadline_at)
        await self.abandon(attempt, end)

    async def tell_to_stop(self, attempt: Attempt) -> None:
        """Send the replica a cancellation."""
        route = attempt.route
        subject = subjects.infer_control(route.zone, route.pool, attempt.replica)
        await self._connection.publish(subject, encode(CancelAttempt(attempt=attempt.id)))

    def _on_denied(self, subject: str) -> None:
        """The server has refused a publish: the attempts that it was for have gone nowhere, and need not be missed."""
        for attempt in list(self.live.values()):
            route = attempt.route
            sent_to = subjects.infer(route.zone, route.pool, attempt.task.capability)
            if attempt.heard_at is None and sent_to.lower() == subject:
                text = f"the NATS server lets no attempt through to the pool {route.pool} from here"
                self.end(attempt, Failed(kind=FailureKind.NOT_RELEASABLE, message=text))

    def forget(self, attempt: Attempt) -> None:
        """Listen to it no more."""
        self._inbox.close(attempt.reply)
        self.live.pop(attempt.reply, None)


def _end_unsent(permit: Permit, attempt: Attempt, error: BaseException) -> None:
    if isinstance(error, Exception):
        permit.give_back()
    else:
        # Stopped in the middle: it may have been sent.
        permit.close(attempt.outcome)


def _end_span(attempt: Attempt, outcome: Outcome) -> None:
    span, attempt.span = attempt.span, None
    if span is not None:
        end_attempt(span, attempt.replica, outcome.value if isinstance(outcome, Ended) else outcome)
