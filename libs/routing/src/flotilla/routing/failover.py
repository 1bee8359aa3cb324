"""`failover`: the policy's own order."""

import random

from flotilla.routing.candidates import Candidate, Ordered
from flotilla.routing.types import TaskView


def order(candidates: list[Candidate], task: TaskView, rng: random.Random) -> Ordered:
    """The candidates as they came: the first healthy one, and behind it the next ones in case it fails."""
    del task, rng
    return Ordered(candidates, "first healthy route", "next healthy route")
