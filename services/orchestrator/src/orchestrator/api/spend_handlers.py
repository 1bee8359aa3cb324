"""Questions about money: `api.spend`."""

import time
from collections.abc import Sequence
from typing import Final

import msgspec

from flotilla.contracts import subjects
from flotilla.contracts.api_spend import LABEL_PREFIX, LINES_MAX, PLAIN_GROUPS, Spend, SpendLine, SpendQuery
from flotilla.contracts.errors import BadRequestError, TaskError
from flotilla.contracts.failures import ErrorKind
from flotilla.contracts.names import name_of
from flotilla.fabric.counters import Count, counts
from flotilla.fabric.inbox import Requests
from flotilla.routing.limit_rules import period_of
from orchestrator.api.requests import ApiRequest, decode_query
from orchestrator.api.turns import Turns
from orchestrator.economy.budget_standings import BudgetStandings
from orchestrator.economy.spend import CAPABILITY, LABELS, UNPRICED

ENTRIES_READ_MAX: Final = 200_000
"""Of one scope's ledger, for one answer."""
GROUPS: Final = (*PLAIN_GROUPS, "capability")

SUMS_MAX: Final = 4 * LINES_MAX
"""Lines that one answer adds up: a label may have another value in every entry."""

Sum = list[int]
"""Micro-dollars, entries, entries without a price."""


class Sums:
    """
    Sums by line, at most SUMS_MAX of them.

    Attributes:
        of: By the line's key.
        all: Of every line, those that were left out among them.
        left_out: Whether there were more lines.
    """

    def __init__(self) -> None:
        self.of: Final[dict[tuple[str, ...], Sum]] = {}
        self.all: Final[Sum] = [0, 0, 0]
        self.left_out = False

    def add(self, key: tuple[str, ...], more: tuple[int, int, int]) -> None:
        """Add an entry."""
        line = self.of.get(key)
        if line is None and len(self.of) < SUMS_MAX:
            line = self.of[key] = [0, 0, 0]
        self.left_out = self.left_out or line is None
        for index, amount in enumerate(more):
            self.all[index] += amount
            if line is not None:
                line[index] += amount


class SpendHandlers:
    """Adds up the ledger of a scope, or of all."""

    def __init__(
        self,
        requests: Requests,
        walks: Turns,
        budgets: BudgetStandings,
        *,
        scopes: Sequence[str],
        policy_scopes: frozenset[str],
    ) -> None:
        self._requests = requests
        self._walks = walks
        self._budgets = budgets
        self._scopes = scopes
        self._policy_scopes = policy_scopes

    async def spend(self, question: ApiRequest) -> Spend:
        """What tasks have cost, and how much budgets have left."""
        query = decode_query(question, SpendQuery)
        for group in query.by:
            if group not in GROUPS and not group.startswith(LABEL_PREFIX):
                expected = f"{', '.join(GROUPS)}, or label. and a label's name"
                raise BadRequestError(f"spend is not told by {group}; {expected}", path="$.by", expected=expected)
        sees_all = not question.from_tenant or question.scope in self._policy_scopes
        if query.every_scope and not sees_all:
            raise TaskError(ErrorKind.NOT_PERMITTED, f"the scope {question.scope} may not see what others spend")
        scopes = self._scopes if query.every_scope else (question.scope,)
        sums = Sums()
        complete = True
        async with self._walks.turn(question.scope):
            for scope in scopes:
                complete = await self._add_up(scope, query, sums) and complete
        lines = [
            SpendLine(key=list(key), usd_micros=micros, entries=entries, unpriced=unpriced)
            for key, (micros, entries, unpriced) in sums.of.items()
        ]
        lines.sort(key=lambda line: (-line.usd_micros, line.key))
        usd_micros, entries, unpriced = sums.all
        return Spend(
            by=query.by,
            lines=lines[:LINES_MAX],
            usd_micros=usd_micros,
            entries=entries,
            unpriced=unpriced,
            complete=complete and not sums.left_out and len(lines) <= LINES_MAX,
            budgets=await self._budgets.of(None if sees_all else question.scope),
        )

    async def _add_up(self, scope: str, query: SpendQuery, sums: "Sums") -> bool:
        """One scope's entries; False when there are more than are read."""
        until = query.until or period_of("day", time.time())
        read = 0
        seen: set[str] = set()
        stream = subjects.ledger_stream(scope)
        # An entry is of the day on which it was written, by a clock that may differ from the server's: all are looked at.
        async for count in counts(self._requests, stream, f"ledger.{scope}.>", counts_max=ENTRIES_READ_MAX):
            read += 1
            found = _entry(count)
            if found is None or not (query.since or "") <= found["day"] <= until:
                continue
            if count.subject not in seen:
                seen.add(count.subject)
                # What was counted before the oldest entry that is left: the stream was full.
                _add(sums, query, {**found, "capability": ""}, "{}", (count.total - count.increment, 0, 0))
            unpriced = int(count.headers.get(UNPRICED) == "1")
            _add(sums, query, found, count.headers.get(LABELS, "{}"), (count.increment, 1, unpriced))
        return read < ENTRIES_READ_MAX


def _add(sums: Sums, query: SpendQuery, entry: dict[str, str], labels: str, more: tuple[int, int, int]) -> None:
    if not any(more):
        return
    given: dict[str, str] = {}
    if any(group.startswith(LABEL_PREFIX) for group in query.by):
        given = _labels(labels)
    key = tuple(
        given.get(group.removeprefix(LABEL_PREFIX), "") if group.startswith(LABEL_PREFIX) else entry[group]
        for group in query.by
    )
    sums.add(key, more)


def _entry(count: Count) -> dict[str, str] | None:
    """What an entry's subject says; None when it is none."""
    match count.subject.split("."):
        case ["ledger", scope, day, pool, model]:
            try:
                named = "" if model == "=" else name_of(model)
            except ValueError:
                return None
            capability = count.headers.get(CAPABILITY, "")
            return {"scope": scope, "day": day, "pool": pool, "model": named, "capability": capability}
        case _:
            return None


def _labels(encoded: str) -> dict[str, str]:
    try:
        return msgspec.json.decode(encoded, type=dict[str, str])
    except msgspec.MsgspecError:
        return {}
