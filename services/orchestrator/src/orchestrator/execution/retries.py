"""
What follows a failed attempt, and what follows when no route is left. Pure, as all that `next_action` is made of.

Whether a failure is the task's own or passes by itself stands in `contracts/failures.py`. A durable task waits for what
passes until its deadline, whatever it costs in attempts; an asked one only for what passes within seconds.
"""

from typing import Final

from flotilla.contracts.attempts import Failed
from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import RULES, ErrorKind, FailureKind, Rule
from flotilla.routing.types import Choice, Decision
from orchestrator.execution.run_errors import (
    back_in_s,
    every_route_failed,
    gate_ahead,
    is_timed,
    no_route,
    not_now,
    stream_broke,
)
from orchestrator.execution.run_state import RouteTries, RunState
from orchestrator.execution.run_steps import Action, AttemptEnded, Backoff, Fail, Park, Pause, Refresh, ToGate

ATTEMPTS_MAX: Final = 10
"""Of those that count."""
BACKOFF_S_MAX: Final = 5.0
PROBES_SPENT_MAX: Final = 3
UNHEARD_IN_A_ROW_MAX: Final = 3
REST_S: Final = 0.5
REST_S_MAX: Final = 15.0
ASK_REST_S_MAX: Final = 2.0
ABSENT_PATIENCE_S: Final = 2.0
"""An asked task waits so long for a replica to come."""
LIMITED_PATIENCE_S: Final = 30.0
"""And so long for a limit, where the policy has no `queue_timeout_s`."""
REOPENED_PATIENCE_S: Final = 1.0
"""And so long, after a route should be open again that a provider closed for a time."""
PARKED_LOOK_S: Final = 5.0
_DOUBLINGS_MAX: Final = 10

REFRESH: Final = Refresh()
_TO_GATE: Final = ToGate()


def may_be_tried(run: RunState, choices: tuple[Choice, ...]) -> tuple[Choice, ...]:
    """Those of a decision's routes that are to be tried in this round."""
    return tuple(choice for choice in choices if _is_open(run.routes.get(choice.route)))


def _is_open(tries: RouteTries | None) -> bool:
    return tries is None or (tries.status == "open" and tries.unheard < UNHEARD_IN_A_ROW_MAX)


def after_failure(run: RunState, event: AttemptEnded, failed: Failed, now_s: float) -> Action:
    """What follows an attempt that failed."""
    if run.pieces:
        return Fail(stream_broke(run.pieces, failed.kind))
    if event.suspects:
        run.losses.append(event.suspects)
    run.failures += 1
    run.kinds.add(failed.kind)
    tries = run.at(event.choice.route)
    if failed.kind is FailureKind.LOST and not event.heard:
        # One that froze, or died with the request unopened, swallowed it. It stays in its queue group until the server
        # notices (30 s), and while the others are full it is the only member, so a request that it swallows costs the
        # task its second, and not one of its tries: the deadline is the bound.
        tries.unheard += 1
        return REFRESH
    tries.failures += 1
    rule = RULES[failed.kind]
    if not rule.next_route:
        return _given_up(rule.fails_as, failed)
    waits = rule.passes if run.task.durable else rule.passes_soon
    if rule.counts or not waits:
        if _is_spent_probe(run, event.choice, rule):
            tries.status = "resting"
            return REFRESH
        run.counted += 1
        if run.counted >= ATTEMPTS_MAX:
            return _given_up(ErrorKind.PROVIDER_FAILED, failed)
    return _same_route(run, tries, failed, now_s) or _next_route(tries, waits=waits)


def _same_route(run: RunState, tries: RouteTries, failed: Failed, now_s: float) -> Action | None:
    """Another try of the same route, after a pause; None when it has had its tries, or the pause would be too long."""
    rule, asked_s = RULES[failed.kind], failed.retry_after_s
    if tries.failures > rule.same_route_max:
        return None
    after_s = _jittered(run, rule.backoff_s, tries.failures, BACKOFF_S_MAX) if asked_s is None else asked_s
    if after_s > BACKOFF_S_MAX or after_s >= run.deadline_at - now_s:
        return None
    if asked_s is None or not rule.penalise:
        return Backoff(after_s)
    # Retry-After closes the route for all tasks: meanwhile another route may serve this one, and without one it waits.
    run.closed_until = now_s + after_s
    return REFRESH


def _next_route(tries: RouteTries, *, waits: bool) -> Action:
    tries.status = "resting" if waits else "given_up"
    return REFRESH


def _is_spent_probe(run: RunState, choice: Choice, rule: Rule) -> bool:
    """A health probe finds out about its route for everybody, and was expected to fail: it is none of the task's tries."""
    if not (choice.probe and run.task.durable and rule.penalise and run.probes_spent < PROBES_SPENT_MAX):
        return False
    run.probes_spent += 1
    return True


def _given_up(kind: ErrorKind, failed: Failed) -> Fail:
    return Fail(TaskError(kind, failed.message or failed.kind.value, details={"failure": failed.kind.value}))


def reopen_unheard(run: RunState) -> None:
    """When no other route is left, take up those again that no replica was heard of."""
    for tries in run.routes.values():
        tries.unheard = 0


def without_route(run: RunState, decision: Decision, unix_s: float, now_s: float) -> Action:
    """What a task does that has no route to try now: the decision has none, or none that is left."""
    if decision.at_gate:
        return _TO_GATE if run.task.durable else Fail(gate_ahead(run.task))
    if any(tries.status == "resting" for tries in run.routes.values()):
        return rest(run)
    waits = any(each.waits and not _is_done_with(run, each.pool, each.model) for each in decision.excluded)
    # A durable task whose pool has died before it failed there for good waits for the pool, as one that was never tried
    # does.
    if run.failures and not waits and (not run.task.durable or _has_given_up(run)):
        return Fail(every_route_failed(run, fails_as(run.kinds)))
    if not waits and decision.excluded:
        return Fail(no_route(run.task, decision))
    if run.task.durable:
        timed_s = min(PARKED_LOOK_S, back_in_s(decision, unix_s)) if is_timed(decision) else PARKED_LOOK_S
        return wait_for_route(run, timed_s)
    return _be_patient(run, decision, unix_s, now_s)


def rest(run: RunState) -> Action:
    """Whatever is left rests for a while; then it is tried in a new round."""
    run.rounds += 1
    _next_round(run)
    most_s = REST_S_MAX if run.task.durable else ASK_REST_S_MAX
    return wait_for_route(run, _jittered(run, REST_S, run.rounds, most_s))


def wait_for_route(run: RunState, after_s: float) -> Action:
    """A durable task is parked for so long; an asked one waits."""
    return Park(after_s) if run.task.durable else Pause(after_s)


def _be_patient(run: RunState, decision: Decision, unix_s: float, now_s: float) -> Action:
    """An asked task waits a moment for a replica to come, or for a route to be open again."""
    if run.waiting_since is None:
        run.waiting_since = now_s
    back_s = back_in_s(decision, unix_s)
    if any(each.limited for each in decision.excluded):
        # As for a slot. One that frees later than that is not waited for at all: the caller is told when.
        left_s = min(run.waiting_since + (run.rules.queue_timeout_s or LIMITED_PATIENCE_S), run.deadline_at) - now_s
        return Pause(back_s) if back_s < left_s else Fail(not_now(run.task, decision, unix_s))
    patient_until = max(run.waiting_since + ABSENT_PATIENCE_S, run.closed_until + REOPENED_PATIENCE_S)
    left_s = min(patient_until, run.deadline_at) - now_s
    if left_s <= 0:
        return Fail(not_now(run.task, decision, unix_s)) if now_s < run.deadline_at else REFRESH
    return Pause(min(left_s, back_s))


def _next_round(run: RunState) -> None:
    if run.asked:
        # Of a consensus without a result: in the new round the routes are asked together again.
        run.asked, run.kept = frozenset(), None
    for tries in run.routes.values():
        if tries.status == "resting":
            tries.status = "open"


def _has_given_up(run: RunState) -> bool:
    return any(tries.status == "given_up" for tries in run.routes.values())


def _is_done_with(run: RunState, pool: str, model: str) -> bool:
    return any(
        route.pool == pool and route.model == model and tries.status == "given_up"
        for route, tries in run.routes.items()
    )


def _jittered(run: RunState, first_s: float, time: int, most_s: float) -> float:
    """Doubles from time to time (which counts from 1), a quarter more or less."""
    return min(first_s * 2 ** min(time - 1, _DOUBLINGS_MAX), most_s) * (0.75 + run.jitter() / 2)


def fails_as(kinds: set[FailureKind]) -> ErrorKind:
    """What a task has failed as that no route is left for, by why its attempts failed."""
    found = {RULES[kind].fails_as for kind in kinds}
    return found.pop() if len(found) == 1 else ErrorKind.PROVIDER_FAILED
