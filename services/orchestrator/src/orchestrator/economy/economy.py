"""Limits, budgets and the ledger of one orchestrator, put together."""

from collections.abc import Callable, Sequence
from typing import Final

from flotilla.contracts.policy import Policy
from flotilla.fabric.connection import Connection
from flotilla.fabric.inbox import Requests
from orchestrator.economy.admission import Admission, PriceOf
from orchestrator.economy.budget_history import BudgetHistory
from orchestrator.economy.counters import Counters
from orchestrator.economy.counters_in_force import CountersInForce
from orchestrator.economy.reservations import Reservations
from orchestrator.economy.spend import SpendLedger
from orchestrator.reporting.metrics import OrchestratorMetrics


class Economy:
    """
    What the fleet may ask, may spend, and has spent.

    Attributes:
        admission: Passed by every attempt.
        ledger: Told of every task that cost something.
    """

    def __init__(
        self,
        connection: Connection,
        requests: Requests,
        instance: str,
        *,
        policy: Callable[[], Policy],
        revision: Callable[[], int],
        scopes: Sequence[str],
        price_of: PriceOf,
        metrics: OrchestratorMetrics,
    ) -> None:
        self._counters = counters = Counters(connection, requests, instance)
        self._reservations = reservations = Reservations(connection, counters)
        counters.on_lost = metrics.count_lost
        counters.on_unused = metrics.limit_unused
        self._in_force = CountersInForce(counters, policy)
        self.admission: Final = Admission(
            reservations,
            counters,
            policy,
            revision=revision,
            history=BudgetHistory(requests, scopes),
            price_of=price_of,
        )
        self.admission.on_over = metrics.over_limit
        self.ledger: Final = SpendLedger(counters)

    async def start(self) -> None:
        """Hear what is counted."""
        await self._counters.start()
        self._reservations.start()
        self._in_force.start()

    async def stop(self) -> None:
        """Send what waits, for a moment; then stop."""
        self._in_force.stop()
        await self._counters.stop()
        self._reservations.stop()
