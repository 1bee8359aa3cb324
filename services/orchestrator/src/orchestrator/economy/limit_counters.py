"""The counters of the limits and budgets that are asked for: made when they are, and forgotten when they are no more."""

import time
from collections.abc import Sequence
from typing import Final

from flotilla.contracts import subjects
from flotilla.contracts.limits import BudgetEntry, LimitEntry
from flotilla.routing.limit_rules import period_of
from orchestrator.economy.allowances import Allowance
from orchestrator.economy.counters import Counters
from orchestrator.economy.rates import Rate
from orchestrator.economy.reservations import Reservations

RATES_MAX: Final = 1_024
"""That are kept: of more, those that were made first go."""
KEPT_S: Final = 3_600.0
"""An allowance that nobody asked for so long is forgotten, such as that of a day that is over."""


class LimitCounters:
    """Rates and allowances by their counters."""

    def __init__(self, reservations: Reservations, counters: Counters) -> None:
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
        allowance = self._allowance(subjects.budget_counter(name, period_of(budget.per, now_unix_s)))
        why = f"budget {name}: {budget.usd:,.2f} USD a {budget.per} are spent or reserved"
        allowance.is_now(budget.usd_micros, why, enforced=budget.mode == "enforce")
        return allowance

    def _allowance(self, subject: str) -> Allowance:
        allowance = self._allowances.get(subject)
        if allowance is None:
            allowance = self._allowances[subject] = Allowance(self._reservations, self._counters, subject)
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
