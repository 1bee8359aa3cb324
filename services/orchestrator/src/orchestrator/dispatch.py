"""
The life of a task between intake and result: routes, attempts, waiting for a slot, retries, deadline, cancellation.

It talks; what it does next is decided by pure functions (`routing/`, `retries.py`).
"""

import asyncio
import time
from typing import Final, Protocol

import structlog

from flotilla.contracts.attempts import Failed, Finished
from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorKind
from flotilla.contracts.results import AttemptReport, Result
from flotilla.fabric.connection import Connection
from flotilla.fabric.lanes import Lane, Waiter, wait_in
from orchestrator.attempts import Attempt, Attempts, Ended, OnPiece
from orchestrator.events import Events
from orchestrator.fleet import Fleet
from orchestrator.retries import GiveUp, NextRoute, RetryHere, next_step
from orchestrator.routing.types import Choice, Decision, FleetView, TaskView
from orchestrator.tasks import Task

logger = structlog.get_logger("orchestrator")

QUEUE_TIMEOUT_S: Final = 30.0
ABSENT_PATIENCE_S: Final = 2.0
REROUTE_EVERY_S: Final = 1.0
RETRY_AFTER_S: Final = 1.0


class Router(Protocol):
    """Decides where a task may go, and how long it may take there."""

    def decide(self, task: TaskView, fleet: FleetView) -> Decision:
        """The routes for a task, in order, or why there is none. Fast: it runs for every try."""
        ...


class NoRouteNowError(Exception):
    """A durable task has no route at the moment, but may get one: it goes back to its stream."""


class Dispatcher:
    """
    Runs tasks: each to exactly one result.

    Attributes:
        held: Tasks in hand by scope and id.
    """

    def __init__(
        self, connection: Connection, *, fleet: Fleet, router: Router, attempts: Attempts, events: Events
    ) -> None:
        self._connection = connection
        self._fleet = fleet
        self._router = router
        self._attempts = attempts
        self._events = events
        self._running: dict[tuple[str, str], Attempt] = {}
        self._loop = asyncio.get_running_loop()
        self._fleet_changed = asyncio.Event()
        self.held: dict[tuple[str, str], Task] = {}

    def attempt_of(self, scope: str, task_id: str) -> Attempt | None:
        """The attempt that a task is in, if it is in one."""
        return self._running.get((scope, task_id))

    def fleet_changed(self) -> None:
        """A replica came or went: tasks without a route look again."""
        changed, self._fleet_changed = self._fleet_changed, asyncio.Event()
        changed.set()

    async def cancel(self, scope: str, task_id: str) -> str | None:
        """Cancel a task that is held here; gives `running` or `waiting`, None when it is not."""
        task = self.held.get((scope, task_id))
        if task is None:
            return None
        task.cancelled.set()
        attempt = self._running.get((scope, task_id))
        if attempt is None:
            return "waiting"
        await self._attempts.abandon(attempt, Ended.CANCELLED)
        return "running"

    async def run(self, task: Task, on_piece: OnPiece | None = None) -> Result:
        """
        Take a task to its result; failures are results too.

        Raises:
            NoRouteNowError: A durable task has no route now and may get one later.
        """
        key = (task.scope, task.id)
        self.held[key] = task
        await self._events.tell(task, "queued")
        course = _Course(self, task, on_piece)
        try:
            result = await course.run()
        except TaskError as error:
            kind = "cancelled" if error.kind is ErrorKind.CANCELLED else "failed"
            await self._events.tell(task, kind, error=error.kind.value)
            return task.failed(error.body)
        finally:
            course.leave_lines()
            if self.held.get(key) is task:
                del self.held[key]
        await self._events.tell(
            task,
            "finished",
            route=course.route,
            replica=result.replica,
            latency_ms=result.latency_ms,
            cost_usd=result.usage.cost_usd,
        )
        return result

    async def on_start(self, attempt: Attempt) -> None:
        """An attempt found a slot: say so, once."""
        task = attempt.task
        if task.queued_ms is None:
            task.queued_ms = (attempt.started_at - task.accepted_at) * 1000
        await self._events.tell(task, "dispatched", route=attempt.route, replica=attempt.replica)


class _Course:
    """One task's way through routes and lines; the state that lasts from try to try."""

    def __init__(self, dispatcher: Dispatcher, task: Task, on_piece: OnPiece | None) -> None:
        self._dispatcher = dispatcher
        self._fleet = dispatcher._fleet
        self._attempts = dispatcher._attempts
        self._events = dispatcher._events
        self._task = task
        self._caller_hears = on_piece
        self._waiter: Waiter | None = None
        self._turn: Lane | None = None
        self._waiting_since: float | None = None
        self._loop = dispatcher._loop
        self.route = None

    def leave_lines(self) -> None:
        """Stand in no line any more."""
        if self._waiter is not None:
            self._waiter.leave()
            self._waiter = None
        self._turn = None

    async def run(self) -> Result:
        """
        Try until the task has a result.

        Raises:
            TaskError: It failed; of a kind of the wire's table.
            NoRouteNowError: See `Dispatcher.run`.
        """
        task = self._task
        while True:
            self._check_time()
            decision = self._dispatcher._router.decide(task.view, self._fleet.view)
            choices = decision.routes
            if task.given_up:
                choices = tuple(choice for choice in choices if choice.route not in task.given_up)
            if not choices:
                await self._without_route(decision)
                continue
            result = await self._try_each(choices)
            if result is not None:
                return result

    def _check_time(self) -> None:
        task = self._task
        if task.cancelled.is_set():
            raise TaskError(ErrorKind.CANCELLED, "cancelled by the caller")
        if time.monotonic() >= task.deadline_at:
            raise TaskError(
                ErrorKind.DEADLINE_EXCEEDED,
                f"no result within {task.deadline_unix_ms - task.accepted_unix_ms} ms of acceptance",
            )

    async def _try_each(self, choices: tuple[Choice, ...]) -> Result | None:
        """Try routes in order until one takes the task; None when the task should be routed again."""
        task = self._task
        turn, self._turn = self._turn, None
        for choice in choices:
            lane = self._fleet.lane(choice.route.pool)
            if turn is not None:
                if lane is not turn:
                    continue
            elif lane.is_ahead(task.priority):
                continue
            attempt = await self._attempts.send(
                task,
                choice.route,
                lane,
                timeout_s=None,
                on_start=self._dispatcher.on_start,
                on_piece=self._piece if self._caller_hears else None,
            )
            key = (task.scope, task.id)
            self._dispatcher._running[key] = attempt
            try:
                outcome = await attempt.outcome
            except asyncio.CancelledError:
                await self._attempts.abandon(attempt, Ended.CANCELLED)
                raise
            finally:
                self._dispatcher._running.pop(key, None)
            if outcome is Ended.NO_SLOT:
                lane.refused()
                continue
            self.leave_lines()
            self._waiting_since = None
            return await self._follow(choice, attempt, outcome)
        await self._wait_for_slot(choices)
        return None

    async def _follow(self, choice: Choice, attempt: Attempt, outcome: Finished | Failed | Ended) -> Result | None:
        """What an attempt that had a slot came to: the result, or None to try again."""
        task = self._task
        if isinstance(outcome, Finished):
            task.usage = task.usage + outcome.usage
            task.attempts.append(_report(choice, attempt, "ok"))
            self.route = choice.route
            return task.ok(
                output=outcome.output,
                provider=outcome.provider,
                model=outcome.model,
                zone=choice.route.zone,
                pool=choice.route.pool,
                replica=attempt.replica,
            )
        if isinstance(outcome, Ended):
            task.attempts.append(_report(choice, attempt, outcome.value))
            return None
        await self._after_failure(choice, attempt, outcome)
        return None

    async def _after_failure(self, choice: Choice, attempt: Attempt, failed: Failed) -> None:
        task = self._task
        route = choice.route
        task.usage = task.usage + failed.usage
        task.attempts.append(_report(choice, attempt, failed.kind.value, failed.message))
        await self._events.tell(
            task,
            "attempt_failed",
            route=route,
            replica=attempt.replica,
            error=failed.kind.value,
            latency_ms=attempt.elapsed_ms,
        )
        if task.pieces:
            raise TaskError(
                ErrorKind.PROVIDER_FAILED,
                f"the stream broke after {task.pieces} pieces: {failed.kind.value}",
                details={"pieces": task.pieces},
            )
        task.tries[route] = task.tries.get(route, 0) + 1
        step = next_step(
            failed.kind,
            tries_here=task.tries[route],
            attempts=len(task.attempts),
            retry_after_s=failed.retry_after_s,
            left_s=task.deadline_at - time.monotonic(),
        )
        match step:
            case GiveUp(kind=kind):
                raise TaskError(kind, failed.message or failed.kind.value, details={"failure": failed.kind.value})
            case NextRoute():
                task.given_up.add(route)
            case RetryHere(after_s=after_s):
                await self._pause(after_s)

    async def _piece(self, text: str) -> None:
        self._task.pieces += 1
        if self._caller_hears is not None:
            await self._caller_hears(text)

    async def _wait_for_slot(self, choices: tuple[Choice, ...]) -> None:
        """Stand in line for any of the routes until it is this task's turn, or time to look at the routes again."""
        task = self._task
        now = time.monotonic()
        if self._waiting_since is None:
            self._waiting_since = now
        elif not task.durable and now - self._waiting_since >= QUEUE_TIMEOUT_S:
            raise TaskError(
                ErrorKind.NO_CAPACITY,
                f"every slot was busy for {QUEUE_TIMEOUT_S:g} s",
                details={"retry_after_s": RETRY_AFTER_S},
            )
        lanes = [self._fleet.lane(choice.route.pool) for choice in choices]
        if self._waiter is None:
            self._waiter = wait_in(lanes, task.priority, first=bool(task.attempts))
            if self._waiter is None:
                raise TaskError(
                    ErrorKind.NO_CAPACITY, "too many tasks wait already", details={"retry_after_s": RETRY_AFTER_S}
                )
        else:
            for lane in lanes:
                self._waiter.also(lane)
        patience_s = min(REROUTE_EVERY_S, max(0.0, task.deadline_at - now))
        self._turn = await self._waiter.turn(patience_s)

    async def _without_route(self, decision: Decision) -> None:
        """No route now: fail, hand back, or wait a moment for a replica to come."""
        task = self._task
        self.leave_lines()
        if task.attempts and not any(exclusion.waits for exclusion in decision.excluded):
            last = task.attempts[-1]
            raise TaskError(
                ErrorKind.PROVIDER_FAILED,
                f"every route failed; the last one ({last.pool}): {last.outcome}",
                details={"attempts": len(task.attempts)},
            )
        comes_back = not decision.excluded or any(exclusion.waits for exclusion in decision.excluded)
        if task.durable and comes_back:
            raise NoRouteNowError
        now = time.monotonic()
        if self._waiting_since is None:
            self._waiting_since = now
        left_s = min(self._waiting_since + ABSENT_PATIENCE_S, task.deadline_at) - now
        if not comes_back or (left_s <= 0 and now < task.deadline_at):
            raise _no_route(task, decision)
        await self._pause(left_s)

    async def _pause(self, after_s: float) -> None:
        """Sleep, but not past the deadline, a cancellation or a change of the fleet."""
        waits = [
            asyncio.ensure_future(wait)
            for wait in (self._task.cancelled.wait(), self._dispatcher._fleet_changed.wait())
        ]
        left_s = max(0.0, self._task.deadline_at - time.monotonic())
        try:
            await asyncio.wait(waits, timeout=min(after_s, left_s), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()


def _report(choice: Choice, attempt: Attempt, outcome: str, message: str = "") -> AttemptReport:
    return AttemptReport(
        pool=choice.route.pool,
        model=choice.route.model,
        outcome=outcome,
        latency_ms=attempt.elapsed_ms,
        reason=choice.reason,
        replica=attempt.replica,
        message=message,
    )


def _no_route(task: Task, decision: Decision) -> TaskError:
    excluded = [
        {"pool": exclusion.pool, "model": exclusion.model, "reason": exclusion.reason}
        for exclusion in decision.excluded
    ]
    reasons = "; ".join(f"{exclusion.pool}: {exclusion.reason}" for exclusion in decision.excluded)
    text = f"no route for {task.capability} ({task.data_class} data): {reasons or decision.reason}"
    return TaskError(ErrorKind.NO_ROUTE, text, details={"excluded": excluded})

