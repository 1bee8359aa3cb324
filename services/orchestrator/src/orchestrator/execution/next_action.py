"""
What a task's run does next: a pure function of its state and of what just happened. `task_run.py` performs it.

The usual way is four steps: refreshed, routed, sent, finished. All times are seconds of the loop's clock.
"""

from typing import Final

from flotilla.contracts.attempts import Failed, Finished
from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorKind, FailureKind
from flotilla.routing.types import Choice
from orchestrator.execution.cascades import after_answer, nobody_behind, routes_behind
from orchestrator.execution.hedges import hedge_after_s
from orchestrator.execution.panels import after_panel, ask_the_rest, not_asked, panel_due, without_vote
from orchestrator.execution.poison_tasks import DEATHS_MAX, danger_of, deaths_to_tell, goes_alone, weigh_losses
from orchestrator.execution.retries import (
    REFRESH,
    after_failure,
    may_be_tried,
    reopen_unheard,
    rest,
    wait_for_route,
    without_route,
)
from orchestrator.execution.run_errors import all_slots_busy, lines_full, too_deadly, too_late
from orchestrator.execution.run_state import RunState
from orchestrator.execution.run_steps import (
    Action,
    AttemptEnded,
    Backoff,
    DeathsTold,
    Fail,
    FindRoutes,
    Finish,
    LinesFull,
    NoSlot,
    NotAlone,
    OverLimit,
    PanelEnded,
    Refreshed,
    Routed,
    RunEvent,
    Send,
    TellDeaths,
    WaitForSlot,
)
from orchestrator.state.outcomes import Ended

QUEUE_TIMEOUT_S: Final = 30.0
"""Of an asked task whose policy names none; a durable one then waits until its deadline."""
REROUTE_EVERY_S: Final = 1.0
UNSAFE_LOOK_S: Final = 0.5
RESENT_MAX: Final = 3
"""Times that a task is sent again at once which a replica was too full for; then it stands in line."""
DEADLINE_MARGIN_S: Final = 0.25
"""A replica may tell of a deadline so long before it passes by the clock here."""

_FIND_ROUTES: Final = FindRoutes()
_FIND_ROUTES_ALONE: Final = FindRoutes(alone=True)
_FINISH: Final = Finish()


def next_action(run: RunState, event: RunEvent, now_s: float) -> Action:  # noqa: PLR0911  (one for each event)
    """Take in what happened, and decide what is done now."""
    match event:
        case AttemptEnded():
            return _after_attempt(run, event, now_s)
        case Routed():
            return (_after_routing if run.part is None else _after_routing_part)(run, event, now_s)
        case Refreshed():
            return _after_refresh(run, event, now_s)
        case NoSlot(stale=stale):
            return _after_refusal(run, now_s, stale=stale)
        case OverLimit():
            return REFRESH
        case DeathsTold():
            return _if_safe(run)
        case NotAlone():
            return wait_for_route(run, UNSAFE_LOOK_S)
        case LinesFull():
            return Fail(lines_full())
        case PanelEnded():
            return after_panel(run, event)


def ended_as(run: RunState, outcome: Failed | Ended, now_s: float) -> Failed | Ended:
    """How an attempt has ended: a timeout that a replica tells of when the task's deadline is due is the deadline."""
    is_timeout = isinstance(outcome, Failed) and outcome.kind is FailureKind.TIMEOUT
    return Ended.DEADLINE if is_timeout and run.deadline_at - now_s < DEADLINE_MARGIN_S else outcome


def _after_refresh(run: RunState, event: Refreshed, now_s: float) -> Action:
    task = run.task
    rules = run.rules = event.rules
    total_s = rules.total_timeout_s
    run.deadline_at = task.deadline_at if total_s is None else min(task.deadline_at, task.accepted_at + total_s)
    run.turn_of = event.turn_of
    if event.cancelled:
        return Fail(TaskError(ErrorKind.CANCELLED, "cancelled by the caller"))
    if now_s >= run.deadline_at:
        return Fail(too_late(run))
    if not (run.losses or run.deaths):
        return _FIND_ROUTES
    if run.part is not None:
        # Whether its replica died of the task is for the whole run to find out.
        return Fail(without_vote(run))
    if not run.losses and run.deaths < DEATHS_MAX:
        # Told of by whoever had the task before.
        return _if_safe(run)
    weigh_losses(run, event.standings)
    return TellDeaths(deaths_to_tell(run)) if task.durable else _if_safe(run)


def _if_safe(run: RunState) -> Action:
    """Whether the task may be given to one more replica."""
    match danger_of(run):
        case "poison":
            return Fail(too_deadly(run))
        case "wait":
            return wait_for_route(run, UNSAFE_LOOK_S)
        case "none":
            return _FIND_ROUTES_ALONE if goes_alone(run) else _FIND_ROUTES


def _after_routing(run: RunState, event: Routed, now_s: float) -> Action:
    listed = event.decision.routes
    run.escalation = event.decision.escalation
    kept = run.kept
    if kept is not None:
        listed = routes_behind(kept, listed)
    choices = _left_to_try(run, listed)
    if run.consensus is not None:
        return ask_the_rest(run, run.consensus, choices)
    if not choices:
        if kept is not None and (kept.answer_anyway or not run.failures):
            return Fail(nobody_behind(kept))
        return without_route(run, event.decision, event.unix_s, now_s)
    panel = run.panel = event.decision.panel
    if run.asked:
        choices = not_asked(run, choices)
        if not choices:
            return rest(run)
    if panel is not None and (together := panel_due(run, panel, choices)) is not None:
        return together
    run.choices = choices
    run.tried = 0
    return _next_choice(run, now_s)


def _left_to_try(run: RunState, listed: tuple[Choice, ...]) -> tuple[Choice, ...]:
    if not run.failures:
        return listed
    choices = may_be_tried(run, listed)
    if not choices and listed and run.consensus is None:
        reopen_unheard(run)
        choices = may_be_tried(run, listed)
    return choices


def _after_routing_part(run: RunState, event: Routed, now_s: float) -> Action:
    """A part has one route, and nothing to wait for without it."""
    choices = run.part.of(event.decision.routes) if run.part is not None else ()
    if run.failures:
        choices = may_be_tried(run, choices)
    if not choices:
        return Fail(without_vote(run))
    run.choices = choices
    run.tried = 0
    return _next_choice(run, now_s)


def _next_choice(run: RunState, now_s: float) -> Action:
    """Try the routes in order; when none has a slot, wait for one."""
    turn_of = run.turn_of
    while run.tried < len(run.choices):
        choice = run.choices[run.tried]
        run.tried += 1
        if turn_of is not None and choice.route.pool != turn_of:
            continue
        if choice.last_resort and not run.attempts:
            continue
        run.resent = 0
        return Send(choice, has_turn=turn_of is not None, hedge_after_s=hedge_after_s(run, choice))
    return _wait_for_slot(run, now_s)


def _after_refusal(run: RunState, now_s: float, *, stale: bool) -> Action:
    if not stale or run.resent >= RESENT_MAX:
        return _next_choice(run, now_s)
    run.resent += 1
    choice = run.choices[run.tried - 1]
    return Send(choice, has_turn=True, final=run.resent == RESENT_MAX, hedge_after_s=hedge_after_s(run, choice))


def _wait_for_slot(run: RunState, now_s: float) -> Action:
    """Stand in line for any of the routes until it is this task's turn, or time to look at the routes again."""
    if run.part is not None and run.part.once:
        return Fail(all_slots_busy(0.0))
    queue_timeout_s = run.rules.queue_timeout_s
    if queue_timeout_s is None and not run.task.durable:
        queue_timeout_s = QUEUE_TIMEOUT_S
    if run.waiting_since is None:
        run.waiting_since = now_s
    elif queue_timeout_s is not None and now_s - run.waiting_since >= queue_timeout_s:
        return Fail(all_slots_busy(queue_timeout_s))
    pools = tuple(dict.fromkeys(choice.route.pool for choice in run.choices))
    return WaitForSlot(pools, min(REROUTE_EVERY_S, max(0.0, run.deadline_at - now_s)))


def _after_attempt(run: RunState, event: AttemptEnded, now_s: float) -> Action:
    run.waiting_since = None
    run.report(event.report, event.usage)
    outcome = event.outcome
    if isinstance(outcome, Finished):
        return _FINISH if run.escalation is None else after_answer(run, event, outcome)
    if isinstance(outcome, Failed):
        action = after_failure(run, event, outcome, now_s)
        return Fail(without_vote(run)) if run.part is not None and run.part.once else action
    # The deadline is by the replica's clock or the sweep's, and may be a moment ahead of the one here.
    return Backoff(DEADLINE_MARGIN_S) if outcome is Ended.DEADLINE else REFRESH
