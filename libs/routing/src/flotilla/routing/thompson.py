"""
Thompson sampling with a floor: which arm a task goes to, and how probable that was.

Each arm's success rate is a Beta distribution of its successes and failures; an arm gets tasks as often as a draw from its
distribution is the highest. No arm gets less than the floor, so each stays comparable, and the probability of every choice
is known: means that are weighted by it stay unbiased although the shares move (Thompson 1933; Kaptein, "The use of Thompson
sampling to increase estimation precision", 2015, for the floor). Pure: chance comes in.
"""

import random
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

DRAWS: Final = 1_000
"""Joint draws that the shares are estimated by; their error is at most 1.6 parts in a hundred (one standard error)."""
FLOOR_DEFAULT: Final = 0.05
SHARE_MIN: Final = 1e-6
"""Of a route without a floor, so that it can still be drawn."""
SHARES_CACHED_MAX: Final = 1_024


class Arm(NamedTuple):
    """What is known of an arm."""

    successes: int = 0
    failures: int = 0


@lru_cache(maxsize=SHARES_CACHED_MAX)
def shares_of(arms: tuple[Arm, ...], floor: float) -> tuple[float, ...]:
    """
    `propensities` for what is known now, each at least `SHARE_MIN`.

    The same arms have the same shares in every orchestrator, since chance begins with what is known. They are kept: what is
    known changes a few times a second, and tasks come in by thousands.
    """
    return tuple(max(SHARE_MIN, share) for share in propensities(arms, random.Random(repr(arms)), floor=floor))


def propensities(arms: Sequence[Arm], rng: random.Random, *, floor: float = FLOOR_DEFAULT) -> list[float]:
    """
    The share of tasks for each arm: they add up to 1 and none is below the floor, or below an equal share of it.

    Work them out once in a while, not for each task (`shares_of`): a thousand draws of each arm take a millisecond.
    """
    if not arms:
        return []
    wins = [0] * len(arms)
    for _ in range(DRAWS):
        drawn = [rng.betavariate(1.0 + arm.successes, 1.0 + arm.failures) for arm in arms]
        wins[drawn.index(max(drawn))] += 1
    floor = min(floor, 1.0 / len(arms))
    free = 1.0 - floor * len(arms)
    return [floor + free * count / DRAWS for count in wins]
