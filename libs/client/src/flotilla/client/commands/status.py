"""`flotilla status`: the fleet, or one task."""

from typing import Annotated

import msgspec
from cyclopts import Parameter

from flotilla.client.console import exits, terminal
from flotilla.client.console.arguments import NO_WHERE, Where
from flotilla.client.console.pools import backlog_rows, pool_rows, replica_rows
from flotilla.client.console.readable import milliseconds
from flotilla.client.console.tables import table
from flotilla.contracts.api import FleetStatus, TaskStatus


async def status(  # noqa: D417  (groups of options say it themselves)
    task: str | None = None,
    /,
    *,
    where: Where = NO_WHERE,
    replicas: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """
    The pools that are live and the backlog; or where one task stands.

    Parameters
    ----------
    task
        The id of a task.
    replicas
        Every replica instead of the pools.
    """
    if task is not None and replicas:
        raise exits.UsageError("give a task or --replicas, not both")
    async with where.fleet() as fleet:
        if task is not None:
            return _show_task(await fleet.task_status(task), where)
        if not replicas:
            return _show_fleet(await fleet.status(), where)
        cards = await fleet.replicas()
    if where.json:
        for card in cards:
            terminal.json_line(msgspec.json.encode(card))
    else:
        table(*replica_rows(cards))
    return exits.OK


def _show_task(found: TaskStatus, where: Where) -> int:
    if where.json:
        terminal.json_line(msgspec.json.encode(found))
        return exits.OK
    place = f" on {found.pool}/{found.model}" if found.pool else ""
    replica = f" ({found.replica})" if found.replica else ""
    time = f", {milliseconds(found.running_ms)}" if found.running_ms else ""
    capability = f" {found.capability}" if found.capability else ""
    terminal.write(f"{found.task}{capability}: {found.state}{place}{replica}{time}\n")
    if found.error is not None:
        terminal.write(f"  {found.error.kind.value}: {found.error.message}\n")
    return exits.OK


def _show_fleet(found: FleetStatus, where: Where) -> int:
    if where.json:
        terminal.json_line(msgspec.json.encode(found))
        return exits.OK
    if found.pools:
        table(*pool_rows(found.pools))
    else:
        terminal.write("no live pools: tasks wait until a worker is there\n")
    if found.backlog:
        terminal.write("\n")
        table(*backlog_rows(found.backlog))
    if found.dead:
        terminal.aside(f"\n{found.dead} dead tasks: flotilla dead list")
    return exits.OK
