"""
What may be concluded from the arms of a split: each arm compared with the first, and one sentence. Pure.

All comparisons of a report share one level: of reports without any difference, looked at as often as one likes, no more than
that share ever names one.
"""

from collections.abc import Sequence
from typing import Final, Literal

from msgspec import Struct

from flotilla.contracts.experiments import ArmTotals, Moments
from flotilla.routing.confidence_sequence import LEVEL_DEFAULT, TASKS_MIN, Difference, difference, proportion

Quantity = Literal["score", "success", "latency_ms", "cost_usd"]
QUANTITIES: Final[tuple[Quantity, ...]] = ("score", "success", "latency_ms", "cost_usd")
_BETTER: Final[dict[Quantity, tuple[str, str]]] = {
    "score": ("scores higher", "scores lower"),
    "success": ("fails less", "fails more"),
    "latency_ms": ("is slower", "is faster"),
    "cost_usd": ("costs more", "costs less"),
}
"""What is said of an arm whose mean is above the first's, and below."""


class Comparison(Struct, frozen=True, kw_only=True):
    """
    One quantity of one arm beside the first arm's.

    Attributes:
        difference: Of the means, this arm's less the first's; None while one of them has too few tasks.
    """

    arm: str
    quantity: Quantity
    difference: Difference | None

    @property
    def is_certain(self) -> bool:
        """Whether the two differ, at the report's level."""
        return self.difference is not None and self.difference.is_certain


def moments_of(arm: ArmTotals, quantity: Quantity) -> Moments:
    """The moments of a quantity of an arm."""
    match quantity:
        case "score":
            return arm.score
        case "success":
            return proportion(arm.ok, arm.ok + arm.failed)
        case "latency_ms":
            return arm.latency_ms
        case "cost_usd":
            return arm.cost_usd


def name_of(arm: ArmTotals) -> str:
    """As routes are called: pool and model."""
    return f"{arm.pool}/{arm.model}" if arm.model else arm.pool


def comparisons(arms: Sequence[ArmTotals], *, level: float = LEVEL_DEFAULT) -> list[Comparison]:
    """Every other arm beside the first, quantity by quantity; those of which nothing was measured are left out."""
    quantities: list[Quantity] = [each for each in QUANTITIES if any(moments_of(arm, each).total for arm in arms)]
    share = level / max(1, (len(arms) - 1) * len(quantities))
    return [
        Comparison(
            arm=name_of(arm),
            quantity=quantity,
            difference=difference(moments_of(arms[0], quantity), moments_of(arm, quantity), level=share),
        )
        for arm in arms[1:]
        for quantity in quantities
    ]


def conclusion(arms: Sequence[ArmTotals], found: Sequence[Comparison]) -> str:
    """One sentence on what may be concluded at this moment."""
    if len(arms) < 2:  # noqa: PLR2004  (one arm is compared with nothing)
        return "nothing can be concluded: fewer than two arms have had tasks"
    first = name_of(arms[0])
    certain = [each for each in found if each.is_certain]
    if certain:
        by_arm = {each.arm: [_verdict(other) for other in certain if other.arm == each.arm] for each in certain}
        said = "; ".join(f"{name} {' and '.join(verdicts)}" for name, verdicts in by_arm.items())
        return f"compared with {first}, {said}; the rest may be chance"
    fewest = min(arms, key=lambda arm: arm.ok + arm.failed)
    if fewest.ok + fewest.failed < TASKS_MIN:
        return (
            f"nothing can be concluded yet: {name_of(fewest)} has had {fewest.ok + fewest.failed} of {TASKS_MIN} tasks"
        )
    return "no difference can be concluded yet: what there is may be chance"


def _verdict(each: Comparison) -> str:
    above, below = _BETTER[each.quantity]
    return above if each.difference is not None and each.difference.estimate > 0.0 else below
