"""`flotilla tasks`: what was submitted from here."""

from typing import Final

import msgspec

from flotilla.cli.console import exits, terminal
from flotilla.cli.console.arguments import NO_WHERE, Where
from flotilla.cli.console.journal import Noted
from flotilla.cli.console.outcomes import in_parallel
from flotilla.cli.console.readable import moment
from flotilla.cli.console.submitted import noted_for, state_of
from flotilla.cli.console.tables import table
from flotilla.contracts.api import TaskStatus

SHOWN_DEFAULT: Final = 20
SHOWN_MAX: Final = 10_000
ASKED_AT_ONCE_MAX: Final = 8


async def tasks(*, limit: int = SHOWN_DEFAULT, batch: str | None = None, where: Where = NO_WHERE) -> int:  # noqa: D417  (groups of options say it themselves)
    """
    List the tasks that were submitted from here to this fleet, newest first, and where each stands.

    They are noted in a file of your own, flotilla/submitted.jsonl below XDG_STATE_HOME (~/.local/state): ids and names of
    files, no document.

    Parameters
    ----------
    limit
        How many.
    batch
        Only those of this folder.
    """
    if not 1 <= limit <= SHOWN_MAX:
        raise exits.UsageError(f"--limit {limit}: expected 1 to {SHOWN_MAX:,}")
    async with where.fleet() as fleet:
        noted = [each for each in noted_for(fleet, where) if batch is None or each.batch == batch]
        newest = list(reversed(noted))[:limit]

        async def look(place: int) -> tuple[int, str, TaskStatus | None]:
            return place, *await state_of(fleet, newest[place].task)

        found = sorted(
            [each async for each in in_parallel(look, range(len(newest)), ASKED_AT_ONCE_MAX)], key=lambda each: each[0]
        )
    if where.json:
        for (_, state, _), each in zip(found, newest, strict=True):
            terminal.json_line(msgspec.json.encode({**msgspec.structs.asdict(each), "state": state}))
        return exits.OK
    rows = [_row(each, state, status) for (_, state, status), each in zip(found, newest, strict=True)]
    table(("submitted", "task", "status", "capability", "pool", "batch", "file"), rows)
    if not rows:
        terminal.aside("nothing was submitted from here to this fleet")
    elif len(noted) > len(newest):
        terminal.aside(f"{len(noted) - len(newest):,} more before these; --limit shows more")
    return exits.OK


def _row(noted: Noted, state: str, status: TaskStatus | None) -> tuple[str, ...]:
    pool = "" if status is None else status.pool
    return (moment(noted.at_unix_ms), noted.task, state, noted.capability, pool, noted.batch, noted.file)
