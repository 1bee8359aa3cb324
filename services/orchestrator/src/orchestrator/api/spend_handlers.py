"""Questions about money: `api.spend`."""

import time
from collections.abc import Sequence
from typing import Final

import msgspec

from flotilla.contracts.api_spend import LABEL_PREFIX, LINES_MAX, PLAIN_GROUPS, Spend, SpendLine, SpendQuery, in_order
from flotilla.contracts.errors import BadRequestError, TaskError
from flotilla.contracts.failures import ErrorKind
from flotilla.contracts.names import name_of
from flotilla.fabric.counters import Count
from flotilla.fabric.inbox import Requests
from flotilla.routing.limit_rules import period_of
from orchestrator.api.requests import ApiRequest, decode_query
from orchestrator.api.turns import Turns
from orchestrator.economy.budget_standings import BudgetStandings
from orchestrator.economy.ledger_walk import LedgerWalk
from orchestrator.economy.spend import CAPABILITY, LABELS, UNPRICED

ENTRIES_READ_MAX: Final = 200_000
"""Of the ledger, for one answer; the next one goes on from there."""
DAY_S: Final = 86_400.0
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
        scopes = self._left(query, self._scopes if query.every_scope else (question.scope,))
        sums, left, stopped_at = Sums(), ENTRIES_READ_MAX, None
        async with self._walks.turn(question.scope):
            for scope in scopes:
                walk = self._walk(scope, query)
                left -= await self._add_up(walk, query, sums, left)
                stopped_at = walk.stopped_at
                if stopped_at is not None:
                    break
        lines = [
            SpendLine(key=list(key), usd_micros=micros, entries=entries, unpriced=unpriced)
            for key, (micros, entries, unpriced) in sums.of.items()
        ]
        left_out = sums.left_out or len(lines) > LINES_MAX
        usd_micros, entries, unpriced = sums.all
        return Spend(
            by=query.by,
            lines=in_order(lines)[:LINES_MAX],
            usd_micros=usd_micros,
            entries=entries,
            unpriced=unpriced,
            complete=stopped_at is None and not left_out,
            left_out=left_out,
            next=stopped_at,
            budgets=await self._budgets.of(None if sees_all else question.scope),
        )

    def _walk(self, scope: str, query: SpendQuery) -> LedgerWalk:
        after = query.after if query.after is not None and query.after.scope == scope else None
        # Nothing is written on a day that nobody's clock has come to.
        until = period_of("day", time.time()) if query.until is None else min(query.until, _tomorrow())
        return LedgerWalk(self._requests, scope, since=query.since, until=until, after=after)

    @staticmethod
    def _left(query: SpendQuery, scopes: Sequence[str]) -> Sequence[str]:
        """Those that an answer before has not come to."""
        if query.after is None:
            return scopes
        if query.after.scope not in scopes:
            expected = "`next` of the answer before"
            raise BadRequestError("that is no place in this ledger", path="$.after.scope", expected=expected)
        return scopes[scopes.index(query.after.scope) :]

    async def _add_up(self, walk: LedgerWalk, query: SpendQuery, sums: "Sums", entries_max: int) -> int:
        """One scope's entries; gives how many were read."""
        read = 0
        async for count, is_oldest in walk.entries(entries_max):
            read += 1
            found = _entry(count)
            if found is None:
                continue
            if is_oldest:
                # What was counted before the oldest entry that is left: the stream was full.
                _add(sums, query, {**found, "capability": ""}, "{}", (count.total - count.increment, 0, 0))
            unpriced = int(count.headers.get(UNPRICED) == "1")
            _add(sums, query, found, count.headers.get(LABELS, "{}"), (count.increment, 1, unpriced))
        return read


def _tomorrow() -> str:
    return period_of("day", time.time() + DAY_S)


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
