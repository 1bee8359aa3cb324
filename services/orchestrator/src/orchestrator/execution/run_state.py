"""
What has happened to one task in this orchestrator: all that `next_action` decides by, and all that its result tells.

Only `next_action` and the functions that it calls change it, apart from what is set once before the first step (`span`,
`deaths`), what the attempt under way tells (`pieces`, `queued_ms`), and what ended beside it (`take_in`,
`report`). Times are seconds of the loop's clock.
"""

import math
import random
from collections.abc import Callable
from typing import Final, Literal

import msgspec
from msgspec import Struct

from flotilla.chassis.tracing import Span
from flotilla.contracts.attempts import Finished, Usage
from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorBody, FailureKind
from flotilla.contracts.policy_rules import Rules
from flotilla.contracts.results import AttemptReport, Result
from flotilla.routing.types import Choice, Escalation, Panel, Route
from orchestrator.state.paid import Paid
from orchestrator.state.replica_states import Replica
from orchestrator.state.tasks import NO_USAGE, Task

ATTEMPTS_REPORTED_MAX: Final = 20
"""Of a task that waited out a long trouble, half of them the first and half the last."""
_NO_RULES: Final = Rules()


class RouteTries(Struct):
    """
    How a route has served the task so far.

    Attributes:
        failures: Attempts that failed there.
        unheard: Attempts in a row of which no replica said a word.
        status: `resting` until the next round, `given_up` for good.
    """

    failures: int = 0
    unheard: int = 0
    status: Literal["open", "resting", "given_up"] = "open"


class UnsureAnswer(Struct, frozen=True):
    """
    An answer that was not sure enough, or that not enough others agree with.

    Attributes:
        report: Of its attempt.
        behind: The routes that may be asked for a better one.
        why: It is not the result yet.
        answer_anyway: It is the result when none of them answers.
    """

    report: AttemptReport
    behind: frozenset[Route]
    why: str
    answer_anyway: bool


class Part(Struct, frozen=True):
    """
    What a run is limited to that is a part of another's: it asks one route, waits for no other, and settles nothing.

    Attributes:
        once: It is one attempt, made only where a slot is free.
    """

    route: Route
    once: bool = False

    def of(self, choices: tuple[Choice, ...]) -> tuple[Choice, ...]:
        """What it may try of a decision's choices."""
        return tuple(each for each in choices if each.route == self.route and not each.last_resort)


class PartEnded(Struct, frozen=True, gc=False):
    """
    A part of the task's run is over: one route that was asked beside others.

    Attributes:
        state: All that happened in it.
        finished: The answer; None where it has none.
        replica: That gave it.
        error: Why it has none; None of one that was not waited for to its end.
    """

    choice: Choice
    state: "RunState"
    finished: Finished | None = None
    replica: str = ""
    error: TaskError | None = None

    @property
    def is_lost(self) -> bool:
        """Its replica came into trouble with it, which says nothing of what its route would answer."""
        return self.finished is None and bool(self.state.losses)


class Consensus(Struct, frozen=True):
    """
    Routes that are asked at the same time, until it is known whether enough of their answers agree.

    Attributes:
        choices: All of them, in the policy's order.
        agree: How many answers must say the same.
        ended: Those that have answered, or have no answer to give; the others are asked, or asked again.
        kept: What is known of the first answer, for the case that no other comes in time.
    """

    choices: tuple[Choice, ...]
    agree: int
    ended: tuple[PartEnded, ...] = ()
    kept: UnsureAnswer | None = None

    def left(self, choices: tuple[Choice, ...]) -> tuple[Choice, ...]:
        """Those still to be asked, of the choices of a decision."""
        open_now = {each.route for each in choices if not each.last_resort}
        over = {part.choice.route for part in self.ended}
        return tuple(each for each in self.choices if each.route in open_now and each.route not in over)


class RunState(Struct):
    """
    One task's run.

    Attributes:
        span: Of its caller's trace; None while traces are off.
        rules: As last read from the policy in force.
        deadline_at: The task's own deadline, or the policy's when that is earlier.
        jitter: Gives 0 to 1, for pauses.
        attempts: Those that a replica took, or may have taken, as the result tells of them.
        usage: Of all attempts.
        queued_ms: From acceptance to the first attempt that had a slot.
        pieces: Of a streamed answer, passed on to the caller.
        choices: Of the last decision, those that may be tried; `tried` of them are dealt with in this round.
        resent: Times that the choice being tried was sent again at once.
        turn_of: The pool in whose line the task's turn has come: only its routes are tried.
        waiting_since: Without a slot or a route, of an asked task also without a replica; None while it has one.
        closed_until: When a route opens again that a provider has closed for a time (Retry-After).
        routes: Those on which an attempt failed.
        kinds: Why attempts failed.
        failures: Attempts that failed, those included that no replica was heard of.
        counted: Those of them that count towards ATTEMPTS_MAX.
        probes_spent: Health probes that failed with this task.
        rounds: Times that every route rested.
        losses: Attempts lost together with their replica, as far as is known: with one of these.
        deaths: Replicas that have died while they had it.
        escalation: Of the last decision.
        kept: The newest answer that was not sure enough, or that not enough others agree with.
        panel: Of the last decision.
        consensus: The routes that are being asked at the same time; None before and afterwards.
        asked: The routes that were asked at the same time in this round.
        part: What it is limited to; None of a whole task's run.
        paid: What attempts cost.
    """

    task: Task
    span: Span | None = None
    rules: Rules = _NO_RULES
    deadline_at: float = 0.0
    jitter: Callable[[], float] = random.random
    attempts: list[AttemptReport] = []
    usage: Usage = NO_USAGE
    queued_ms: float | None = None
    pieces: int = 0
    choices: tuple[Choice, ...] = ()
    tried: int = 0
    resent: int = 0
    turn_of: str | None = None
    waiting_since: float | None = None
    closed_until: float = -math.inf
    routes: dict[Route, RouteTries] = {}
    kinds: set[FailureKind] = set()
    failures: int = 0
    counted: int = 0
    probes_spent: int = 0
    rounds: int = 0
    losses: list[frozenset[Replica]] = []
    deaths: int = 0
    escalation: Escalation | None = None
    kept: UnsureAnswer | None = None
    panel: Panel | None = None
    consensus: Consensus | None = None
    asked: frozenset[Route] = frozenset()
    part: Part | None = None
    paid: list[Paid] = []

    def at(self, route: Route) -> RouteTries:
        """The tries of a route, kept from now on."""
        tries = self.routes.get(route)
        if tries is None:
            tries = self.routes[route] = RouteTries()
        return tries

    def report(self, report: AttemptReport, usage: Usage) -> None:
        """An attempt is over."""
        # Nearly every task has one attempt: its usage is the sum, and need not be added up.
        self.usage = usage if self.usage is NO_USAGE else self.usage + usage
        self.attempts.append(report)
        if usage.cost_usd != 0.0:
            self.paid.append(Paid(report.pool, report.model, usage.cost_usd))
        if usage.unpriced:
            self.paid.append(Paid(report.pool, report.model, None))
        if len(self.attempts) > ATTEMPTS_REPORTED_MAX:
            del self.attempts[ATTEMPTS_REPORTED_MAX // 2]

    def take_in(self, part: "RunState") -> None:
        """A part of the run is over: its attempts are the task's, are paid for and count."""
        usage, paid_before = part.usage, len(self.paid)
        for report in part.attempts:
            self.report(report, usage)
            usage = NO_USAGE
        self.paid[paid_before:] = part.paid
        self.queued_ms = min((ms for ms in (self.queued_ms, part.queued_ms) if ms is not None), default=None)
        for route, tries in part.routes.items():
            at = self.at(route)
            at.failures += tries.failures
            at.unheard, at.status = tries.unheard, tries.status
        self.failures += part.failures
        self.counted += part.counted
        self.kinds |= part.kinds
        self.losses += part.losses

    def ok(self, finished: Finished, route: Route, replica: str, now_s: float) -> Result:
        """The result of a task that went well."""
        task = self.task
        return Result(
            task=task.id,
            capability=task.capability,
            status="ok",
            output=finished.output,
            provider=finished.provider,
            model=finished.model,
            zone=route.zone,
            pool=route.pool,
            replica=replica,
            latency_ms=round((now_s - task.accepted_at) * 1000, 3),
            queued_ms=round(self.queued_ms or 0.0, 3),
            usage=self.usage,
            attempts=self.attempts,
            labels=task.options.labels or msgspec.UNSET,
            input_sha256=task.input_sha256,
        )

    def failed(self, error: ErrorBody) -> Result:
        """The result of a task that failed."""
        return self.task.failed(error, attempts=self.attempts, usage=self.usage, queued_ms=self.queued_ms)
