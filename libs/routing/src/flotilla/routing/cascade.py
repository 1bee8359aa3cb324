"""
`cascade`: the routes in the policy's order, cheap ones first; an answer that is not sure enough is asked for again behind.

The threshold stands in the decision (`Escalation`), and whoever runs the task follows it. Only the routes of the decision
are ever escalated to, so neither data classes nor the policy's list know an exception here.
"""

import random
from typing import Annotated, Final

from msgspec import Meta, Struct

from flotilla.routing.candidates import Candidate
from flotilla.routing.strategy import InOrder, Strategy
from flotilla.routing.types import Escalation, TaskView


class CascadeParameters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    Of `cascade`.

    Attributes:
        confidence_min: An answer whose `confidence` is lower is asked for again, on the routes behind.
        answer_anyway: When none of these answers, the answer that was not sure enough is the result; else the task fails.
    """

    confidence_min: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.8
    answer_anyway: bool = True


def plan(candidates: list[Candidate], task: TaskView, parameters: CascadeParameters, rng: random.Random) -> InOrder:
    """The candidates as the policy lists them."""
    del task, rng
    order = tuple(candidate.route for candidate in candidates)
    escalation = Escalation(order, parameters.confidence_min, answer_anyway=parameters.answer_anyway)
    return InOrder(candidates, "first of the cascade", "behind in the cascade", escalation)


STRATEGY: Final = Strategy(name="cascade", parameters=CascadeParameters, plan=plan, depends_on_task=False)
