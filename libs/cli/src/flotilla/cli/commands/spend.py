"""`flotilla spend`: what tasks have cost."""

import re
from typing import Annotated, Final

import msgspec
from cyclopts import Parameter

from flotilla.cli.console import exits, terminal
from flotilla.cli.console.arguments import NO_WHERE, Where
from flotilla.cli.console.tables import table
from flotilla.contracts.api_spend import DAY, GROUPS_MAX, LABEL_PREFIX, PLAIN_GROUPS, Spend
from flotilla.contracts.limits import USD_MICROS

GROUPS: Final = (*PLAIN_GROUPS, "capability")


async def spend(  # noqa: D417  (groups of options say it themselves)
    *,
    where: Where = NO_WHERE,
    by: str = "pool,model",
    since: str | None = None,
    until: str | None = None,
    every_scope: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """
    What tasks have cost, the dearest first, and what budgets have left; adds up to the costs in the tasks' results.

    Parameters
    ----------
    by
        day, pool, model, scope, capability or label.NAME, with commas between.
    since
        The first day, as 2026-11-01 (UTC).
    until
        The last day; today unless given.
    every_scope
        Of all tenants; for those who may change the policy.
    """
    groups = [group.strip() for group in by.split(",") if group.strip()]
    wrong = [group for group in groups if group not in GROUPS and not group.startswith(LABEL_PREFIX)]
    if wrong or not groups or len(groups) > GROUPS_MAX:
        raise exits.UsageError(f"--by takes up to {GROUPS_MAX} of {', '.join(GROUPS)} and label.NAME")
    for name, day in (("--since", since), ("--until", until)):
        if day is not None and not re.fullmatch(DAY, day):
            raise exits.UsageError(f"{name} takes a day, as 2026-11-01")
    async with where.fleet() as fleet:
        found = await fleet.spend(by=groups, since=since, until=until, every_scope=every_scope)
    if where.json:
        terminal.json_line(msgspec.json.encode(found))
        return exits.OK
    table((*groups, "usd", "entries", "unpriced"), rows_of(found))
    unpriced = f", {found.unpriced:,} without a price" if found.unpriced else ""
    terminal.aside(f"{usd_of(found.usd_micros)} USD, entries: {found.entries:,}{unpriced}")
    if found.budgets:
        terminal.write("\n")
        table(("budget", "period", "usd", "spent or reserved", "left", "mode"), budget_rows_of(found))
    if any(each.used_usd_micros is None for each in found.budgets):
        terminal.aside("the counters of the budgets cannot be reached: nothing is spent that a budget covers")
    if not found.complete:
        terminal.aside("not all of the ledger: ask for fewer days with --since and --until")
    return exits.OK


def rows_of(found: Spend) -> list[tuple[str, ...]]:
    """A row for each line."""
    return [
        (*line.key, usd_of(line.usd_micros), f"{line.entries:,}", f"{line.unpriced:,}" if line.unpriced else "")
        for line in found.lines
    ]


def budget_rows_of(found: Spend) -> list[tuple[str, ...]]:
    """A row for each budget."""
    rows: list[tuple[str, ...]] = []
    for each in found.budgets:
        used, left = each.used_usd_micros, each.left_usd_micros
        known = ("unknown", "unknown") if used is None or left is None else (usd_of(used), usd_of(left))
        rows.append((each.name, each.period, usd_of(each.usd_micros), *known, each.mode))
    return rows


def usd_of(micros: int) -> str:
    """Dollars to the micro-dollar."""
    sign = "-" if micros < 0 else ""
    return f"{sign}{abs(micros) // USD_MICROS:,}.{abs(micros) % USD_MICROS:06}"
