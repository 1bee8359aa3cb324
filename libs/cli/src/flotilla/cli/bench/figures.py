"""What was measured, against which bound, and whether it holds. Pure."""

from collections.abc import Sequence
from statistics import median
from typing import Final

from msgspec import Struct

PERCENT: Final = 100


class Figure(Struct, frozen=True, kw_only=True):
    """
    One measured value.

    Attributes:
        measurement: The group it belongs to: `interactive_latency`, `balance_4x8`, ...
        name: What it is, unique in the group.
        unit: `x` for a ratio, `/s`, `ms`, `us`, `MiB`; empty for a count.
        at_most: Bound from above; None for a value that is only told.
        at_least: Bound from below.
        stretch: What the value is to come to later; never a reason to fail.
        note: How it was taken, or the spread.
    """

    measurement: str
    name: str
    value: float
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None
    stretch: float | None = None
    note: str = ""

    @property
    def is_bound(self) -> bool:
        """Whether there is a bound to hold."""
        return self.at_most is not None or self.at_least is not None

    @property
    def holds(self) -> bool:
        """Whether the value is within its bounds; a value without bounds is. NaN is within none."""
        above = self.at_least is None or self.value >= self.at_least
        below = self.at_most is None or self.value <= self.at_most
        return above and below


class Ratio(Struct, frozen=True, kw_only=True):
    """
    A fleet's value over a raw one's, from rounds in which one was taken right after the other.

    Attributes:
        value: The median of the rounds' own ratios: what slows down both of a pair cancels out.
        fleet: The median of the fleet's values; `raw` likewise.
        least: The smallest of the rounds' ratios; `most` the largest.
    """

    value: float
    fleet: float
    raw: float
    least: float
    most: float

    @property
    def spread(self) -> str:
        """The rounds' range, for people."""
        return f"rounds {self.least:.2f} to {self.most:.2f}"


def ratio_of(pairs: Sequence[tuple[float, float]]) -> Ratio:
    """
    Put rounds together; each is (raw, fleet).

    Raises:
        ValueError: There is no round, or a raw value is not positive.
    """
    if not pairs or any(raw <= 0 for raw, _ in pairs):
        raise ValueError("expected at least one round with a positive raw value")
    ratios = [fleet / raw for raw, fleet in pairs]
    return Ratio(
        value=median(ratios),
        fleet=median(fleet for _, fleet in pairs),
        raw=median(raw for raw, _ in pairs),
        least=min(ratios),
        most=max(ratios),
    )


def percentile(values: Sequence[float], percent: float) -> float:
    """
    Give the smallest value that `percent` of them do not exceed.

    Raises:
        ValueError: There are no values, or `percent` is not above 0 and at most 100.
    """
    if not values or not 0 < percent <= PERCENT:
        raise ValueError("expected values, and a percentage above 0 and at most 100")
    rank = -(-len(values) * percent // PERCENT)
    return sorted(values)[max(0, int(rank) - 1)]


def all_hold(figures: Sequence[Figure]) -> bool:
    """Whether every bound is held."""
    return all(figure.holds for figure in figures)
