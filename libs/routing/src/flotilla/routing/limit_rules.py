"""The limits and budgets of a policy made ready: which of them an attempt counts towards. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from msgspec import Struct

from flotilla.contracts.limits import BudgetEntry, LimitEntry, Period
from flotilla.contracts.policy import Policy
from flotilla.routing.types import Route, TaskView

MATCHES_MAX: Final = 4_096
"""Kinds of attempts whose limits are remembered; then it is begun anew."""
DAYS_IN_MONTH_MAX: Final = 31


class Applying(Struct, frozen=True):
    """
    What an attempt counts towards.

    Attributes:
        limits: By name.
        budgets: By name.
    """

    limits: tuple[tuple[str, LimitEntry], ...]
    budgets: tuple[tuple[str, BudgetEntry], ...]

    def __bool__(self) -> bool:
        return bool(self.limits or self.budgets)


NONE: Final = Applying((), ())


class LimitRules:
    """
    Finds the limits and budgets of attempts; one object per policy.

    Attributes:
        in_use: Whether the policy has any.
    """

    def __init__(self, policy: Policy) -> None:
        self.limits: Final[Mapping[str, LimitEntry]] = policy.limits
        self.budgets: Final[Mapping[str, BudgetEntry]] = policy.budgets
        self.in_use: Final = bool(policy.limits or policy.budgets)
        self._by_label: Final = any(budget.labels for budget in policy.budgets.values())
        self._found: dict[tuple[str, str, str], Applying] = {}

    def of(self, task: TaskView, route: Route) -> Applying:
        """What an attempt of this task on this route counts towards."""
        if not self.in_use:
            return NONE
        if self._by_label and task.labels:
            return self._match(task, route)
        key = (task.scope, task.capability, route.pool)
        found = self._found.get(key)
        if found is None:
            if len(self._found) >= MATCHES_MAX:
                self._found.clear()
            found = self._found[key] = self._match(task, route)
        return found

    def _match(self, task: TaskView, route: Route) -> Applying:
        limits = tuple(
            (name, entry)
            for name, entry in self.limits.items()
            if _within(entry.pools, route.pool)
            and _within(entry.scopes, task.scope)
            and _within(entry.capabilities, task.capability)
        )
        budgets = tuple(
            (name, entry)
            for name, entry in self.budgets.items()
            if _within(entry.pools, route.pool)
            and _within(entry.scopes, task.scope)
            and all(task.labels.get(label) == value for label, value in (entry.labels or {}).items())
        )
        return Applying(limits, budgets) if limits or budgets else NONE


def period_of(per: Period, unix_s: float) -> str:
    """The day (`2026-11-29`) or month (`2026-11`) that a moment lies in, by UTC."""
    moment = datetime.fromtimestamp(unix_s, UTC)
    return moment.strftime("%Y-%m-%d" if per == "day" else "%Y-%m")


def period_ends_unix_s(per: Period, unix_s: float) -> float:
    """When the day or month of a moment ends, by UTC."""
    day = datetime.fromtimestamp(unix_s, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if per == "day":
        return (day + timedelta(days=1)).timestamp()
    return (day.replace(day=1) + timedelta(days=DAYS_IN_MONTH_MAX + 1)).replace(day=1).timestamp()


def _within(names: list[str] | None, name: str) -> bool:
    return names is None or name in names
