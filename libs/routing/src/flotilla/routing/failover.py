"""`failover`: the policy's own order."""

import random
from typing import Final

from flotilla.routing.candidates import Candidate
from flotilla.routing.strategy import InOrder, NoParameters, Strategy
from flotilla.routing.types import TaskView


def plan(candidates: list[Candidate], task: TaskView, parameters: NoParameters, rng: random.Random) -> InOrder:
    """The candidates as they came: the first healthy one, and behind it the next ones in case it fails."""
    del task, parameters, rng
    return InOrder(candidates, "first healthy route", "next healthy route")


STRATEGY: Final = Strategy(name="failover", parameters=NoParameters, plan=plan, depends_on_task=False)
