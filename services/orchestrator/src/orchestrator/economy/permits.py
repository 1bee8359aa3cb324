"""What an attempt holds of limits and budgets while it is under way."""

import asyncio
from typing import Final

from flotilla.contracts.attempts import Failed, Finished
from flotilla.contracts.failures import FailureKind
from orchestrator.economy.allowances import Held
from orchestrator.economy.estimates import Estimates, RouteOf, micros_of
from orchestrator.economy.rates import Taken
from orchestrator.state.outcomes import Outcome, found_no_slot

OF_UNKNOWN_COST: Final = frozenset(
    {FailureKind.TIMEOUT, FailureKind.LOST, FailureKind.INTERRUPTED, FailureKind.CRASHED}
)
"""Failures of attempts whose provider may have worked, and charge for it: a cost of 0 with them is no word of it."""


class Permit:
    """
    What an attempt holds of limits and budgets while it is under way.

    `close` is called once, with how it ended.
    """

    __slots__ = ("_estimates", "_held", "_own_hardware", "_route", "_taken")

    def __init__(self, estimates: Estimates, route: RouteOf, *, own_hardware: bool) -> None:
        self._estimates = estimates
        self._own_hardware = own_hardware
        self._route = route
        self._taken: list[Taken] = []
        self._held: list[tuple[Held, str]] = []

    def took(self, taken: Taken) -> None:
        """Tokens of a rate."""
        self._taken.append(taken)

    def holds(self, held: Held, unit: str) -> None:
        """A reservation, in `usd_micros` or `attempts`."""
        self._held.append((held, unit))

    def give_back(self) -> None:
        """The attempt was not made."""
        for taken in self._taken:
            taken.give_back()
        for held, _ in self._held:
            held.end(0)

    def close(self, outcome: "asyncio.Future[Outcome]") -> None:
        """The attempt is over."""
        # Whoever awaits an attempt and is stopped cancels its outcome: it may be under way all the same.
        ended = None if outcome.cancelled() or outcome.exception() is not None else outcome.result()
        if ended is not None and found_no_slot(ended):
            self.give_back()
            return
        usage = ended.usage if isinstance(ended, Finished | Failed) else None
        if usage is not None and isinstance(ended, Finished):
            self._estimates.seen(self._route, usage)
        for taken in self._taken:
            if usage is not None and taken.rate.measure == "tokens":
                taken.used(usage.input_tokens + usage.output_tokens)
        cost = self._cost_micros(ended)
        for held, unit in self._held:
            if unit == "usd_micros":
                # What is not known may have cost all that was reserved.
                held.end(held.amount if cost is None else cost)
            else:
                held.end(0)

    def _cost_micros(self, ended: Outcome | None) -> int | None:
        """What the attempt cost; None where its provider may have charged for it, and nobody knows how much."""
        if isinstance(ended, Finished | Failed):
            usd = ended.usage.cost_usd
            if usd or isinstance(ended, Finished) or ended.kind not in OF_UNKNOWN_COST:
                return None if usd is None else micros_of(usd)
        return 0 if self._own_hardware and self._estimates.is_free(self._route) else None
