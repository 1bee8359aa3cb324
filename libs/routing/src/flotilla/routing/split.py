"""
`split`: the routes share the tasks by weight; tasks with the same sticky key go to the same route.

With `allocation = "thompson"` the shares follow what the fleet has seen of the routes in the last half minute: the more
attempts went well, the greater the share. No route gets less than `floor`, and the reason of every choice has the
probability that it had.
"""

import random
from collections.abc import Sequence
from hashlib import blake2b
from math import log
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from flotilla.routing.candidates import Candidate
from flotilla.routing.strategy import InOrder, Strategy
from flotilla.routing.thompson import FLOOR_DEFAULT, Arm, shares_of
from flotilla.routing.types import Route, TaskView

_SCALE: Final = 1.0 / (1 << 64)
DRAWN: Final = ("drawn by its share of the split", "drawn by its sticky share of the split")
"""Why a route stands first: by chance, or by a sticky key."""


class SplitParameters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    Of `split`.

    Attributes:
        allocation: `weights`: shares are those of the policy. `thompson`: they follow successes, and weights do not count.
        floor: Under `thompson`, the least share of a route; an equal share where that is less.
    """

    allocation: Literal["weights", "thompson"] = "weights"
    floor: Annotated[float, Meta(ge=0.0, le=1.0)] = FLOOR_DEFAULT


def plan(candidates: list[Candidate], task: TaskView, parameters: SplitParameters, rng: random.Random) -> InOrder:
    """
    Weighted rendezvous: each route draws a number, by chance or from the sticky key, and the lowest stands first.

    Every orchestrator draws the same for a key, and when a route is away only the keys that it held move.
    """
    by_weight = parameters.allocation == "weights"
    weights: Sequence[float] = (
        [candidate.entry.weight or 1.0 for candidate in candidates]
        if by_weight
        else shares_of(tuple(_seen(candidate) for candidate in candidates), parameters.floor)
    )
    if task.sticky is None:
        draws = [1.0 - rng.random() for _ in candidates]
    else:
        draws = [_sticky_draw(task.sticky, candidate.route) for candidate in candidates]
    # Exponential variables with the weights as rates: the lowest of several falls to each in proportion.
    drawn = [-log(draw) / weight for draw, weight in zip(draws, weights, strict=True)]
    ranks = sorted(range(len(candidates)), key=drawn.__getitem__)
    reason = DRAWN[task.sticky is not None]
    if not by_weight:
        reason = f"drawn with the probability {weights[ranks[0]]:.3f} (Thompson sampling)"
    return InOrder([candidates[rank] for rank in ranks], reason, "behind in the draw")


def _seen(candidate: Candidate) -> Arm:
    """The newest attempts on a route, by all orchestrators."""
    figures = candidate.known.figures
    failed = round(figures.samples * (figures.error_rate or 0.0))
    return Arm(figures.samples - failed, failed)


def _sticky_draw(sticky: str, route: Route) -> float:
    """Above 0 and up to 1, evenly spread over keys, the same in every process."""
    digest = blake2b(f"{sticky}\0{route.pool}\0{route.model}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest) + 1) * _SCALE


STRATEGY: Final = Strategy(name="split", parameters=SplitParameters, plan=plan)
