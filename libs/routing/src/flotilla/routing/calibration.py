"""
The threshold of a cascade, from recorded pairs: how sure the cheap answer must be for a wanted agreement with the dear one.

An answer below the threshold is asked for again, and then agrees with the dear route by definition; so the lower the
threshold, the fewer the calls and the lower the agreement. Thresholds are tried from the highest down, and the last one is
taken before the first that cannot be shown to keep the agreement: in this order no correction is needed for how many were
tried (fixed sequence testing, as in Angelopoulos, Bates, Candes, Jordan, Lei, "Learn then test", 2021). Pure.
"""

from collections.abc import Sequence
from math import exp, inf, lgamma, log
from typing import Final, NamedTuple

from msgspec import Struct

PAIRS_MIN: Final = 50
THRESHOLDS_MAX: Final = 1_000
"""Where there are more distinct confidences, every so many-th is tried."""
ERROR_DEFAULT: Final = 0.05
"""How probable it may be that the agreement on further traffic of the same kind is lower than wanted."""


class Pair(NamedTuple):
    """One task: the cheap answer's confidence, 0 to 1, and whether the dear route gave the same answer."""

    confidence: float
    agrees: bool


class Calibration(Struct, frozen=True, kw_only=True):
    """
    What a threshold comes to.

    Attributes:
        confidence_min: The cascade's option; above every confidence where nothing lower would do.
        agreement: Of the cascade's results with the dear route's, on these pairs.
        agreement_low: So high at least on traffic of the same kind, but for `error`.
        escalated: Share of tasks that the dear route is asked for.
        is_met: Whether `agreement_low` is what was wanted with any task left to the cheap route.
    """

    pairs: int
    confidence_min: float
    agreement: float
    agreement_low: float
    escalated: float
    is_met: bool


def calibrate(pairs: Sequence[Pair], agreement: float, *, error: float = ERROR_DEFAULT) -> Calibration:
    """
    The lowest threshold that keeps the wanted agreement, 0 to 1.

    Raises:
        ValueError: Fewer than `PAIRS_MIN` pairs.
    """
    count = len(pairs)
    if count < PAIRS_MIN:
        raise ValueError(f"{count} pairs; at least {PAIRS_MIN} are needed")
    ordered = sorted(pairs, reverse=True)
    ends = [
        place
        for place in range(1, count + 1)
        if place == count or ordered[place].confidence < ordered[place - 1].confidence
    ]
    ends = ends[:: max(1, -(-len(ends) // THRESHOLDS_MAX))] if len(ends) > THRESHOLDS_MAX else ends
    kept, disagreeing, looked_at = 0, 0, 0
    wrong = 0
    for end in ends:
        wrong += sum(not pair.agrees for pair in ordered[looked_at:end])
        looked_at = end
        if 1.0 - rate_high(wrong, count, error) < agreement:
            break
        kept, disagreeing = end, wrong
    return Calibration(
        pairs=count,
        confidence_min=ordered[kept - 1].confidence if kept else 1.0,
        agreement=1.0 - disagreeing / count,
        agreement_low=1.0 - rate_high(disagreeing, count, error),
        escalated=1.0 - kept / count,
        is_met=kept > 0,
    )


def rate_high(events: int, count: int, error: float) -> float:
    """
    The highest rate at which so few events of `count` still have the probability `error` (Clopper and Pearson, 1934).
    """
    if events >= count:
        return 1.0
    low, high = events / count, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        if _at_most(events, count, middle) > error:
            low = middle
        else:
            high = middle
    return high


_HALVINGS: Final = 40


def _at_most(events: int, count: int, rate: float) -> float:
    """The probability of so many events or fewer among `count`, each with this rate; the largest term is added first."""
    if rate <= 0.0:
        return 1.0
    if rate >= 1.0:
        return 0.0
    logs = lgamma(count + 1) - lgamma(events + 1) - lgamma(count - events + 1)
    largest = logs + events * log(rate) + (count - events) * log(1.0 - rate)
    odds = (1.0 - rate) / rate
    term, total = 1.0, 1.0
    for event in range(events, 0, -1):
        term *= event * odds / (count - event + 1)
        total += term
        if term < total * _NEGLIGIBLE:
            break
    return exp(largest + log(total)) if largest > -inf else 0.0


_NEGLIGIBLE: Final = 1e-15
