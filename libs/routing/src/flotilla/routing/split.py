"""`split`: the routes share the tasks by weight; tasks with the same sticky key go to the same route."""

import random
from hashlib import blake2b
from math import log
from typing import Final

from flotilla.routing.candidates import Candidate
from flotilla.routing.strategy import InOrder, NoParameters, Strategy
from flotilla.routing.types import Route, TaskView

_SCALE: Final = 1.0 / (1 << 64)
DRAWN: Final = ("drawn by its share of the split", "drawn by its sticky share of the split")
"""Why a route stands first: by chance, or by a sticky key."""


def plan(candidates: list[Candidate], task: TaskView, parameters: NoParameters, rng: random.Random) -> InOrder:
    """
    Weighted rendezvous: each route draws a number, by chance or from the sticky key, and the lowest stands first.

    Every orchestrator draws the same for a key, and when a route is away only the keys that it held move.
    """
    del parameters
    if task.sticky is None:
        draws = [1.0 - rng.random() for _ in candidates]
    else:
        draws = [_sticky_draw(task.sticky, candidate.route) for candidate in candidates]
    # Exponential variables with the weights as rates: the lowest of several falls to each in proportion.
    drawn = [-log(draw) / (candidate.entry.weight or 1.0) for draw, candidate in zip(draws, candidates, strict=True)]
    ranks = sorted(range(len(candidates)), key=drawn.__getitem__)
    return InOrder([candidates[rank] for rank in ranks], DRAWN[task.sticky is not None], "behind in the draw")


def _sticky_draw(sticky: str, route: Route) -> float:
    """Above 0 and up to 1, evenly spread over keys, the same in every process."""
    digest = blake2b(f"{sticky}\0{route.pool}\0{route.model}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest) + 1) * _SCALE


STRATEGY: Final = Strategy(name="split", parameters=NoParameters, plan=plan)
