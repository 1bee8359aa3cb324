"""`flotilla dead`: tasks that could not be processed."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

import msgspec
from cyclopts import App

from flotilla.cli.console import exits, terminal
from flotilla.cli.console.arguments import NO_WHERE, Where
from flotilla.cli.console.examples import examples_of
from flotilla.cli.console.tables import table
from flotilla.client import Fleet
from flotilla.contracts.api import DEAD_LIST_DEFAULT, DEAD_LIST_MAX
from flotilla.contracts.errors import TaskError
from flotilla.contracts.results import DeadRecord

dead: Final = App(name="dead", help_format="plaintext", help_epilogue=examples_of("dead"))


@dead.command(name="list")
async def list_(*, limit: int = DEAD_LIST_DEFAULT, where: Where = NO_WHERE) -> int:  # noqa: D417  (groups of options say it themselves)
    """
    List the newest, newest first.

    Parameters
    ----------
    limit
        How many, at most.
    """
    if not 1 <= limit <= DEAD_LIST_MAX:
        raise exits.UsageError(f"--limit {limit}: expected 1 to {DEAD_LIST_MAX}")
    async with where.fleet() as fleet:
        entries = await fleet.dead_list(limit)
    if where.json:
        for entry in entries:
            terminal.json_line(msgspec.json.encode(entry))
    elif entries:
        rows = [
            (
                entry.task,
                entry.capability,
                _time(entry.at_unix_ms),
                f"{entry.size_bytes:,}",
                entry.error.kind.value,
                entry.error.message,
            )
            for entry in entries
        ]
        table(("task", "capability", "at", "bytes", "kind", "message"), rows)
    else:
        terminal.aside("no dead tasks")
    return exits.OK


@dead.command
async def show(task: str, /, *, where: Where = NO_WHERE) -> int:  # noqa: D417  (groups of options say it themselves)
    """
    Show one: why it died, and the original message.

    Parameters
    ----------
    task
        Its id, as `flotilla dead list` shows it.
    """
    async with where.fleet() as fleet:
        record = await fleet.dead_show(task)
    if where.json:
        terminal.json_line(msgspec.json.encode(record))
        return exits.OK
    terminal.write("\n".join(_lines(record)) + "\n")
    return exits.OK


@dead.command
async def retry(*tasks: str, where: Where = NO_WHERE) -> int:  # noqa: D417  (groups of options say it themselves)
    """
    Submit dead tasks again, under new ids.

    Parameters
    ----------
    tasks
        Their ids.
    """

    async def again(fleet: Fleet, task: str) -> None:
        retried = await fleet.dead_retry(task)
        if where.json:
            terminal.json_line(msgspec.json.encode(retried))
        else:
            terminal.write(f"{retried.retried_as}\n")
            terminal.aside(f"{task} was submitted again; its result: flotilla result {retried.retried_as} --wait")

    return await _for_each(tasks, where, again)


@dead.command
async def discard(*tasks: str, where: Where = NO_WHERE) -> int:  # noqa: D417  (groups of options say it themselves)
    """
    Delete the records of dead tasks, with their inputs; their failed results stay.

    Parameters
    ----------
    tasks
        Their ids.
    """

    async def away(fleet: Fleet, task: str) -> None:
        discarded = await fleet.dead_discard(task)
        if where.json:
            terminal.json_line(msgspec.json.encode(discarded))
        else:
            terminal.write(f"{task} was discarded\n")

    return await _for_each(tasks, where, away)


async def _for_each(tasks: tuple[str, ...], where: Where, do: Callable[[Fleet, str], Awaitable[None]]) -> int:
    """One after the other; those that fail are told of, and the others are done all the same."""
    if not tasks:
        raise exits.UsageError("give the id of a dead task; `flotilla dead list` shows them")
    worst = exits.OK
    async with where.fleet() as fleet:
        for task in tasks:
            try:
                await do(fleet, task)
            except TaskError as error:
                worst = max(worst, exits.report(error, as_json=where.json, command="dead"))
    return worst


def _lines(record: DeadRecord) -> list[str]:
    lines = [
        f"task        {record.task}",
        f"capability  {record.capability}",
        f"at          {_time(record.at_unix_ms)}",
        f"error       {record.error.kind.value}: {record.error.message}",
        f"subject     {record.subject}",
        *(f"header      {name}: {value}" for name, value in record.headers.items()),
        *(
            f"attempt     {attempt.pool}/{attempt.model}: {attempt.outcome} {attempt.message}".rstrip()
            for attempt in record.attempts
        ),
    ]
    return [*lines, "", record.body.decode("utf-8", "replace")]


def _time(unix_ms: int) -> str:
    return datetime.fromtimestamp(unix_ms / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
