"""What an attempt holds of limits and budgets while it is under way."""

import asyncio

from flotilla.contracts.attempts import Failed, Finished
from orchestrator.economy.allowances import Held
from orchestrator.economy.estimates import Estimates, RouteOf, micros_of
from orchestrator.economy.rates import Taken
from orchestrator.state.outcomes import Outcome, found_no_slot


class Permit:
    """
    What an attempt holds of limits and budgets while it is under way.

    `close` is called once, with how it ended.
    """

    __slots__ = ("_estimates", "_held", "_route", "_taken")

    def __init__(self, estimates: Estimates, route: RouteOf) -> None:
        self._estimates = estimates
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
        for held, unit in self._held:
            if unit != "usd_micros" or usage is None:
                held.end(0)
            else:
                # What is not known may have cost all that was reserved.
                held.end(held.amount if usage.cost_usd is None else micros_of(usage.cost_usd))
