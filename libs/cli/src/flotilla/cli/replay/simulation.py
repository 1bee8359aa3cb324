"""
Recorded tasks played through a policy in simulated time: the router of an orchestrator decides, the recording answers.

No I/O and no clock. What is simulated is a fleet with a slot for every attempt: tasks arrive evenly, attempts take what
they took when they were recorded, and the router hears of their ends as it would of real ones, so that guards, breakers and
what strategies observe work as in a fleet. A failed attempt goes to the next route, without a second try on the same one:
the recording has one attempt for each model and task.
"""

import heapq
import random
from collections.abc import Callable, Generator
from itertools import count
from typing import Final

import msgspec
from msgspec import Struct

from flotilla.cli.replay.recorded_fleet import RecordedFleet
from flotilla.cli.replay.recording import Recorded, Recording, Row
from flotilla.contracts.attempts import Usage
from flotilla.contracts.failures import RULES, FailureKind
from flotilla.contracts.policy import Policy
from flotilla.contracts.stats import RouteKey
from flotilla.routing.consensus import agreed_on, asked_together, is_undecided
from flotilla.routing.observation import UPDATE_INTERVAL_MS
from flotilla.routing.router import PolicyRouter
from flotilla.routing.types import Choice, Decision, Escalation, Panel, Route

START_UNIX_MS: Final = 1_800_000_000_000
MS_PER_S: Final = 1000.0
RATE_PER_S_DEFAULT: Final = 10.0
SEED_DEFAULT: Final = 7


class Outage(Struct, frozen=True, kw_only=True):
    """A model that cannot be reached while tasks with these places in the recording arrive, `begin` to before `end`."""

    model: str
    begin: int
    end: int


class Outcome(Struct, frozen=True, kw_only=True):
    """
    What a task came to.

    Attributes:
        answer: None where it failed.
        seconds: From its arrival to its end: attempts one after the other add up, of parallel ones the longest counts.
        cost_usd: Of all its attempts; None where that of one is not known.
        calls: The models that were called, in order.
        escalated: It was asked for again, since an answer was not sure enough or answers did not agree.
    """

    answer: str | None
    label: str | None
    seconds: float
    cost_usd: float | None
    calls: tuple[str, ...]
    escalated: bool


class _Spent:
    """What a task has used up so far."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.cost_usd: float | None = 0.0
        self.calls: list[str] = []
        self.escalated = False

    def pay(self, model: str, recorded: Recorded) -> None:
        self.calls.append(model)
        cost_usd = recorded.cost_usd
        if cost_usd is None and recorded.answer is None:
            cost_usd = 0.0  # a call that failed, and of which the recording names no cost
        self.cost_usd = None if cost_usd is None or self.cost_usd is None else self.cost_usd + cost_usd

    def outcome(self, row: Row, answer: str | None) -> Outcome:
        return Outcome(
            answer=answer,
            label=row.label,
            seconds=self.seconds,
            cost_usd=self.cost_usd,
            calls=tuple(self.calls),
            escalated=self.escalated,
        )


_Steps = Generator[float, None, Outcome]
"""A task on its way: yields how many seconds it waits."""


def simulate(
    recording: Recording,
    policy: Policy,
    fleet: RecordedFleet,
    *,
    rate_per_s: float = RATE_PER_S_DEFAULT,
    seed: int = SEED_DEFAULT,
    outages: tuple[Outage, ...] = (),
) -> list[Outcome]:
    """Every row's outcome under a policy, in the recording's order; the same arguments give the same outcomes."""
    played = _Simulation(recording, policy, fleet, rate_per_s=rate_per_s, seed=seed, outages=outages)
    return played.run()


class _Simulation:
    def __init__(
        self,
        recording: Recording,
        policy: Policy,
        fleet: RecordedFleet,
        *,
        rate_per_s: float,
        seed: int,
        outages: tuple[Outage, ...],
    ) -> None:
        self._rows = recording.rows
        self._fleet = fleet
        self._outages = outages
        self._gap_ms = MS_PER_S / rate_per_s
        self._now_ms = 0.0
        self._observed_ms = 0.0
        self._order = count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._router = PolicyRouter("replay", rng=random.Random(seed), clock=lambda: START_UNIX_MS + int(self._now_ms))
        self._router.use(policy)
        self._outcomes: dict[int, Outcome] = {}

    def run(self) -> list[Outcome]:
        for place in range(len(self._rows)):
            self._run_until(place * self._gap_ms)
            self._step(place, self._task(place))
        self._run_until(float("inf"))
        return [self._outcomes[place] for place in range(len(self._rows))]

    def _run_until(self, until_ms: float) -> None:
        while self._events and self._events[0][0] <= until_ms:
            self._now_ms, _, happens = heapq.heappop(self._events)
            happens()
        if until_ms < float("inf"):
            self._now_ms = until_ms

    def _after(self, seconds: float, happens: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self._now_ms + seconds * MS_PER_S, next(self._order), happens))

    def _step(self, place: int, steps: _Steps) -> None:
        try:
            waits_s = next(steps)
        except StopIteration as end:
            self._outcomes[place] = end.value
        else:
            self._after(waits_s, lambda: self._step(place, steps))

    def _decide(self, row: Row) -> Decision:
        if self._now_ms - self._observed_ms >= UPDATE_INTERVAL_MS:
            self._router.update()
            self._observed_ms = self._now_ms
        return self._router.decide(self._fleet.task(row), self._fleet.view)

    def _task(self, place: int) -> _Steps:
        row, spent = self._rows[place], _Spent()
        decision = self._decide(row)
        if decision.panel is not None:
            return (yield from self._together(place, row, spent, decision, decision.panel))
        escalation = decision.escalation
        anyway = escalation is not None and escalation.answer_anyway
        return (yield from self._in_order(place, row, spent, list(decision.routes), escalation, anyway=anyway))

    def _together(self, place: int, row: Row, spent: _Spent, decision: Decision, panel: Panel) -> _Steps:
        """Several routes at the same time, until enough of them agree or no more can; then those behind, in order."""
        together = asked_together(panel, decision.routes)
        if len(together) < panel.agree and not panel.answer_anyway:
            return spent.outcome(row, None)
        if len(together) <= 1:
            return (yield from self._in_order(place, row, spent, list(decision.routes), None, anyway=False))
        agree = min(panel.agree, len(together))
        found = [self._attempt(place, row, choice, spent) for choice in together]
        answers: list[str | None] = [None] * len(found)
        pending = len(found)
        for index in sorted(range(len(found)), key=lambda index: found[index].seconds):
            yield found[index].seconds - spent.seconds
            spent.seconds = found[index].seconds
            answers[index] = found[index].answer
            pending -= 1
            chosen = agreed_on(answers, agree)
            if chosen is not None:
                return spent.outcome(row, answers[chosen])
            if not is_undecided(answers, agree, pending=pending):
                break
        if any(each.failure is not None and not RULES[each.failure].next_route for each in found):
            return spent.outcome(row, None)
        spent.escalated = True
        asked = {choice.route for choice in together}
        behind = [each for each in decision.routes if each.route not in asked]
        kept = next((answer for answer in answers if answer is not None), None)
        return (yield from self._in_order(place, row, spent, behind, None, anyway=panel.answer_anyway, kept=kept))

    def _in_order(
        self,
        place: int,
        row: Row,
        spent: _Spent,
        left: list[Choice],
        escalation: Escalation | None,
        *,
        anyway: bool,
        kept: str | None = None,
    ) -> _Steps:
        """
        One route after the other, until an answer is the result.

        With `anyway` the answer that was kept, being not sure enough or not agreed with, is the result in the end.
        """
        while left:
            choice = left.pop(0)
            if choice.last_resort and not spent.calls:
                continue
            found = self._attempt(place, row, choice, spent)
            yield found.seconds
            spent.seconds += found.seconds
            if found.answer is None:
                if found.failure is not None and not RULES[found.failure].next_route:
                    break
                continue
            behind: frozenset[Route] = frozenset()
            if escalation is not None and found.confidence is not None and found.confidence < escalation.confidence_min:
                behind = escalation.behind(choice.route)
            if not behind:
                return spent.outcome(row, found.answer)
            kept, spent.escalated = found.answer, True
            left = [each for each in left if each.route in behind]
        return spent.outcome(row, kept if anyway else None)

    def _attempt(self, place: int, row: Row, choice: Choice, spent: _Spent) -> Recorded:
        """Begin an attempt; the router hears of its end when its time has passed."""
        route = choice.route
        model = self._fleet.model_of(route)
        found = self._answer(place, row.by_model[model], model)
        spent.pay(model, found)
        recorder = self._router.recorder.at(RouteKey(route.pool, route.model, self._fleet.capability))
        began = START_UNIX_MS + int(self._now_ms)
        recorder.started(began)
        usage = Usage(input_tokens=found.input_tokens, output_tokens=found.output_tokens, cost_usd=found.cost_usd)

        def end() -> None:
            now_unix_ms = START_UNIX_MS + int(self._now_ms)
            if found.failure is None:
                recorder.finished(started_unix_ms=began, now_unix_ms=now_unix_ms, usage=usage)
            else:
                recorder.failed(found.failure, started_unix_ms=began, now_unix_ms=now_unix_ms, usage=usage)

        self._after(found.seconds, end)
        return found

    def _answer(self, place: int, recorded: Recorded, model: str) -> Recorded:
        """What was recorded, but for outages and the policy's timeout of an attempt."""
        if any(each.model == model and each.begin <= place < each.end for each in self._outages):
            return Recorded(answer=None, failure=FailureKind.UNAVAILABLE)
        timeout_s = self._router.rules_of(self._fleet.capability).attempt_timeout_s
        if recorded.seconds > timeout_s:
            return msgspec.structs.replace(recorded, answer=None, seconds=timeout_s, failure=FailureKind.TIMEOUT)
        return recorded
