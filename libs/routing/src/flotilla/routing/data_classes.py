"""The data class of what a task gives: that of the task, except for fields that are known to be free of what made it so."""

from collections.abc import Iterable, Mapping
from typing import Final

from flotilla.contracts.headers import DataClass
from flotilla.contracts.policy import Policy
from flotilla.contracts.redaction import DECLASSIFIED

ORDER: Final[tuple[DataClass, ...]] = ("public", "internal", "restricted")
"""From what may go anywhere to what never leaves."""

Declassified = Mapping[tuple[str, str], DataClass]
"""By capability and field of its output."""

NONE_OF_THE_OPERATOR: Final[Declassified] = {}


def declassified_by(policy: Policy) -> Declassified:
    """What a policy declassifies, as `class_of_field` takes it."""
    return {
        (capability, field): data_class
        for capability, fields in policy.declassify.items()
        for field, data_class in fields.items()
    }


def highest(classes: Iterable[DataClass], at_least: DataClass = "public") -> DataClass:
    """The class of what was made from values of these classes."""
    return max((at_least, *classes), key=ORDER.index)


def class_of_field(
    capability: str, field: str, task: DataClass, *, operator: Declassified = NONE_OF_THE_OPERATOR
) -> DataClass:
    """
    The class of one field of an output, whose task had the class `task`. Never higher than that.

    `operator` holds what the policy declassifies; the built-in rule (`redaction.DECLASSIFIED`) holds beside it.
    """
    lowered: list[DataClass] = [
        table[capability, field] for table in (DECLASSIFIED, operator) if (capability, field) in table
    ]
    classes: tuple[DataClass, ...] = (task, *lowered)
    return min(classes, key=ORDER.index)
