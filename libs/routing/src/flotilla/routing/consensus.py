"""
`consensus`: the first routes of the policy's list are asked at the same time; what enough of them say is the result.

How many are asked, and how many must say the same, stands in the decision (`Panel`), and whoever runs the task follows it.
What the answers come to is decided by `agreed_on` and `is_undecided`, whoever asked the routes: a fleet or a simulation.
Only the routes of the decision are ever asked, so neither data classes nor the policy's list know an exception here.
"""

import random
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from flotilla.routing.candidates import Candidate
from flotilla.routing.strategy import InOrder, Strategy
from flotilla.routing.types import Choice, Panel, TaskView

ASK_MAX: Final = 3
"""A task that workers die of is given up after three of them, under this strategy too."""

Places = Annotated[int, Meta(ge=2, le=ASK_MAX)]


class ConsensusParameters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    Of `consensus`.

    Attributes:
        ask: How many routes are asked at the same time.
        agree: How many of their answers must say the same; no more than are asked.
        answer_anyway: Without agreement, when no route behind answers, the first answer is the result; else the task
            fails.
    """

    ask: Places = 2
    agree: Places = 2
    answer_anyway: bool = True


def plan(candidates: list[Candidate], task: TaskView, parameters: ConsensusParameters, rng: random.Random) -> InOrder:
    """The candidates as the policy lists them."""
    del task, rng
    ask = parameters.ask
    order = tuple(candidate.route for candidate in candidates)
    panel = Panel(order, ask, min(parameters.agree, ask), answer_anyway=parameters.answer_anyway)
    return InOrder(
        candidates,
        f"first of the {ask} that are asked at the same time",
        "asked with the first, or behind them",
        panel=panel,
    )


def asked_together(panel: Panel, choices: Sequence[Choice]) -> tuple[Choice, ...]:
    """
    Those of a decision's choices that are asked at the same time, the reason filled in.

    A health probe has the first of the places. Full routes keep theirs, and are waited for: which routes answer does not
    depend on the load. Ejected and returning ones have none.
    """
    healthy = {choice.route: choice for choice in choices if not (choice.probe or choice.last_resort)}
    probes = [choice for choice in choices if choice.probe]
    found = [*probes, *(healthy[route] for route in panel.order if route in healthy)][: panel.ask]
    if len(found) <= 1:
        return tuple(found)
    reason = f"one of {len(found)} asked at the same time"
    return tuple(choice if choice.probe else msgspec.structs.replace(choice, reason=reason) for choice in found)


def agreed_on(answers: Sequence[Hashable | None], agree: int) -> int | None:
    """
    Which answer is the result: the first of the largest group that says the same, and has `agree` members.

    Args:
        answers: What each route said, as keys, in the order of the routes; None of one that has not answered, or failed.
        agree: How many must say the same, at least 1.
    """
    counted = Counter(answer for answer in answers if answer is not None)
    most = max(counted.values(), default=0)
    if most < agree:
        return None
    return next(place for place, answer in enumerate(answers) if answer is not None and counted[answer] == most)


def is_undecided(answers: Sequence[Hashable | None], agree: int, *, pending: int) -> bool:
    """
    Whether the routes of which nothing is known yet are waited for: they may still bring so many together.

    Where they cannot any more, a first answer is waited for all the same: it is kept for the case that no route behind has
    one, and a route that was cancelled while it worked would have to be asked again.
    """
    counted = Counter(answer for answer in answers if answer is not None)
    most = max(counted.values(), default=0)
    return pending > 0 and most < agree and (not most or most + pending >= agree)


def flaw(parameters: ConsensusParameters) -> str:
    """More that must agree than are asked; see `Strategy.flaw`."""
    if parameters.agree <= parameters.ask:
        return ""
    return f"agree: {parameters.agree} answers cannot agree where {parameters.ask} are asked for (ask)"


STRATEGY: Final = Strategy(
    name="consensus", parameters=ConsensusParameters, plan=plan, depends_on_task=False, flaw=flaw
)
