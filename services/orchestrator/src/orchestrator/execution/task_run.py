"""One task's run, from intake to its result: performs what `next_action` says, and tells it what came of it."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from flotilla.chassis.tracing import Span
from flotilla.contracts.attempts import Finished
from flotilla.contracts.results import HEDGE_REASON, Result
from flotilla.fabric.errors import LanesFullError
from flotilla.fabric.lanes import Waiter
from flotilla.routing.types import Choice, Decision, Route
from orchestrator.economy.errors import OverLimitError
from orchestrator.execution.attempt_ends import attempt_without_answer, usage_without_answer
from orchestrator.execution.attempt_reports import log_attempt, report_of
from orchestrator.execution.cascades import answers_anyway
from orchestrator.execution.dependencies import Dependencies, GateAheadError
from orchestrator.execution.hedges import second_choice
from orchestrator.execution.hedging import Hedge, quiet_for
from orchestrator.execution.next_action import next_action
from orchestrator.execution.panels import chosen_part
from orchestrator.execution.parts import ask_parts
from orchestrator.execution.run_state import Part, RunState
from orchestrator.execution.run_steps import (
    NO_STANDINGS,
    AskPanel,
    AttemptEnded,
    Backoff,
    DeathsTold,
    Escalate,
    Fail,
    FindRoutes,
    Finish,
    LinesFull,
    NoSlot,
    NotAlone,
    OverLimit,
    PanelEnded,
    Park,
    Pause,
    Refresh,
    Refreshed,
    Routed,
    RunEvent,
    Send,
    TellDeaths,
    ToGate,
    WaitForSlot,
)
from orchestrator.execution.run_waits import park, pause
from orchestrator.execution.shut_zones import outside
from orchestrator.state.attempt import Attempt, OnPiece
from orchestrator.state.outcomes import Ended, Outcome, found_no_slot
from orchestrator.state.tasks import Task

_NO_SLOT: Final = NoSlot()
_STALE: Final = NoSlot(stale=True)
_OVER_LIMIT: Final = OverLimit()


class TaskRun:
    """
    One task's run, or a part of one (`parts.py`).

    Attributes:
        state: What has happened to it.
        attempt: The one that it is in itself; after the end, the one that went well.
        finished: The worker's last word, when it went well.
    """

    __slots__ = (
        "_dependencies",
        "_first",
        "_hedge",
        "_kept",
        "_on_piece",
        "_parts",
        "_waiter",
        "attempt",
        "finished",
        "state",
        "task",
    )

    def __init__(self, dependencies: Dependencies, task: Task, on_piece: OnPiece | None) -> None:
        self._dependencies = dependencies
        self._on_piece = on_piece
        self._waiter: Waiter | None = None
        self._kept: tuple[Route, str] | None = None
        self._parts: Sequence[TaskRun] = ()
        self._first: Choice | None = None
        self._hedge: Hedge | None = None
        self.task: Final = task
        self.state: Final = RunState(task)
        self.attempt: Attempt | None = None
        self.finished: Finished | None = None

    @classmethod
    def limited(
        cls, dependencies: Dependencies, task: Task, choice: Choice, *, once: bool, span: Span | None = None
    ) -> "TaskRun":
        """A run that asks one route, which need not be one of the policy's; see `Part`."""
        run = cls(dependencies, task, None)
        run.state.part, run.state.span, run._first = Part(choice.route, once), span, choice
        return run

    def _part(self, choice: Choice, *, once: bool) -> "TaskRun":
        return TaskRun.limited(self._dependencies, self.task, choice, once=once, span=self.state.span)

    def running(self) -> list[Attempt]:
        """Its attempts in flight, those of its parts included."""
        found = [attempt for part in self._parts for attempt in part.running()]
        return found if self.attempt is None else [self.attempt, *found]

    def leave(self) -> None:
        """Stand in no line any more, and give up the place of a task that is tried alone."""
        if self._waiter is not None:
            self._leave_lines()
        if self.state.failures or self.state.deaths:
            self._leave_isolation()

    def _leave_isolation(self) -> None:
        """Of a part the place is its whole run's."""
        if self.state.part is None:
            self._dependencies.isolation.leave(self.task)

    async def run(self) -> Result:
        """
        Try until the task has a result.

        Raises:
            TaskError: It failed; of a kind of the wire's table.
        """
        state = self.state
        if self.task.durable and state.part is None:
            state.deaths = self._dependencies.deaths.of(self.task)
        event: RunEvent = self._refreshed()
        while True:
            match next_action(state, event, time.monotonic()):
                case FindRoutes(alone=alone):
                    event = self._find_routes(alone=alone)
                case Send() as send:
                    event = await self._send(send)
                case Finish():
                    return self._result()
                case Fail(error=error):
                    if answers_anyway(state, error):
                        return self._result()
                    raise error
                case AskPanel() as ask:
                    event = await self._ask_panel(ask)
                case other:
                    # A refused try goes on with its next `Send`, still alone; here it is over, or waits.
                    self._leave_isolation()
                    event = await self._perform(other)

    async def _perform(
        self, action: TellDeaths | WaitForSlot | Backoff | Pause | Park | Refresh | Escalate | ToGate
    ) -> RunEvent:
        state, fleet = self.state, self._dependencies.fleet
        match action:
            case TellDeaths(deaths=deaths):
                await self._dependencies.deaths.note(self.task, deaths)
                return DeathsTold()
            case ToGate():
                raise GateAheadError
            case WaitForSlot():
                return await self._wait_for_slot(action)
            case Refresh():
                pass
            case Escalate():
                self._keep()
            case Backoff(after_s=after_s):
                await pause(self.task, fleet, up_to_s=after_s, deadline_at=state.deadline_at)
            case Pause(after_s=after_s):
                self._leave_lines()
                await pause(self.task, fleet, up_to_s=after_s, deadline_at=state.deadline_at)
            case Park(after_s=after_s):
                self._leave_lines()
                await park(self.task, fleet, up_to_s=after_s, deadline_at=state.deadline_at)
        return self._refreshed()

    def _refreshed(self, turn_of: str | None = None) -> Refreshed:
        losses, liveness = self.state.losses, self._dependencies.attempts.liveness
        standings = liveness.standings(losses) if losses else NO_STANDINGS
        rules = self._dependencies.router.rules_of(self.task.capability)
        return Refreshed(rules, self.task.cancelled.is_set(), standings, turn_of)

    def _find_routes(self, *, alone: bool) -> Routed | NotAlone:
        if alone and not self._dependencies.isolation.take(self.task, time.monotonic()):
            return NotAlone()
        view, fleet, router = self.task.view, self._dependencies.fleet, self._dependencies.router
        if self.state.part is None:
            decision = router.decide(view, fleet.view, fleet.busy)
        else:
            first, self._first = self._first, None
            # A decision may hold a probe, which counts as sent, and a part sends it only where it is its own.
            decision = router.explain(view, fleet.view, fleet.busy) if first is None else Decision(routes=(first,))
        shut = self.task.shut_zones
        decision = outside(decision, shut) if shut else decision
        admission = self._dependencies.admission
        return Routed(decision if admission is None else admission.decided(view, decision), time.time())

    async def _ask_panel(self, ask: AskPanel) -> PanelEnded:
        """Several routes at the same time; the answer that is the result for now is kept."""
        self._leave_lines()
        self._parts = [self._part(choice, once=False) for choice in ask.choices]
        outputs, capability = self._dependencies.attempts.outputs, self.task.capability
        try:
            ended = await ask_parts(
                self._parts, ask, lambda finished: outputs.agreement_key(finished.output, capability=capability)
            )
        finally:
            self._parts = ()
        chosen = chosen_part(ended)
        if chosen is not None and chosen.finished is not None:
            self.finished, self._kept = chosen.finished, (chosen.choice.route, chosen.replica)
        return ended

    async def _send(self, send: Send) -> NoSlot | OverLimit | AttemptEnded:
        """One request to one lane, heard out."""
        dependencies, task, choice = self._dependencies, self.task, send.choice
        lane = dependencies.fleet.lane(choice.route.pool)
        if not send.has_turn and lane.is_ahead(task.priority):
            return _NO_SLOT
        reasons = lane.reasons
        try:
            attempt = self.attempt = await dependencies.attempts.send(
                task,
                choice.route,
                lane,
                timeout_s=self.state.rules.attempt_timeout_s,
                on_start=self._started,
                on_piece=self._piece if self._on_piece else None,
                parent=self.state.span,
                admission=dependencies.admission,
            )
        except OverLimitError:
            return _OVER_LIMIT
        try:
            if send.hedge_after_s is not None and (won := await self._hedged(send, attempt, send.hedge_after_s)):
                return won
            outcome = await attempt.outcome
        except asyncio.CancelledError:
            await self._drop(choice, attempt)
            raise
        finally:
            self.attempt = None
        if found_no_slot(outcome):
            stale = outcome is Ended.BUSY or lane.reasons != reasons
            if send.final or not stale:
                lane.refused(misled=outcome is Ended.BUSY)
            return _STALE if stale else _NO_SLOT
        if self._waiter is not None:
            self._waiter.leave()
        ended = self._ended(choice, attempt, outcome)
        log_attempt(task, attempt, ended.report)
        return ended

    async def _hedged(self, send: Send, attempt: Attempt, after_s: float) -> AttemptEnded | None:
        """Make a second attempt where this one takes long; its end where it answered first, else None."""
        dependencies, state = self._dependencies, self.state
        capability, shares, fleet = self.task.capability, dependencies.hedge_shares, dependencies.fleet
        shares.sent(capability, state.rules.hedge.share_max if state.rules.hedge is not None else 0.0)
        if not await quiet_for(attempt.outcome, after_s) or state.pieces:
            return None
        why = f"{HEDGE_REASON}no answer of {send.choice.route.pool} within {after_s * 1000:.0f} ms"
        choice = second_choice(state, send.choice, fleet.view.pools, fleet.busy, why=why)
        if choice is None or not shares.take(capability):
            return None
        part = self._part(choice, once=True)
        self._parts, self._hedge = (part,), Hedge(part, choice)
        try:
            end, answer = await self._hedge.beside(attempt.outcome)
        finally:
            self._parts, self._hedge = (), None
        if answer is None or answer.finished is None or state.pieces:
            dependencies.ledger.hedged(capability, "lost" if end == "won" else end)
            state.take_in(part.state)
            return None
        dependencies.ledger.hedged(capability, end)
        if not attempt.outcome.done():
            await self._drop(send.choice, attempt)
        elif not found_no_slot(failed := attempt.outcome.result()):
            ended = self._ended(send.choice, attempt, failed)
            state.report(ended.report, ended.usage)
        state.queued_ms = part.state.queued_ms if state.queued_ms is None else state.queued_ms
        if self._waiter is not None:
            self._waiter.leave()
        self.finished, self._kept = answer.finished, (choice.route, answer.replica)
        return AttemptEnded(choice, answer.finished, part.state.attempts[-1], part.state.usage)

    async def _drop(self, choice: Choice, attempt: Attempt) -> None:
        """Nobody waits for an attempt any more, which a replica may have taken: it is cancelled at its worker."""
        self._dependencies.ledger.cancelled(attempt)
        report = report_of(choice, attempt, Ended.CANCELLED.value)
        self.state.report(report, usage_without_answer(choice, Ended.CANCELLED))
        await self._dependencies.attempts.abandon(attempt, Ended.CANCELLED)

    def _ended(self, choice: Choice, attempt: Attempt, outcome: Outcome) -> AttemptEnded:
        """Count an attempt that had a slot, and say how it ended."""
        if isinstance(outcome, Finished):
            # It is counted by `record_success` in the next turn of the loop, when the caller has the answer.
            if self.state.queued_ms is None:
                self._note_start(attempt)
            self.attempt, self.finished = attempt, outcome
            return AttemptEnded(choice, outcome, report_of(choice, attempt, "ok"), outcome.usage)
        return attempt_without_answer(self._dependencies, self.state, choice, attempt, outcome)

    def _result(self) -> Result:
        attempt, finished = self.attempt, self.finished
        served = (attempt.route, attempt.replica) if attempt is not None else self._kept
        if served is None or finished is None:  # pragma: no cover
            raise AssertionError("a run finishes with an attempt that went well")
        return self.state.ok(finished, *served, time.monotonic())

    def _keep(self) -> None:
        """The attempt went well, and is counted so; the run goes on."""
        if self.attempt is not None:
            self._kept = (self.attempt.route, self.attempt.replica)
        self.record_success()

    @property
    def route(self) -> Route | None:
        """Of the attempt that went well."""
        if self.attempt is not None:
            return self.attempt.route
        return self._kept[0] if self._kept is not None else None

    def record_success(self) -> None:
        """Count the attempt that went well, after the caller has the answer; and let go of it."""
        # The attempt knows this run: kept, each task would be a cycle for the garbage collector to find.
        attempt, self.attempt = self.attempt, None
        if attempt is not None and self.finished is not None:
            attempt.tell_started()
            self._dependencies.ledger.finished(attempt, self.finished)

    def _started(self, attempt: Attempt) -> None:
        """An attempt found a slot: say so, once."""
        self._dependencies.ledger.started(attempt)
        if self.state.queued_ms is None:
            self._note_start(attempt)
        self._dependencies.events.tell(self.task, "dispatched", route=attempt.route, replica=attempt.replica)

    def _note_start(self, attempt: Attempt) -> None:
        self.state.queued_ms = (attempt.started_at - self.task.accepted_at) * 1000

    async def _piece(self, text: str) -> None:
        self.state.pieces += 1
        if self._hedge is not None:
            self._hedge.stop()
        if self._on_piece is not None:
            await self._on_piece(text)

    async def _wait_for_slot(self, wait: WaitForSlot) -> Refreshed | LinesFull:
        if self._waiter is None:
            self._waiter = Waiter(self.task.priority, self.task.scope)
        lanes = [self._dependencies.fleet.lane(pool) for pool in wait.pools]
        try:
            turn = await self._waiter.turn(lanes, wait.up_to_s)
        except LanesFullError:
            return LinesFull()
        return self._refreshed(turn_of=turn.name if turn is not None else None)

    def _leave_lines(self) -> None:
        if self._waiter is not None:
            self._waiter.leave()
            self._waiter = None
