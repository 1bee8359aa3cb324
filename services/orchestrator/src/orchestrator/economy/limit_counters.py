"""The counters of the limits and budgets that are asked for: made when they are, and forgotten when they are no more."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from flotilla.contracts import subjects
from flotilla.contracts.limits import BudgetEntry, LimitEntry
from flotilla.routing.limit_rules import period_of
from orchestrator.economy.allowances import Allowance
from orchestrator.economy.budget_history import BudgetHistory, Spent
from orchestrator.economy.counters import Counters
from orchestrator.economy.rates import Rate
from orchestrator.economy.reservations import Reservations

RATES_MAX: Final = 1_024
"""That are kept: of more, those that were made first go."""
KEPT_S: Final = 3_600.0
"""An allowance that nobody asked for so long is forgotten, such as that of a day that is over."""


class LimitCounters:
    """Rates and allowances by their counters."""

    def __init__(self, reservations: Reservations, counters: Counters, history: BudgetHistory | None = None) -> None:
        """
        Count nothing yet.

        Args:
            reservations: Of this orchestrator.
            counters: Where it is counted.
            history: Of what was spent while a budget was not in force; None for budgets that begin with nothing.
        """
        self._history = history
        self._in_force: dict[str, tuple[float, str]] = {}
        self._reservations = reservations
        self._counters = counters
        self._rates: dict[str, Rate] = {}
        self._allowances: dict[str, Allowance] = {}

    def rates_of(self, name: str, limit: LimitEntry) -> Sequence[Rate]:
        """The rates of a limit, as the policy has them now."""
        found: list[Rate] = []
        measures = (("requests", limit.requests_per_minute), ("tokens", limit.tokens_per_minute))
        for measure, most in measures:
            if most is None:
                continue
            subject = subjects.rate_counter(name, measure)
            why = f"limit {name}: {most} {measure} a minute are used"
            rate = self._rates.get(subject)
            if rate is None:
                rate = self._rates[subject] = Rate(self._counters, subject, measure, most, why)
                rate.leases.on_unused = partial(self._counters.on_unused, name, measure)
                self._bound()
            rate.limit_is(most, why)
            found.append(rate)
        return found

    def slots_of(self, name: str, limit: LimitEntry) -> Allowance:
        """What bounds a limit's attempts at a time."""
        most = limit.concurrent_requests or 0
        allowance = self._allowance(subjects.held_counter(name))
        allowance.is_now(most, f"limit {name}: {most} attempts are under way", enforced=limit.mode == "enforce")
        return allowance

    def budget_of(self, name: str, budget: BudgetEntry, now_unix_s: float) -> Allowance:
        """The day or month of a budget that a moment lies in."""
        period = period_of(budget.per, now_unix_s)
        allowance = self._allowance(subjects.budget_counter(name, period), lambda: self._spent(name, budget, period))
        why = f"budget {name}: {budget.usd:,.2f} USD a {budget.per} are spent or reserved"
        allowance.is_now(budget.usd_micros, why, enforced=budget.mode == "enforce")
        return allowance

    def now_in_force(
        self, budgets: Mapping[str, BudgetEntry], before: Mapping[str, BudgetEntry], revision: int
    ) -> None:
        """
        The policy has changed.

        Args:
            budgets: That it has now. Those that count what they did not before begin with what the ledger has.
            before: That it had.
            revision: The policy's.
        """
        since = time.time()
        for name, budget in budgets.items():
            if name not in before or _filters(before[name]) != _filters(budget):
                self._in_force[name] = since, str(revision)
                prefix = subjects.budget_counter(name, "")
                for subject in [each for each in self._allowances if each.startswith(prefix)]:
                    del self._allowances[subject]
                    self._counters.forget(subject)
        self._in_force = {name: found for name, found in self._in_force.items() if name in budgets}

    def _spent(self, name: str, budget: BudgetEntry, period: str) -> Spent | None:
        """What a budget's period begins with; None for one that began when the budget was in force already."""
        history, (since, once) = self._history, self._in_force.get(name, (0.0, ""))
        if history is None or period_of(budget.per, since) < period:
            return None
        return Spent(f"{once}.{history.of}", lambda: history.micros(budget, period))

    def _allowance(self, subject: str, spent: Callable[[], Spent | None] = lambda: None) -> Allowance:
        allowance = self._allowances.get(subject)
        if allowance is None:
            allowance = self._allowances[subject] = Allowance(self._reservations, self._counters, subject, spent())
            self._bound()
        return allowance

    def _bound(self) -> None:
        """Forget what is not asked for any more: limits that the policy has no more, and periods that are over."""
        oldest_s = time.monotonic() - KEPT_S
        for subject in [name for name, each in self._allowances.items() if each.used_at_s < oldest_s]:
            del self._allowances[subject]
            self._counters.forget(subject)
        if len(self._rates) > RATES_MAX:
            for subject in list(self._rates)[: len(self._rates) - RATES_MAX]:
                del self._rates[subject]
                self._counters.forget(subject)


def _filters(budget: BudgetEntry) -> tuple[object, ...]:
    """What a budget counts, and for how long."""
    return budget.per, budget.pools, budget.scopes, budget.labels
