"""
One task's way through routes and lines, from intake to its last attempt.

It talks; what it does next is decided by pure functions (`routing/`, `retries.py`).
"""

import asyncio
import time
from typing import Final

from flotilla.contracts.attempts import Failed, Finished
from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorKind, FailureKind
from flotilla.contracts.policy import Rules
from flotilla.contracts.results import AttemptReport, Result
from flotilla.fabric.errors import LanesFullError
from flotilla.fabric.lanes import Lane, Waiter
from flotilla.routing.types import Choice, Decision, Route
from orchestrator.execution.dependencies import Dependencies, NoRouteNowError
from orchestrator.execution.retries import GiveUp, LookAgain, NextRoute, NoRoute, Rest, RetryHere, Tries, WaitForRoute
from orchestrator.execution.route_errors import (
    every_route_failed,
    is_timed,
    no_route,
    not_now,
    report_of,
    too_deadly,
    too_late,
    until_s,
)
from orchestrator.state.attempt import Attempt, Ended, OnPiece, Outcome, found_no_slot
from orchestrator.state.tasks import Task

QUEUE_TIMEOUT_S: Final = 30.0
ABSENT_PATIENCE_S: Final = 2.0
REROUTE_EVERY_S: Final = 1.0
UNSAFE_LOOK_S: Final = 0.5
PARKED_LOOK_S: Final = 5.0
RETRY_AFTER_S: Final = 1.0
SENT_ON_MAX: Final = 3
"""Times that a task is sent on at once which a replica was too full for; then it stands in line."""
DEADLINE_MARGIN_S: Final = 0.25
ATTEMPTS_REPORTED_MAX: Final = 20
"""Of a task that waited out a long trouble, half of them the first and half the last."""


class TaskRun:
    """One task's way through routes and lines; the state that lasts from try to try."""

    __slots__ = (
        "_asked_until",
        "_caller_hears",
        "_rules",
        "_task",
        "_tries",
        "_turn",
        "_waiter",
        "_waiting_since",
        "_with",
        "provider_ms",
        "route",
    )

    def __init__(self, dependencies: Dependencies, task: Task, on_piece: OnPiece | None) -> None:
        self._with = dependencies
        self._task = task
        self._caller_hears = on_piece
        self._rules: Rules = dependencies.router.rules_of(task.capability)
        self._waiter: Waiter | None = None
        self._turn: Lane | None = None
        self._waiting_since: float | None = None
        self._tries = Tries(durable=task.durable, deaths=dependencies.deaths.of(task) if task.durable else 0)
        self._asked_until = 0.0
        self.route: Route | None = None
        self.provider_ms: float | None = None

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
            self._rules = self._with.router.rules_of(task.capability)
            self._check_time()
            if self._tries.is_suspicious and not await self._is_safe():
                continue
            decision = self._with.router.decide(task.view, self._with.fleet.view, self._with.fleet.busy)
            choices = decision.routes
            if self._tries.total:
                choices = tuple(choice for choice in choices if self._tries.may_try(choice.route))
            if not choices:
                await self._without_route(decision)
                continue
            result = await self._try_each(choices)
            if result is not None:
                return result

    @property
    def _deadline_at(self) -> float:
        """The task's own deadline, or the policy's when that is earlier."""
        total_s = self._rules.total_timeout_s
        deadline_at = self._task.deadline_at
        return deadline_at if total_s is None else min(deadline_at, self._task.accepted_at + total_s)

    def _check_time(self) -> None:
        task = self._task
        if task.cancelled.is_set():
            raise TaskError(ErrorKind.CANCELLED, "cancelled by the caller")
        if time.monotonic() >= self._deadline_at:
            raise too_late(task, allowed_s=self._deadline_at - task.accepted_at)

    async def _is_safe(self) -> bool:
        """
        Whether the task may be given to one more replica; waits a moment when that is not known.

        Raises:
            TaskError: Too many have died of it.
        """
        danger = self._tries.danger(self._with.attempts.silences.standing)
        if self._task.durable:
            await self._with.deaths.note(self._task, self._tries.deaths_to_tell)
        if danger == "poison":
            raise too_deadly(self._task, self._tries.deaths)
        safe = danger == "none" and (not self._tries.goes_alone or self._with.isolation.take(self._task))
        if not safe:
            self.leave_lines()
            await (self._park(UNSAFE_LOOK_S) if self._task.durable else self._pause(UNSAFE_LOOK_S))
        return safe

    async def _try_each(self, choices: tuple[Choice, ...]) -> Result | None:
        """Try routes in order until one takes the task; None when the task should be routed again."""
        task = self._task
        turn, self._turn = self._turn, None
        for choice in choices:
            lane = self._with.fleet.lane(choice.route.pool)
            if turn is not None:
                if lane is not turn:
                    continue
            elif lane.is_ahead(task.priority):
                continue
            if choice.last_resort and not task.attempts:
                continue
            attempt, outcome = await self._send_on(choice, lane)
            if found_no_slot(outcome):
                lane.refused()
                continue
            if self._waiter is not None:
                self._waiter.leave()
            self._waiting_since = None
            return await self._follow(choice, attempt, outcome)
        await self._wait_for_slot(choices)
        return None

    async def _send_on(self, choice: Choice, lane: Lane) -> tuple[Attempt, Outcome]:
        """An attempt that had a slot; or one that was refused, when the refusal is no older than the last free slot."""
        for _ in range(SENT_ON_MAX):
            reasons = lane.reasons
            attempt, outcome = await self._attempt(choice, lane)
            if outcome is not Ended.BUSY and not (outcome is Ended.NO_SLOT and lane.reasons != reasons):
                return attempt, outcome
        return await self._attempt(choice, lane)

    async def _attempt(self, choice: Choice, lane: Lane) -> tuple[Attempt, Outcome]:
        """One request to one lane, heard out."""
        task = self._task
        attempt = await self._with.attempts.send(
            task,
            choice.route,
            lane,
            timeout_s=self._rules.attempt_timeout_s,
            on_start=self._started,
            on_piece=self._piece if self._caller_hears else None,
        )
        key = (task.scope, task.id)
        self._with.running[key] = attempt
        try:
            outcome = await attempt.outcome
        except asyncio.CancelledError:
            self._with.ledger.cancelled(attempt)
            await self._with.attempts.abandon(attempt, Ended.CANCELLED)
            raise
        finally:
            self._with.running.pop(key, None)
            if self._tries.total:
                self._with.isolation.leave(task)
        return attempt, outcome

    async def _follow(self, choice: Choice, attempt: Attempt, outcome: Outcome) -> Result | None:
        """What an attempt that had a slot came to: the result, or None to try again."""
        task = self._task
        if isinstance(outcome, Finished):
            self._note_start(attempt)
            # The caller waits for the answer, and nobody for the books: these are kept in the next turn of the loop.
            self._with.attempts.loop.call_soon(self._keep_books, attempt, outcome)
            task.usage = task.usage + outcome.usage
            task.attempts.append(report_of(choice, attempt, "ok"))
            self.route = choice.route
            self.provider_ms = outcome.timings.provider_ms
            return task.ok(
                output=outcome.output,
                provider=outcome.provider,
                model=outcome.model,
                zone=choice.route.zone,
                pool=choice.route.pool,
                replica=attempt.replica,
            )
        if isinstance(outcome, Failed) and self._is_out_of_time(outcome):
            task.usage = task.usage + outcome.usage
            outcome = Ended.DEADLINE
        if isinstance(outcome, Failed):
            attempt.tell_started()
            # One replica's death is one failure of its route, however many attempts it had.
            blameless = bool(attempt.suspects) and not self._with.attempts.silences.states.blame(attempt.suspects)
            self._with.ledger.failed(attempt, outcome, blameless=blameless)
            await self._after_failure(choice, attempt, outcome)
            return None
        if outcome is Ended.DEADLINE:
            self._with.ledger.ran_out(attempt)
        else:
            self._with.ledger.cancelled(attempt)
        self._report(report_of(choice, attempt, outcome.value))
        if outcome is Ended.DEADLINE:
            await self._pause(DEADLINE_MARGIN_S)
        return None

    def _is_out_of_time(self, failed: Failed) -> bool:
        """Whether it is the task's deadline that a replica has told of, a moment before it passes by the clock here."""
        return failed.kind is FailureKind.TIMEOUT and self._deadline_at - time.monotonic() < DEADLINE_MARGIN_S

    def _report(self, report: AttemptReport) -> None:
        reports = self._task.attempts
        reports.append(report)
        if len(reports) > ATTEMPTS_REPORTED_MAX:
            del reports[ATTEMPTS_REPORTED_MAX // 2]

    async def _after_failure(self, choice: Choice, attempt: Attempt, failed: Failed) -> None:
        task = self._task
        route = choice.route
        task.usage = task.usage + failed.usage
        self._report(report_of(choice, attempt, failed.kind.value, failed.message))
        self._with.events.tell(
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
        self._tries.lost_with(attempt.suspects)
        if failed.kind is FailureKind.LOST and attempt.heard_at is None:
            self._tries.swallowed(route)
            return
        step = self._tries.failed(
            route,
            failed.kind,
            probe=choice.probe,
            retry_after_s=failed.retry_after_s,
            left_s=self._deadline_at - time.monotonic(),
        )
        match step:
            case GiveUp(kind=kind):
                raise TaskError(kind, failed.message or failed.kind.value, details={"failure": failed.kind.value})
            case NextRoute():
                pass
            case RetryHere(after_s=after_s, closed=False):
                await self._pause(after_s)
            case RetryHere(after_s=after_s):
                # The provider's word closes the route for so long: another one may serve now, and without one it waits.
                self._asked_until = time.monotonic() + after_s

    def _started(self, attempt: Attempt) -> None:
        """An attempt found a slot: say so, once."""
        self._with.ledger.started(attempt)
        self._note_start(attempt)
        self._with.events.tell(self._task, "dispatched", route=attempt.route, replica=attempt.replica)

    def _note_start(self, attempt: Attempt) -> None:
        if self._task.queued_ms is None:
            self._task.queued_ms = (attempt.started_at - self._task.accepted_at) * 1000

    def _keep_books(self, attempt: Attempt, finished: Finished) -> None:
        attempt.tell_started()
        self._with.ledger.finished(attempt, finished)

    async def _piece(self, text: str) -> None:
        self._task.pieces += 1
        if self._caller_hears is not None:
            await self._caller_hears(text)

    async def _wait_for_slot(self, choices: tuple[Choice, ...]) -> None:
        """Stand in line for any of the routes until it is this task's turn, or time to look at the routes again."""
        task = self._task
        now = time.monotonic()
        queue_timeout_s = self._rules.queue_timeout_s
        if queue_timeout_s is None and not task.durable:
            queue_timeout_s = QUEUE_TIMEOUT_S
        if self._waiting_since is None:
            self._waiting_since = now
        elif queue_timeout_s is not None and now - self._waiting_since >= queue_timeout_s:
            raise TaskError(
                ErrorKind.NO_CAPACITY,
                f"every slot was busy for {queue_timeout_s:g} s",
                details={"retry_after_s": RETRY_AFTER_S},
            )
        if self._waiter is None:
            self._waiter = Waiter(task.priority, task.scope)
        lanes = list(dict.fromkeys(self._with.fleet.lane(choice.route.pool) for choice in choices))
        patience_s = min(REROUTE_EVERY_S, max(0.0, self._deadline_at - now))
        try:
            self._turn = await self._waiter.turn(lanes, patience_s)
        except LanesFullError as error:
            raise TaskError(
                ErrorKind.NO_CAPACITY, "too many tasks wait already", details={"retry_after_s": RETRY_AFTER_S}
            ) from error

    async def _without_route(self, decision: Decision) -> None:
        """No route now: fail, or wait for one."""
        task = self._task
        self.leave_lines()
        match self._tries.without_route(decision):
            case LookAgain():
                return
            case NoRoute():
                raise no_route(task, decision)
            case GiveUp(kind=kind):
                raise every_route_failed(task, kind, attempts=self._tries.total)
            case Rest(after_s=after_s):
                await (self._park(after_s) if task.durable else self._pause(after_s))
            case WaitForRoute():
                await (self._park(_look_again_s(decision)) if task.durable else self._be_patient(decision))
        self._tries.next_round()

    async def _be_patient(self, decision: Decision) -> None:
        """An asked task waits a moment for a replica to come, or for a route to be open again."""
        now = time.monotonic()
        if self._waiting_since is None:
            self._waiting_since = now
        patient_until = max(self._waiting_since + ABSENT_PATIENCE_S, self._asked_until + REROUTE_EVERY_S)
        left_s = min(patient_until, self._deadline_at) - now
        if left_s <= 0 and now < self._deadline_at:
            raise not_now(self._task, decision)
        await self._pause(min(left_s, until_s(decision)))

    async def _park(self, after_s: float) -> None:
        """
        Wait for a route to come back, without keeping others of the capability from being pulled meanwhile.

        Raises:
            NoRouteNowError: It is not held here at all: it waits in its stream.
        """
        park = self._task.park
        if park is None:
            raise NoRouteNowError
        park(True)
        try:
            await self._pause(after_s)
        finally:
            park(False)

    async def _pause(self, after_s: float) -> None:
        """Sleep, but not past the deadline, a cancellation or a change of the fleet."""
        waits = [asyncio.ensure_future(wait) for wait in (self._task.cancelled.wait(), self._with.fleet.changed.wait())]
        left_s = max(0.0, self._deadline_at - time.monotonic())
        try:
            await asyncio.wait(waits, timeout=min(after_s, left_s), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()


def _look_again_s(decision: Decision) -> float:
    """How long a parked task waits before it looks whether some route is back."""
    return min(PARKED_LOOK_S, until_s(decision)) if is_timed(decision) else PARKED_LOOK_S
