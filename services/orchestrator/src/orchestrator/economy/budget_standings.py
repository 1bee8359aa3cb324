"""How budgets stand: what of each is spent or reserved, by its counter."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from flotilla.contracts import subjects
from flotilla.contracts.api_spend import BudgetStanding
from flotilla.contracts.limits import BudgetEntry
from flotilla.contracts.policy import Policy
from flotilla.fabric.counters import standing_of
from flotilla.fabric.errors import FabricError
from flotilla.fabric.inbox import Requests
from flotilla.routing.limit_rules import period_of


class BudgetStandings:
    """Reads the counters of the budgets in force."""

    def __init__(self, requests: Requests, policy: Callable[[], Policy]) -> None:
        self._requests: Final = requests
        self._policy: Final = policy

    async def of(self, scope: str | None) -> list[BudgetStanding]:
        """Those for a scope's tasks alone, since another one would tell what others spend; all where `scope` is None."""
        budgets = self._policy().budgets.items()
        shown = [(name, entry) for name, entry in budgets if scope is None or entry.scopes == [scope]]
        return list(await asyncio.gather(*(self._standing(name, entry) for name, entry in shown)))

    async def _standing(self, name: str, entry: BudgetEntry) -> BudgetStanding:
        period = period_of(entry.per, time.time())
        try:
            found = await standing_of(self._requests, subjects.COUNTERS_STREAM, subjects.budget_counter(name, period))
            used = found.total
        except FabricError:
            used = None
        return BudgetStanding(
            name=name, period=period, usd_micros=entry.usd_micros, used_usd_micros=used, mode=entry.mode
        )
