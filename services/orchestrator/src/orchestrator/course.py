"""
One task's way through routes and lines, from intake to its last attempt.

It talks; what it does next is decided by pure functions (`routing/`, `retries.py`).
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Final, Protocol

from flotilla.contracts.attempts import Failed, Finished
from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import RULES, ErrorKind, FailureKind
from flotilla.contracts.policy import Rules
from flotilla.contracts.results import Result
from flotilla.fabric.errors import LanesFullError
from flotilla.fabric.lanes import Lane, Waiter
from orchestrator.attempts import Attempt, Attempts, Ended, OnPiece, Outcome
from orchestrator.events import Events
from orchestrator.fleet import Fleet
from orchestrator.ledger import Ledger
from orchestrator.retries import GiveUp, NextRoute, RetryHere, fails_as, next_step
from orchestrator.routes_told import is_timed, no_route, not_now, report_of, until_s
from orchestrator.routing.types import Choice, Decision, FleetView, Route, TaskView
from orchestrator.tasks import Task

QUEUE_TIMEOUT_S: Final = 30.0
ABSENT_PATIENCE_S: Final = 2.0
REROUTE_EVERY_S: Final = 1.0
PARKED_LOOK_S: Final = 5.0
RETRY_AFTER_S: Final = 1.0
SILENT_IN_A_ROW_MAX: Final = 3
SILENT_REPORTED_MAX: Final = 10


class Router(Protocol):
    """Decides where a task may go, and how long it may take there."""

    def decide(self, task: TaskView, fleet: FleetView, busy: Mapping[str, int]) -> Decision:
        """The routes for a task, in order, or why there is none. Fast: it runs for every try."""
        ...

    def rules_of(self, capability: str) -> Rules:
        """The timeouts of a capability."""
        ...


class NoRouteNowError(Exception):
    """A durable task has no route at the moment, and cannot wait for one here: it goes back to its stream."""


class Means:
    """
    What every course works with.

    Attributes:
        running: The attempt that each held task is in, by scope and id.
    """

    __slots__ = ("attempts", "events", "fleet", "ledger", "router", "running")

    def __init__(self, *, fleet: Fleet, router: Router, attempts: Attempts, events: Events, ledger: Ledger) -> None:
        self.fleet: Final = fleet
        self.router: Final = router
        self.attempts: Final = attempts
        self.events: Final = events
        self.ledger: Final = ledger
        self.running: Final[dict[tuple[str, str], Attempt]] = {}


class Course:
    """One task's way through routes and lines; the state that lasts from try to try."""

    __slots__ = (
        "_asked_until",
        "_caller_hears",
        "_rules",
        "_silences",
        "_silent",
        "_task",
        "_turn",
        "_waiter",
        "_waiting_since",
        "_with",
        "provider_ms",
        "route",
    )

    def __init__(self, means: Means, task: Task, on_piece: OnPiece | None) -> None:
        self._with = means
        self._task = task
        self._caller_hears = on_piece
        self._rules: Rules = means.router.rules_of(task.capability)
        self._waiter: Waiter | None = None
        self._turn: Lane | None = None
        self._waiting_since: float | None = None
        self._silences = 0
        self._asked_until = 0.0
        self._silent: dict[Route, int] = {}
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
            decision = self._with.router.decide(task.view, self._with.fleet.view, self._with.fleet.busy)
            choices = decision.routes
            if task.given_up:
                choices = tuple(choice for choice in choices if choice.route not in task.given_up)
            if not choices and decision.routes and self._hope_again():
                continue
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
            allowed_ms = round((self._deadline_at - task.accepted_at) * 1000)
            raise TaskError(ErrorKind.DEADLINE_EXCEEDED, f"no result within {allowed_ms} ms of acceptance")

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
            attempt, outcome = await self._attempt(choice, lane)
            if outcome is Ended.NO_SLOT:
                lane.refused()
                continue
            if self._waiter is not None:
                self._waiter.leave()
            self._waiting_since = None
            return await self._follow(choice, attempt, outcome)
        await self._wait_for_slot(choices)
        return None

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
        if isinstance(outcome, Failed):
            attempt.tell_started()
            self._with.ledger.failed(attempt, outcome)
            await self._after_failure(choice, attempt, outcome)
            return None
        if outcome is Ended.DEADLINE:
            self._with.ledger.ran_out(attempt)
        else:
            self._with.ledger.cancelled(attempt)
        task.attempts.append(report_of(choice, attempt, outcome.value))
        return None

    async def _after_failure(self, choice: Choice, attempt: Attempt, failed: Failed) -> None:
        task = self._task
        route = choice.route
        task.usage = task.usage + failed.usage
        task.attempts.append(report_of(choice, attempt, failed.kind.value, failed.message))
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
        if failed.kind is FailureKind.LOST and attempt.heard_at is None:
            self._after_silence(route)
            return
        task.tries[route] = task.tries.get(route, 0) + 1
        step = next_step(
            failed.kind,
            tries_here=task.tries[route],
            attempts=len(task.attempts) - min(self._silences, SILENT_REPORTED_MAX),
            retry_after_s=failed.retry_after_s,
            left_s=self._deadline_at - time.monotonic(),
        )
        match step:
            case GiveUp(kind=kind):
                raise TaskError(kind, failed.message or failed.kind.value, details={"failure": failed.kind.value})
            case NextRoute():
                task.given_up.add(route)
            case RetryHere(after_s=after_s) if failed.retry_after_s is None or not RULES[failed.kind].penalise:
                await self._pause(after_s)
            case RetryHere(after_s=after_s):
                # The provider's word closes the route for so long: another one may serve now, and without one it waits.
                self._asked_until = time.monotonic() + after_s

    def _after_silence(self, route: Route) -> None:
        """
        No replica said a word: one that froze, or died with the request unopened, swallowed it.

        It stays in its queue group until the server notices (30 s), and while the others are full it is the only member,
        so a request that it swallows costs the task its second, and not one of its tries: the deadline is the bound.
        """
        task = self._task
        self._silences += 1
        if self._silences > SILENT_REPORTED_MAX:
            task.attempts.pop()
        self._silent[route] = self._silent.get(route, 0) + 1
        if self._silent[route] >= SILENT_IN_A_ROW_MAX:
            task.given_up.add(route)

    def _hope_again(self) -> bool:
        """When no other route is left, take up those again that only swallowed requests; False when there are none."""
        silent = {route for route, silences in self._silent.items() if silences >= SILENT_IN_A_ROW_MAX}
        self._task.given_up -= silent
        self._silent.clear()
        return bool(silent)

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
            self._waiter = Waiter(task.priority)
        lanes = list(dict.fromkeys(self._with.fleet.lane(choice.route.pool) for choice in choices))
        patience_s = min(REROUTE_EVERY_S, max(0.0, self._deadline_at - now))
        try:
            self._turn = await self._waiter.turn(lanes, patience_s)
        except LanesFullError as error:
            raise TaskError(
                ErrorKind.NO_CAPACITY, "too many tasks wait already", details={"retry_after_s": RETRY_AFTER_S}
            ) from error

    async def _without_route(self, decision: Decision) -> None:
        """No route now: fail, hand back, or wait a moment for a replica to come."""
        task = self._task
        self.leave_lines()
        waits = any(exclusion.waits for exclusion in decision.excluded)
        # A durable task whose pool has died before it failed there for good waits for the pool, as one that was never
        # tried does.
        if task.attempts and not waits and (task.given_up or not task.durable):
            last = task.attempts[-1]
            raise TaskError(
                fails_as([attempt.outcome for attempt in task.attempts]),
                f"every route failed; the last one ({last.pool}): {last.outcome}",
                details={"attempts": len(task.attempts)},
            )
        comes_back = not decision.excluded or waits
        if task.durable and comes_back:
            await self._park(decision)
            return
        now = time.monotonic()
        if self._waiting_since is None:
            self._waiting_since = now
        patient_until = max(self._waiting_since + ABSENT_PATIENCE_S, self._asked_until + REROUTE_EVERY_S)
        left_s = min(patient_until, self._deadline_at) - now
        if not comes_back:
            raise no_route(task, decision)
        if left_s <= 0 and now < self._deadline_at:
            raise not_now(task, decision)
        await self._pause(min(left_s, until_s(decision)))

    async def _park(self, decision: Decision) -> None:
        """
        Wait for a route to come back, without keeping others of the capability from being pulled meanwhile.

        Raises:
            NoRouteNowError: Too many are parked here already.
        """
        park = self._task.park
        if park is None or not park(True):
            raise NoRouteNowError
        try:
            await self._pause(min(PARKED_LOOK_S, until_s(decision)) if is_timed(decision) else PARKED_LOOK_S)
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
