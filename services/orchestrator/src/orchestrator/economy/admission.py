"""
Admission, which every attempt passes: whether limits and budgets have room for it, and what it used when it has ended.

Where the policy has neither (`CompiledPolicy.limited`) it is not asked. Tokens of rates come from leases
held here; a budget, and a bound on attempts at a time, cost one request to a counter for each attempt.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from flotilla.contracts.limits import BudgetEntry, LimitEntry
from flotilla.contracts.policy import Policy
from flotilla.contracts.presence import ModelPrice
from flotilla.routing.limit_rules import LimitRules, period_ends_unix_s
from flotilla.routing.types import Decision, Route, TaskView
from orchestrator.economy.allowances import Held
from orchestrator.economy.budget_history import BudgetHistory
from orchestrator.economy.counters import Counters
from orchestrator.economy.errors import RECHECK_S, CountersAwayError, OverLimitError
from orchestrator.economy.estimates import Estimates, micros_of
from orchestrator.economy.limit_counters import LimitCounters
from orchestrator.economy.permits import Permit
from orchestrator.economy.rates import Rate
from orchestrator.economy.reservations import Reservations
from orchestrator.economy.room import with_room

AWAY_S: Final = 1.0
"""While the counters are away, an attempt looks again after so long."""
PriceOf = Callable[[Route], ModelPrice | None]
OnOver = Callable[[str, str, str], None]
"""Told of each attempt that was over: `limit` or `budget`, its name, and `refused`, `reported` or `away`."""


class Admission:
    """
    Admits attempts.

    Attributes:
        on_over: See `OnOver`.
    """

    def __init__(
        self,
        reservations: Reservations,
        counters: Counters,
        policy: Callable[[], Policy],
        *,
        revision: Callable[[], int] = lambda: 0,
        history: BudgetHistory | None = None,
        price_of: PriceOf = lambda _: None,
    ) -> None:
        """
        Admit nothing yet.

        Args:
            reservations: Of this orchestrator.
            counters: What limits and budgets are counted with.
            policy: The one in force.
            revision: Of the same.
            history: See `LimitCounters`.
            price_of: Gives what the model of a route costs, where that is known.
        """
        self._policy = policy
        self._revision = revision
        self._price_of = price_of
        self._document = Policy()
        self._rules = LimitRules(self._document)
        self._limits = LimitCounters(reservations, counters, history)
        self._shut: dict[str, tuple[float, OverLimitError]] = {}
        self._estimates = Estimates()
        self.on_over: OnOver = _nothing

    def decided(self, task: TaskView, decision: Decision) -> Decision:
        """A decision without the routes for which a limit or budget has no room now, as far as is known."""
        if not decision.routes:
            return decision
        self._follow()
        return with_room(decision, task.capability, lambda route: self._closed(task, route), round(time.time() * 1000))

    async def admit(self, task: TaskView, route: Route) -> Permit | None:
        """
        Take what an attempt needs; None where nothing counts it.

        Raises:
            OverLimitError: There is no room for it now.
        """
        self._follow()
        applying = self._rules.of(task, route)
        if not applying:
            return None
        permit = Permit(self._estimates, (route.pool, route.model, task.capability), own_hardware=route.zone == "local")
        try:
            for name, limit in applying.limits:
                for rate in self._limits.rates_of(name, limit):
                    await self._pass(name, limit, self._take(permit, rate, task, route))
            holding = [
                *(
                    self._pass(name, limit, self._hold_slot(permit, name, limit))
                    for name, limit in applying.limits
                    if limit.concurrent_requests is not None
                ),
                *(
                    self._pass(name, budget, self._hold_money(permit, name, budget, task, route))
                    for name, budget in applying.budgets
                ),
            ]
            if len(holding) == 1:
                await holding[0]
            elif holding:
                await _all(holding)
        except BaseException:
            permit.give_back()
            raise
        return permit

    def _follow(self) -> None:
        """Go by the policy in force."""
        document = self._policy()
        if document is not self._document:
            self._limits.now_in_force(document.budgets, self._document.budgets, self._revision())
            self._document = document
            self._rules = LimitRules(document)
            self._shut.clear()

    async def _pass(self, name: str, entry: LimitEntry | BudgetEntry, taking: Coroutine[Any, Any, None]) -> None:
        """Take, or go on without where the policy says so."""
        kind = "limit" if isinstance(entry, LimitEntry) else "budget"
        try:
            await taking
        except OverLimitError as over:
            if entry.mode == "enforce":
                self.on_over(kind, name, "refused")
                self._shut[f"{kind} {name}"] = (time.monotonic() + RECHECK_S, over)
                raise
            self.on_over(kind, name, "reported")
        except CountersAwayError:
            self.on_over(kind, name, "away")
            if entry.mode == "report" or (isinstance(entry, LimitEntry) and entry.without_counters == "allow"):
                return
            away = OverLimitError(f"{kind} {name}: its counter cannot be reached", AWAY_S)
            self._shut[f"{kind} {name}"] = (time.monotonic() + AWAY_S, away)
            raise away from None

    async def _take(self, permit: Permit, rate: Rate, task: TaskView, route: Route) -> None:
        amount = 1
        if rate.measure == "tokens":
            amount = self._estimates.tokens((route.pool, route.model, task.capability), task.input_bytes)
        permit.took(await rate.take(amount))

    async def _hold_slot(self, permit: Permit, name: str, limit: LimitEntry) -> None:
        allowance = self._limits.slots_of(name, limit)
        self._note_over("limit", name, held := await allowance.reserve(1, RECHECK_S))
        permit.holds(held, "attempts")

    async def _hold_money(self, permit: Permit, name: str, budget: BudgetEntry, task: TaskView, route: Route) -> None:
        now_unix_s = time.time()
        allowance = self._limits.budget_of(name, budget, now_unix_s)
        amount = self._reserve_of(budget, task, route)
        left_s = period_ends_unix_s(budget.per, now_unix_s) - now_unix_s
        self._note_over("budget", name, held := await allowance.reserve(amount, left_s))
        permit.holds(held, "usd_micros")

    def _note_over(self, kind: str, name: str, held: Held) -> None:
        if held.is_over:
            self.on_over(kind, name, "reported")

    def _reserve_of(self, budget: BudgetEntry, task: TaskView, route: Route) -> int:
        """No less than an attempt there has cost already: a policy's word that was too low is believed once."""
        seen_of = (route.pool, route.model, task.capability)
        if budget.reserve_usd is not None:
            return max(1, micros_of(budget.reserve_usd), self._estimates.dearest_usd_micros(seen_of))
        return self._estimates.usd_micros(seen_of, self._hint(task, route), self._price_of(route), task.input_bytes)

    def _hint(self, task: TaskView, route: Route) -> float | None:
        """What the policy says that the route costs."""
        for entry in (self._document.capabilities.get(task.capability), self._document.default):
            for listed in (entry.routes if entry is not None else None) or ():
                if listed.pool == route.pool and listed.model in (None, route.model):
                    return listed.cost_usd_hint
        return None

    def _closed(self, task: TaskView, route: Route) -> OverLimitError | None:
        """Why there is no room on a route, as far as is known without asking."""
        applying = self._rules.of(task, route)
        for name, limit in applying.limits:
            closed = self._limit_closed(name, limit) if limit.mode == "enforce" else None
            if closed is not None:
                return closed
        for name, budget in applying.budgets:
            closed = self._budget_closed(name, budget, task, route) if budget.mode == "enforce" else None
            if closed is not None:
                return closed
        return None

    def _limit_closed(self, name: str, limit: LimitEntry) -> OverLimitError | None:
        shut = self._is_shut(f"limit {name}")
        if shut is not None:
            return shut
        for rate in self._limits.rates_of(name, limit):
            free_in_s = rate.free_in_s()
            if free_in_s > 0.0:
                return OverLimitError(rate.why, free_in_s)
        if limit.concurrent_requests is not None:
            allowance = self._limits.slots_of(name, limit)
            if not allowance.has_room(1):
                return OverLimitError(allowance.why, RECHECK_S)
        return None

    def _budget_closed(self, name: str, budget: BudgetEntry, task: TaskView, route: Route) -> OverLimitError | None:
        shut = self._is_shut(f"budget {name}")
        if shut is not None:
            return shut
        now_unix_s = time.time()
        allowance = self._limits.budget_of(name, budget, now_unix_s)
        if allowance.has_room(self._reserve_of(budget, task, route)):
            return None
        return OverLimitError(allowance.why, period_ends_unix_s(budget.per, now_unix_s) - now_unix_s)

    def _is_shut(self, named: str) -> OverLimitError | None:
        """Why it refused an attempt a moment ago: each refusal holds for a moment, so that no task tries in a circle."""
        until_s, over = self._shut.get(named, (0.0, None))
        return over if over is not None and until_s > time.monotonic() else None


async def _all(holding: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Wait for every one, so that what was reserved is known; then raise the first error."""
    for outcome in await asyncio.gather(*holding, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


def _nothing(_kind: str, _name: str, _what: str) -> None:
    pass
