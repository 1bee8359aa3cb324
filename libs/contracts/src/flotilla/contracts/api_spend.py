"""Questions about money: the bodies of `api.spend` and of its answer."""

from collections.abc import Iterable
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from flotilla.contracts.fields import SEQUENCE_MAX, Instance, Name, Sequence
from flotilla.contracts.headers import LABEL_LENGTH_MAX
from flotilla.contracts.limits import BUDGETS_MAX, Mode
from flotilla.contracts.patterns import pattern

GROUPS_MAX: Final = 4
LINES_MAX: Final = 5_000
PERIOD_LENGTH_MAX: Final = 10
LABEL_PREFIX: Final = "label."
DAY: Final = pattern(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}\Z", "a day, YYYY-MM-DD")

Day = Annotated[str, Meta(pattern=DAY)]
Micros = Annotated[int, Meta(ge=-SEQUENCE_MAX, le=SEQUENCE_MAX)]
Group = Annotated[str, Meta(min_length=1, max_length=len(LABEL_PREFIX) + LABEL_LENGTH_MAX)]
"""`day`, `pool`, `model`, `scope`, `capability`, or `label.` and the name of a label."""

PLAIN_GROUPS: Final[tuple[Literal["day", "scope", "pool", "model"], ...]] = ("day", "scope", "pool", "model")
"""Read from the totals; the others from the ledger's messages."""


class SpendPosition(Struct, frozen=True, kw_only=True):
    """Where an answer stopped in the ledger: scopes in their order, of each the newest day first, of a day by sequence."""

    scope: Instance
    day: Day
    sequence: Sequence


class SpendQuery(Struct, frozen=True, kw_only=True):
    """
    `api.spend`: what the tasks of a scope have cost; answered with Spend.

    Attributes:
        by: What the lines are for; each adds a column.
        since: The first day (UTC); None for the first of the ledger.
        until: The last day; None for today.
        every_scope: Of all scopes that the orchestrator serves; for those who may change the policy.
        after: `next` of the answer before, where that has not read all; None for the first.
    """

    by: Annotated[tuple[Group, ...], Meta(min_length=1, max_length=GROUPS_MAX)] = ("pool",)
    since: Day | None = None
    until: Day | None = None
    every_scope: bool = False
    after: SpendPosition | None = None


class SpendLine(Struct, frozen=True, kw_only=True):
    """
    One line.

    Attributes:
        key: A value for each of `by`, in its order; "" where there is none.
        usd_micros: In millionths of a dollar.
        entries: A task has one for each pool and model that it was tried on and that cost something.
        unpriced: Those of them whose cost is not known.
    """

    key: list[str]
    usd_micros: Micros
    entries: int
    unpriced: int = 0


class BudgetStanding(Struct, frozen=True, kw_only=True):
    """
    How a budget of the policy in force stands now.

    Attributes:
        name: In the policy.
        period: The day (`2026-11-29`) or the month (`2026-11`) that it is for, by UTC.
        usd_micros: How much may be spent in it.
        used_usd_micros: Spent, or reserved for what is under way; None while its counter cannot be read, and then
            nothing more is spent that it covers.
        mode: `report` refuses nothing.
    """

    name: Name
    period: Annotated[str, Meta(min_length=1, max_length=PERIOD_LENGTH_MAX)]
    usd_micros: Micros
    used_usd_micros: Micros | None
    mode: Mode = "enforce"

    @property
    def left_usd_micros(self) -> int | None:
        """What may still be spent; below 0 where the budget was lowered, or only reports."""
        return None if self.used_usd_micros is None else self.usd_micros - self.used_usd_micros


class Spend(Struct, frozen=True, kw_only=True):
    """
    Lines, the dearest first, and the sum of all.

    Attributes:
        complete: False when there were more lines, or more of the ledger, than one answer looks at; the sum then is of
            what was looked at, the newest days first.
        left_out: Whether there were more lines.
        next: Where the next answer goes on, whose lines and sums are to be added (`together`); None where all was read.
        budgets: Those in force, as they stand now: of a tenant those for its tasks alone, for those who may change the
            policy all.
    """

    by: tuple[str, ...]
    lines: list[SpendLine]
    usd_micros: Micros
    entries: int
    unpriced: int = 0
    complete: bool = True
    left_out: bool = False
    next: SpendPosition | None = None
    budgets: Annotated[list[BudgetStanding], Meta(max_length=BUDGETS_MAX)] = []


def together(one: Spend, more: Spend) -> Spend:
    """Two answers to the same question as one, `more` being what came after."""
    sums = {tuple(line.key): line for line in one.lines}
    for line in more.lines:
        before = sums.get(tuple(line.key))
        sums[tuple(line.key)] = line if before is None else _added(before, line)
    left_out = one.left_out or more.left_out or len(sums) > LINES_MAX
    return Spend(
        by=one.by,
        lines=in_order(sums.values())[:LINES_MAX],
        usd_micros=one.usd_micros + more.usd_micros,
        entries=one.entries + more.entries,
        unpriced=one.unpriced + more.unpriced,
        complete=more.next is None and not left_out,
        left_out=left_out,
        next=more.next,
        budgets=more.budgets,
    )


def in_order(lines: Iterable[SpendLine]) -> list[SpendLine]:
    """The dearest first."""
    return sorted(lines, key=lambda line: (-line.usd_micros, line.key))


def _added(one: SpendLine, other: SpendLine) -> SpendLine:
    return SpendLine(
        key=one.key,
        usd_micros=one.usd_micros + other.usd_micros,
        entries=one.entries + other.entries,
        unpriced=one.unpriced + other.unpriced,
    )
