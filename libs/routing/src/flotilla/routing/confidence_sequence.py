"""
How far apart two arms are, with a confidence interval that holds however often somebody looks: a confidence sequence.

The normal mixture of Robbins ("Statistical methods related to the law of the iterated logarithm", 1970) in the asymptotic
form of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas ("Time-uniform central limit theory and asymptotic confidence
sequences", 2024). An interval for one moment, looked at again and again until it leaves out 0, is wrong far more often than
it says; this one may be looked at after every task. Pure.
"""

from functools import lru_cache
from math import inf, log, sqrt
from typing import Final, NamedTuple

from flotilla.contracts.experiments import Moments

LEVEL_DEFAULT: Final = 0.05
"""Of runs without any difference, so many at most end with one being reported."""
TIGHTEST_AT: Final = 1_000
"""Effective tasks at which the interval is narrowest for its level; it holds at any other number too."""
TASKS_MIN: Final = 50
"""Of each arm: below that the normal distribution is no good likeness of a mean."""
BOUNDARIES_MAX: Final = 4_096


class Difference(NamedTuple):
    """Of the means of two arms, the second's less the first's: the estimate, and the interval at this moment."""

    estimate: float
    low: float
    high: float

    @property
    def is_certain(self) -> bool:
        """Whether the interval leaves out 0: the arms differ, at the level that the interval is for."""
        return self.low > 0.0 or self.high < 0.0


def proportion(successes: int, count: int) -> Moments:
    """The moments of a quantity that is 1 for so many of the tasks and 0 for the others."""
    return Moments(count=count, total=float(successes), squares=float(successes))


def difference(first: Moments, second: Moments, *, level: float = LEVEL_DEFAULT) -> Difference | None:
    """
    How far the second arm's mean lies above the first's; None below `TASKS_MIN` tasks in either.

    Where neither arm's values vary, the interval is as wide as if one more task in each had come out otherwise: nobody can
    be certain by values that were all the same.
    """
    if min(first.count, second.count) < TASKS_MIN or first.mean is None or second.mean is None:
        return None
    apart = max(abs(first.mean), abs(second.mean))
    variance = _variance(first, apart) / first.count + _variance(second, apart) / second.count
    effective = first.count * second.count / (first.count + second.count)
    half_width = sqrt(variance) * boundary(round(effective), level)
    estimate = second.mean - first.mean
    return Difference(estimate, estimate - half_width, estimate + half_width)


@lru_cache(maxsize=BOUNDARIES_MAX)
def boundary(effective: int, level: float) -> float:
    """How many standard errors wide each side of the interval is at so many effective tasks; about 1.96 would be once."""
    if effective < 1:
        return inf
    spread = -2.0 * log(level)
    mixture = (spread + log(spread + 1.0)) / TIGHTEST_AT
    grown = effective * mixture + 1.0
    return sqrt(grown / (effective * mixture) * (spread + log(grown)))


def _variance(arm: Moments, apart: float) -> float:
    """Of one task; at least that of an arm of which one more task came out so far from all others."""
    return max(arm.variance, apart * apart / (arm.count + 1))
