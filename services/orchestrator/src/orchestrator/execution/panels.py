"""
Consensus: whether several routes are asked at the same time, and what follows their answers.

Pure, as all that `next_action` is made of. An attempt that was lost with its replica is no answer and no refusal: its route
is asked again before it is decided. Where not enough of them agree, the first answer is kept and the routes behind are asked
one after the other, as a cascade escalates (`cascades.py`).
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
from orchestrator.execution.run_state import Consensus, PartEnded, RunState, UnsureAnswer
from orchestrator.execution.run_steps import Action, AskPanel, Escalate, Fail, Finish, PanelEnded

TOO_FEW_LOOK_S: Final = 5.0
"""A durable task that may have no answer without agreement looks so often whether enough routes are there."""

_FINISH: Final = Finish()
_ESCALATE: Final = Escalate()


def panel_due(run: RunState, panel: Panel, choices: tuple[Choice, ...]) -> Action | None:
    """
    Ask several of these choices at the same time; None when one is to be asked, as under any other strategy.

    That is so where only one is there, and where the panel was asked already.
    """
    if run.kept is not None or run.asked:
        return None
    together = asked_together(panel, choices)
    if len(together) < panel.agree and not panel.answer_anyway:
        if run.task.durable:
            return wait_for_route(run, TOO_FEW_LOOK_S)
        there = f"{len(together)} of its routes" if together else "none of its routes"
        text = f"{panel.agree} answers must agree on {run.task.capability}, and {there} can be asked now"
        return Fail(TaskError(ErrorKind.NO_ROUTE, text))
    if len(together) <= 1:
        return None
    run.choices = choices
    run.consensus = consensus = Consensus(together, min(panel.agree, len(together)))
    return _ask(run, consensus, together)


def ask_the_rest(run: RunState, consensus: Consensus, choices: tuple[Choice, ...]) -> Action:
    """Ask those again that were lost, and those that have not been asked yet; without any left it is decided."""
    left = consensus.left(choices)
    return _ask(run, consensus, left) if left else _decided(run, consensus.ended, consensus)


def _ask(run: RunState, consensus: Consensus, choices: tuple[Choice, ...]) -> AskPanel:
    """No more replicas have a task at a time than may still die of it: the others of the routes are asked afterwards."""
    return AskPanel(choices[: max(1, losses_left(run))], consensus)


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
    """The result, the lost ones again, the routes behind, or what follows failed attempts elsewhere."""
    consensus = run.consensus
    if consensus is None:  # pragma: no cover
        raise AssertionError("a panel ends that was asked")
    run.waiting_since = None
    before = {part.choice.route for part in consensus.ended}
    for part in event.parts:
        if part.choice.route not in before:
            run.take_in(part.state)
    if event.agreed is not None:
        chosen = event.parts[event.agreed]
        _say(run, chosen, f"{chosen.choice.reason}; agreed with others")
        return _FINISH
    for part in event.parts:
        # The task's own failure: no other route is to be asked, whatever some of them said.
        if part.error is not None and any(not RULES[kind].next_route for kind in part.state.kinds):
            return Fail(part.error)
    if event.is_open and run.counted < ATTEMPTS_MAX:
        ended = tuple(part for part in event.parts if not part.is_lost)
        run.consensus = msgspec.structs.replace(consensus, ended=ended, kept=_kept(run, ended, consensus))
        return REFRESH
    return _decided(run, event.parts, consensus)


def _decided(run: RunState, parts: tuple[PartEnded, ...], consensus: Consensus) -> Action:
    """No agreement comes about any more."""
    _over(run, consensus)
    kept = _kept(run, parts, consensus)
    if kept is not None:
        run.kept = kept
        return _ESCALATE
    if run.counted >= ATTEMPTS_MAX:
        return Fail(every_route_failed(run, fails_as(run.kinds)))
    return REFRESH


def _over(run: RunState, consensus: Consensus) -> None:
    """The routes behind are next, if any: none of these is asked again in this round."""
    run.asked, run.consensus = frozenset(choice.route for choice in consensus.choices), None


def chosen_part(event: PanelEnded) -> PartEnded | None:
    """The part whose answer is the result for now: the agreed one, else the first that answered."""
    if event.agreed is not None:
        return event.parts[event.agreed]
    return next((part for part in event.parts if part.finished is not None), None)


def _kept(run: RunState, parts: tuple[PartEnded, ...], consensus: Consensus) -> UnsureAnswer | None:
    """The first answer, and why it is not the result; None without any."""
    answered = [part for part in parts if part.finished is not None]
    if not answered:
        return None
    count = len(consensus.choices)
    agree = run.panel.agree if run.panel is not None else count
    if len(answered) < count:
        why = f"{len(answered)} of {count} routes answered, and {agree} must agree"
    else:
        why = f"no {agree} of {count} answers agree"
    behind = frozenset(choice.route for choice in run.choices) - {choice.route for choice in consensus.choices}
    anyway = run.panel is None or run.panel.answer_anyway
    return UnsureAnswer(answered[0].state.attempts[-1], behind, why, anyway)


def _say(run: RunState, chosen: PartEnded, reason: str) -> None:
    """Have the attempt that gave the result say why it is the result."""
    report: AttemptReport = chosen.state.attempts[-1]
    run.attempts[:] = [
        msgspec.structs.replace(each, reason=reason) if each is report else each for each in run.attempts
    ]
