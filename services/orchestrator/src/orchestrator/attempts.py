"""
Attempts in flight: sending a request to a lane, hearing its replies, and noticing when nothing is heard.

One inbox per orchestrator hears every attempt, and one sweep watches every silence: an attempt has no subscription, task
or timer of its own.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from enum import Enum
from functools import partial
from typing import Final

import msgspec
import structlog

from flotilla.chassis.tracing import Span
from flotilla.contracts import subjects
from flotilla.contracts.attempts import (
    Accepted,
    Busy,
    CancelAttempt,
    Failed,
    Finished,
    InferRequest,
    Piece,
    Progress,
    decode_reply,
    encode,
)
from flotilla.contracts.errors import DecodeFailedError
from flotilla.contracts.failures import FailureKind
from flotilla.contracts.subjects import Zone
from flotilla.fabric.connection import Connection, Message, status_of
from flotilla.fabric.inbox import Inbox
from flotilla.fabric.lanes import Lane
from orchestrator.roll_calls import ReplicasOf, RollCalls
from orchestrator.routing.types import Route
from orchestrator.tasks import Task
from orchestrator.traces import NO_TRACES, Traces, end_attempt, options_of

logger = structlog.get_logger("orchestrator")

ROLL_CALL_AFTER_S: Final = 0.2
"""A replica that holds an attempt says so after at most 0.15 s."""
FIRST_WORD_S: Final = 1.0
LIVENESS_TIMEOUT_S: Final = 3.0
SWEEP_S: Final = 0.1
ABANDONED_S: Final = 10.0

OnPiece = Callable[[str], Awaitable[None]]
OnStart = Callable[["Attempt"], None]


class Ended(Enum):
    """Ways in which an attempt ends without the worker's last word."""

    NO_SLOT = "no_slot"
    DEADLINE = "deadline"
    CANCELLED = "cancelled"


Outcome = Finished | Failed | Ended


class Attempt:
    """
    One dispatch of a task to one route.

    Attributes:
        outcome: Resolves once, with the worker's last word or the way it ended without.
        heard_at: When the replica last said anything, by the watch's clock; None before its first word.
        replica: Known from its first word that names it.
        asked_for: The replicas were asked whether one of them holds it.
        abandoned: Nobody waits for it: it is only listened to until the replica can be told to stop.
    """

    __slots__ = (
        "_attempts",
        "_on_start",
        "_told_started",
        "abandoned",
        "asked_for",
        "gives_up_at",
        "heard_at",
        "id",
        "lane",
        "on_piece",
        "outcome",
        "pieces",
        "replica",
        "reply",
        "route",
        "sent_at",
        "span",
        "started_at",
        "task",
    )

    def __init__(
        self, attempts: "Attempts", task: Task, route: Route, lane: Lane, *, on_start: OnStart, on_piece: OnPiece | None
    ) -> None:
        self._attempts = attempts
        self.task: Final = task
        self.route: Final = route
        self.lane: Final = lane
        self.outcome: Final[asyncio.Future[Outcome]] = attempts.loop.create_future()
        self.sent_at = attempts.clock_s
        self.started_at: Final = time.monotonic()
        self.heard_at: float | None = None
        self.gives_up_at = task.deadline_at
        self.replica = ""
        self.pieces = 0
        self.asked_for = False
        self.abandoned = False
        self.on_piece: Final = on_piece
        self._on_start = on_start
        self._told_started = False
        self.reply = ""
        self.id = ""
        self.span: Span | None = None

    @property
    def elapsed_ms(self) -> float:
        """Since the request was sent."""
        return round((time.monotonic() - self.started_at) * 1000, 3)

    async def hear(self, message: Message) -> None:
        """Take one reply."""
        if status_of(message) is not None:
            self._attempts.end(self, Ended.NO_SLOT)
            return
        try:
            reply = decode_reply(message.data)
        except DecodeFailedError as error:
            logger.warning("undecodable_reply", attempt=self.id, pool=self.route.pool, detail=str(error))
            reply = Failed(kind=FailureKind.CRASHED, message="the worker's reply did not decode")
        if type(reply) is Busy:
            self._attempts.end(self, Ended.NO_SLOT)
            return
        self.heard_at = self._attempts.clock_s
        match reply:
            case Finished(replica=replica) | Failed(replica=replica):
                self.replica = replica or self.replica
                self._attempts.end(self, reply)
            case Accepted(replica=replica):
                self.replica = replica
                if self.abandoned:
                    await self._attempts.tell_to_stop(self)
                else:
                    self.tell_started()
            case Piece(seq=seq, text=text):
                await self._hear_piece(seq, text)
            case Progress() | Busy():
                pass

    def tell_started(self) -> None:
        """Say once that a replica took it; for an attempt that ends at its first word, whoever awaits it does."""
        if not self._told_started:
            self._told_started = True
            self._on_start(self)

    async def _hear_piece(self, seq: int, text: str) -> None:
        if self.abandoned or self.on_piece is None:
            return
        self.tell_started()
        if seq != self.pieces:
            text = f"piece {self.pieces} of the stream is missing"
            self._attempts.end(self, Failed(kind=FailureKind.CRASHED, message=text))
            return
        self.pieces += 1
        await self.on_piece(text)


class Attempts:
    """
    Every attempt that this orchestrator has in flight.

    Attributes:
        clock_s: A clock for silences: it stands still while this process or its connection does, so that a pause here is
            not mistaken for a worker's.
        renewed_at: When the sweep last turned, by the loop's clock; a liveness probe watches it.
    """

    def __init__(
        self,
        connection: Connection,
        instance: str,
        traces: Traces = NO_TRACES,
        replicas_of: ReplicasOf = lambda _: frozenset(),
    ) -> None:
        self._connection = connection
        self._traces = traces
        self._instance = instance
        self._inbox = Inbox(connection, subjects.attempt_inbox("*", "*", instance))  # pyright: ignore[reportArgumentType]  # a wildcard for the zone
        self._roll_calls = RollCalls(connection, self._inbox, instance, replicas_of)
        self._live: dict[str, Attempt] = {}
        self._count = 0
        self._sweeper: asyncio.Task[None] | None = None
        self.loop: Final = asyncio.get_running_loop()
        self.clock_s = 0.0
        self.renewed_at = self.loop.time()

    @property
    def in_flight(self) -> int:
        """Attempts somebody waits for, and abandoned ones not yet heard out."""
        return len(self._live)

    async def start(self) -> None:
        """Listen for replies and watch for silences."""
        await self._inbox.start()
        self._sweeper = self.loop.create_task(self._sweep())

    async def stop(self) -> None:
        """Stop watching."""
        if self._sweeper is not None:
            self._sweeper.cancel()

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
    ) -> Attempt:
        """
        Send a request to a lane; its `outcome` resolves when it ends.

        Args:
            task: What is asked.
            route: Of whom.
            lane: Of the route's pool.
            timeout_s: For the attempt alone; the task's deadline holds in any case.
            on_start: Called at the first word of a replica that took it.
            on_piece: Called with each piece in order; None asks for no stream.
        """
        attempt = Attempt(self, task, route, lane, on_start=on_start, on_piece=on_piece)
        if timeout_s is not None:
            attempt.gives_up_at = min(attempt.gives_up_at, attempt.started_at + timeout_s)
        attempt.reply = reply = self._inbox.open(
            attempt.hear, prefix=subjects.attempt_inbox(route.zone, route.pool, self._instance)
        )
        self._count += 1
        attempt.id = f"{self._instance}.{self._count}"
        self._live[reply] = attempt
        attempt.span = self._traces.attempt_began(task, route)
        request = InferRequest(
            task=task.id,
            attempt=attempt.id,
            capability=task.capability,
            model=route.model,
            input=msgspec.Raw(task.body),
            options=options_of(task, attempt.span),
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
        except BaseException:
            self._forget(attempt)
            raise
        return attempt

    def end(self, attempt: Attempt, outcome: Outcome) -> None:
        """An attempt is over: its slot is free, and whoever waits for it learns how it ended."""
        self._forget(attempt)
        if outcome is not Ended.NO_SLOT:
            attempt.lane.own_attempt_ended()
            _end_span(attempt, outcome)
        if not attempt.outcome.done():
            attempt.outcome.set_result(outcome)

    async def abandon(self, attempt: Attempt, outcome: Outcome) -> None:
        """
        Stop waiting for an attempt, and have its replica stop working on it.

        The replica may not be known yet; the attempt is then listened to until its first word tells.
        """
        attempt.abandoned = True
        _end_span(attempt, outcome)
        attempt.gives_up_at = time.monotonic() + ABANDONED_S
        if not attempt.outcome.done():
            attempt.outcome.set_result(outcome)
        if attempt.replica:
            await self.tell_to_stop(attempt)

    async def tell_to_stop(self, attempt: Attempt) -> None:
        """Send the replica a cancellation."""
        route = attempt.route
        subject = subjects.infer_control(route.zone, route.pool, attempt.replica)
        await self._connection.publish(subject, encode(CancelAttempt(attempt=attempt.id)))

    def _forget(self, attempt: Attempt) -> None:
        self._inbox.close(attempt.reply)
        self._live.pop(attempt.reply, None)

    async def _sweep(self) -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(SWEEP_S)
            now = time.monotonic()
            self.renewed_at = self.loop.time()
            if self._connection.is_connected:
                self.clock_s += min(now - last, 2 * SWEEP_S)
            last = now
            for attempt in list(self._live.values()):
                try:
                    await self._watch(attempt, now)
                except Exception as error:  # noqa: BLE001  (a full output buffer while disconnected: the next turn)
                    logger.warning("watch_failed", attempt=attempt.id, error=type(error).__name__)
            await self._call_the_roll()

    async def _call_the_roll(self) -> None:
        unheard: dict[tuple[Zone, str], dict[str, Attempt]] = {}
        for attempt in self._live.values():
            waits = attempt.heard_at is None and not attempt.asked_for and not attempt.abandoned
            if waits and self.clock_s - attempt.sent_at > ROLL_CALL_AFTER_S:
                attempt.asked_for = True
                unheard.setdefault((attempt.route.zone, attempt.route.pool), {})[attempt.id] = attempt
        for (zone, pool), attempts in unheard.items():
            await self._roll_calls.ask(zone, pool, list(attempts), partial(self._dropped, attempts))

    def _dropped(self, attempts: dict[str, Attempt], attempt_id: str) -> None:
        """No replica holds it: as if there had been no free slot. Should one come with it yet, it is told to stop."""
        attempt = attempts[attempt_id]
        if attempt.heard_at is None and not attempt.outcome.done():
            attempt.abandoned = True
            attempt.gives_up_at = time.monotonic() + ABANDONED_S
            attempt.outcome.set_result(Ended.NO_SLOT)

    async def _watch(self, attempt: Attempt, now: float) -> None:
        if attempt.abandoned:
            if now >= attempt.gives_up_at:
                self._forget(attempt)
        elif now >= attempt.gives_up_at:
            late = attempt.gives_up_at >= attempt.task.deadline_at
            timed_out = Failed(kind=FailureKind.TIMEOUT, message="no answer within the route's timeout")
            await self.abandon(attempt, Ended.DEADLINE if late else timed_out)
        elif attempt.heard_at is None:
            if self.clock_s - attempt.sent_at > FIRST_WORD_S:
                await self._lose(attempt, f"no word from a replica within {FIRST_WORD_S:g} s")
        elif self.clock_s - attempt.heard_at > LIVENESS_TIMEOUT_S:
            await self._lose(attempt, f"the replica was silent for {LIVENESS_TIMEOUT_S:g} s")

    async def _lose(self, attempt: Attempt, why: str) -> None:
        # It may only be slow or frozen: should it come back, it is told to stop, and its answer has no listener.
        await self.abandon(attempt, Failed(kind=FailureKind.LOST, message=why, replica=attempt.replica))


def _end_span(attempt: Attempt, outcome: Outcome) -> None:
    span, attempt.span = attempt.span, None
    if span is not None:
        end_attempt(span, attempt.replica, outcome.value if isinstance(outcome, Ended) else outcome)
