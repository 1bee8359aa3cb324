"""`flotilla status`: the fleet and its routes, or one task."""

from contextlib import suppress
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from flotilla.chassis.terminal_text import clean_line
from flotilla.cli.console import exits, terminal
from flotilla.cli.console.arguments import NO_WHERE, Where
from flotilla.cli.console.hints import NO_ROOM, STORES_NOTHING
from flotilla.cli.console.lanes import SealedLane, sealed_lane, told
from flotilla.cli.console.pools import backlog_rows, pool_rows, replica_rows
from flotilla.cli.console.readable import counted, milliseconds
from flotilla.cli.console.routes import route_rows
from flotilla.cli.console.tables import table
from flotilla.client.fleet import Fleet
from flotilla.contracts.api import FleetStatus, TaskStatus
from flotilla.contracts.api_routing import RouteReport
from flotilla.contracts.errors import TaskError


async def status(  # noqa: D417  (groups of options say it themselves)
    task: str | None = None,
    /,
    *,
    where: Where = NO_WHERE,
    replicas: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """
    The pools that are live, how their routes do, and the backlog; or where one task stands.

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
            found = await fleet.status()
            return _show_fleet(found, await _routes(fleet), await sealed_lane(fleet, found), where)
        cards = await fleet.replicas()
    if where.json:
        for card in cards:
            terminal.json_line(msgspec.json.encode(card))
    else:
        table(*replica_rows(cards))
    return exits.OK


async def _routes(fleet: Fleet) -> list[RouteReport]:
    # An orchestrator of an older version knows no such question; the rest of the status is no worse for that.
    with suppress(TaskError):
        return (await fleet.stats()).routes
    return []


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
        terminal.write(f"  {found.error.kind.value}: {clean_line(found.error.message)}\n")
    return exits.OK


def _show_fleet(found: FleetStatus, routes: list[RouteReport], lane: SealedLane | None, where: Where) -> int:
    if where.json:
        sealed = {} if lane is None else {"sealed_lane": lane}
        terminal.json_line(msgspec.json.encode({**_fields(found), "routes": routes, **sealed}))
        return exits.OK
    if found.pools:
        table(*pool_rows(found.pools))
    else:
        terminal.write("no live pools: tasks wait until a worker is there\n")
    if routes:
        terminal.write("\n")
        table(*route_rows(routes))
    if found.backlog:
        terminal.write("\n")
        table(*backlog_rows(found.backlog))
    if found.stores_nothing is True:
        terminal.aside(f"{STORES_NOTHING}. {NO_ROOM}")
    if lane is not None:
        terminal.aside(told(lane))
    if found.dead:
        terminal.aside(f"{counted(found.dead, 'dead task')}: flotilla dead list")
    return exits.OK


def _fields(found: FleetStatus) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(found).items() if value is not msgspec.UNSET}
