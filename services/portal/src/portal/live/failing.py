"""Capabilities whose tasks fail, most of them or all, whatever their routes do: a task that finds no route has no attempt."""

from collections import Counter, deque
from typing import Final

from msgspec import Struct

from flotilla.contracts.failures import ErrorKind

FAILING_S: Final = 120.0
ENDS_MAX: Final = 1_000
"""Of all capabilities: beyond, a shorter time is looked at."""
FAILED_MIN: Final = 5
"""Fewer may be chance."""
CALLERS_OWN: Final = frozenset(
    kind.value
    for kind in (
        ErrorKind.BAD_REQUEST,
        ErrorKind.UNKNOWN_CAPABILITY,
        ErrorKind.NOT_PERMITTED,
        ErrorKind.TOO_LARGE,
        ErrorKind.APPROVAL_DENIED,
        ErrorKind.APPROVAL_EXPIRED,
        ErrorKind.NOT_FOUND,
        ErrorKind.CONFLICT,
    )
)
"""Of what was asked, or decided by somebody: nothing of it is wrong with the fleet."""


class Failing(Struct, frozen=True, kw_only=True):
    """
    A capability most of whose tasks failed lately.

    Attributes:
        error: What most of them failed by.
        is_all: None of its tasks went well.
    """

    capability: str
    error: str
    is_all: bool


class RecentEnds:
    """How the newest tasks ended."""

    def __init__(self) -> None:
        self._ends: Final[deque[tuple[float, str, str]]] = deque(maxlen=ENDS_MAX)

    def add(self, now_unix_s: float, capability: str, error: str) -> None:
        """A task ended at this time; `error` is empty for one that went well."""
        if error not in CALLERS_OWN:
            self._ends.append((now_unix_s, capability, error))

    def failing(self, now_unix_s: float) -> list[Failing]:
        """Capabilities of which at least FAILED_MIN tasks failed within FAILING_S, and more than went well; by name."""
        errors: dict[str, Counter[str]] = {}
        for at_unix_s, capability, error in self._ends:
            if now_unix_s - at_unix_s <= FAILING_S:
                errors.setdefault(capability, Counter())[error] += 1
        found: list[Failing] = []
        for capability, counts in sorted(errors.items()):
            went_well = counts.pop("", 0)
            if counts.total() >= max(FAILED_MIN, went_well + 1):
                [(error, _)] = counts.most_common(1)
                found.append(Failing(capability=capability, error=error, is_all=not went_well))
        return found
