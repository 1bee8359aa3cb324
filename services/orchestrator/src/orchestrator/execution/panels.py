"""
Consensus: whether several routes are asked at the same time, and what follows their answers.

Pure, as all that `next_action` is made of. Where not enough of them agree, the first answer is kept and the routes behind
are asked one after the other, as a cascade escalates (`cascades.py`).
"""

from typing import Final

import msgspec

from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import RULES, ErrorKind
from flotilla.contracts.results import AttemptReport
from flotilla.routing.consensus import asked_together
from flotilla.routing.types import Choice, Panel
from orchestrator.execution.poison_tasks import losses_left
from orchestrator.execution.retries import ATTEMPTS_MAX, REFRESH, fails_as, wait_for_route
from orchestrator.execution.run_errors import every_route_failed
from orchestrator.execution.run_state import Kept, RunState
from orchestrator.execution.run_steps import Action, AskPanel, Escalate, Fail, Finish, PanelEnded, PartEnded

TOO_FEW_LOOK_S: Final = 5.0
"""A durable task that may have no answer without agreement looks so often whether enough routes are there."""

_FINISH: Final = Finish()
_ESCALATE: Final = Escalate()


def panel_due(run: RunState, panel: Panel, choices: tuple[Choice, ...]) -> Action | None:
    """
    Ask several of these choices at the same time; None when one is to be asked, as under any other strategy.

    That is so where only one is there, where the panel was asked already, and where the task may be a deadly one: no
    more replicas have it at a time than may still die of it.
    """
    if run.kept is not None or run.asked:
        return None
    together = asked_together(panel, choices)[: losses_left(run)]
    if len(together) < panel.agree and not panel.answer_anyway:
        if run.task.durable:
            return wait_for_route(run, TOO_FEW_LOOK_S)
        there = f"{len(together)} of its routes" if together else "none of its routes"
        text = f"{panel.agree} answers must agree on {run.task.capability}, and {there} can be asked now"
        return Fail(TaskError(ErrorKind.NO_ROUTE, text))
    if len(together) <= 1:
        return None
    run.choices = choices
    return AskPanel(together, min(panel.agree, len(together)))


def not_asked(run: RunState, choices: tuple[Choice, ...]) -> tuple[Choice, ...]:
    """
    After a panel of which nobody answered: the routes behind it.

    A route of the panel is not asked alone: its answer would be the result, and nobody would have agreed with it.
    """
    return tuple(choice for choice in choices if choice.route not in run.asked)


def without_vote(run: RunState) -> TaskError:
    """A part of a run ends without an answer: its route failed, is out, or lost its replica."""
    if run.attempts and run.kinds:
        return every_route_failed(run, fails_as(run.kinds))
    return TaskError(ErrorKind.NO_ROUTE, "the route is out")


def after_panel(run: RunState, event: PanelEnded) -> Action:
    """The result, the routes behind, or what follows failed attempts elsewhere."""
    run.waiting_since = None
    run.asked = frozenset(part.choice.route for part in event.parts)
    for part in event.parts:
        run.take_in(part.state)
    answered = [part for part in event.parts if part.finished is not None]
    if event.agreed is not None:
        chosen = event.parts[event.agreed]
        _say(run, chosen, f"{chosen.choice.reason}; agreed with others")
        return _FINISH
    for part in event.parts:
        # The task's own failure: no other route is to be asked, whatever some of them said.
        if part.error is not None and any(not RULES[kind].next_route for kind in part.state.kinds):
            return Fail(part.error)
    if answered:
        _keep(run, event, answered)
        return _ESCALATE
    if run.counted >= ATTEMPTS_MAX:
        return Fail(every_route_failed(run, fails_as(run.kinds)))
    return REFRESH


def chosen_part(event: PanelEnded) -> PartEnded | None:
    """The part whose answer is the result for now: the agreed one, else the first that answered."""
    if event.agreed is not None:
        return event.parts[event.agreed]
    return next((part for part in event.parts if part.finished is not None), None)


def _keep(run: RunState, event: PanelEnded, answered: list[PartEnded]) -> None:
    panel = run.panel
    agree = panel.agree if panel is not None else len(event.parts)
    if len(answered) < len(event.parts):
        why = f"{len(answered)} of {len(event.parts)} routes answered, and {agree} must agree"
    else:
        why = f"no {agree} of {len(event.parts)} answers agree"
    behind = frozenset(choice.route for choice in run.choices) - run.asked
    anyway = panel is None or panel.answer_anyway
    run.kept = Kept(answered[0].state.attempts[-1], behind, why, anyway)


def _say(run: RunState, chosen: PartEnded, reason: str) -> None:
    """Have the attempt that gave the result say why it is the result."""
    report: AttemptReport = chosen.state.attempts[-1]
    run.attempts[:] = [
        msgspec.structs.replace(each, reason=reason) if each is report else each for each in run.attempts
    ]
