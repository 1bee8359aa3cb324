"""
What the ledger has of a budget's period: so much is spent, whether or not the budget was in the policy meanwhile.

A budget counts attempts while it is in force. One that is new, that had left the policy and is back, that now counts others
than before, or whose counter was lost while every orchestrator was stopped, begins with what the tasks that it is for have
cost in its day or month.
"""

import calendar
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from flotilla.contracts import subjects
from flotilla.contracts.decoding import UNDECODABLE
from flotilla.contracts.limits import BudgetEntry
from flotilla.fabric.counters import Count, totals
from flotilla.fabric.errors import FabricError
from flotilla.fabric.inbox import Requests
from orchestrator.economy.errors import CountersAwayError
from orchestrator.economy.ledger_walk import LedgerWalk
from orchestrator.economy.spend import LABELS

ENTRIES_MAX: Final = 1_000_000
"""Of a scope's ledger, that are added up where labels count: as many as it may hold."""
MONTH_LENGTH: Final = len("2026-11")
DAY_TOKEN: Final = 2
POOL_TOKEN: Final = 3

_decode_labels: Final = msgspec.json.Decoder(dict[str, str]).decode


class Spent(NamedTuple):
    """
    What is to be counted when a budget's counter is first read.

    Attributes:
        once: Names the moment since which the budget is in force, and the ledgers: all orchestrators that would add the same
            say the same.
        micros: Gives what the ledger has, in micro-dollars.
    """

    once: str
    micros: Callable[[], Awaitable[int]]


class BudgetHistory:
    """
    Adds up the ledgers of this orchestrator's scopes.

    Attributes:
        of: Names the scopes: orchestrators of the same ones, and no others, would add the same.
    """

    def __init__(self, requests: Requests, scopes: Sequence[str]) -> None:
        self._requests = requests
        self._scopes = tuple(scopes)
        self.of: Final = hashlib.sha256(",".join(sorted(scopes)).encode()).hexdigest()[:16]

    async def micros(self, budget: BudgetEntry, period: str) -> int:
        """
        What the tasks that a budget is for have cost in a day (`2026-11-29`) or month (`2026-11`).

        Raises:
            CountersAwayError: A ledger cannot be read.
        """
        try:
            return sum(
                [await self._of(scope, budget, period) for scope in self._scopes if _within(budget.scopes, scope)]
            )
        except FabricError as error:
            raise CountersAwayError(type(error).__name__) from error

    async def _of(self, scope: str, budget: BudgetEntry, period: str) -> int:
        if budget.labels is None:
            found = await totals(self._requests, subjects.ledger_stream(scope), f"ledger.{scope}.>")
            if found is not None:
                return sum(total for subject, total in found.items() if _counts(subject, budget, period))
        walk = LedgerWalk(self._requests, scope, since=_first_day(period), until=_last_day(period))
        micros = 0
        async for count, is_oldest in walk.entries(ENTRIES_MAX):
            if _counts(count.subject, budget, period) and _has(count, budget.labels):
                # Of entries that are gone, since the ledger was full, nobody knows the labels.
                micros += count.total if is_oldest and budget.labels is None else count.increment
        return micros


def _counts(subject: str, budget: BudgetEntry, period: str) -> bool:
    tokens = subject.split(".")
    return (
        len(tokens) > POOL_TOKEN and tokens[DAY_TOKEN].startswith(period) and _within(budget.pools, tokens[POOL_TOKEN])
    )


def _has(count: Count, labels: Mapping[str, str] | None) -> bool:
    if labels is None:
        return True
    try:
        given = _decode_labels(count.headers.get(LABELS, "{}").encode())
    except UNDECODABLE:
        return False
    return all(given.get(label) == value for label, value in labels.items())


def _first_day(period: str) -> str:
    return f"{period}-01" if len(period) == MONTH_LENGTH else period


def _last_day(period: str) -> str:
    if len(period) != MONTH_LENGTH:
        return period
    year, month = period.split("-")
    return f"{period}-{calendar.monthrange(int(year), int(month))[1]}"


def _within(names: Sequence[str] | None, name: str) -> bool:
    return names is None or name in names
