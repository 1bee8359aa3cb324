"""`flotilla watch`: pools, routes and events, live."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from flotilla.chassis.terminal_text import clean
from flotilla.client.console import exits, terminal
from flotilla.client.console.arguments import NO_WHERE, Where
from flotilla.client.console.pools import pool_rows
from flotilla.client.console.routes import CLOSED, WELL, Moves, move_line, route_rows
from flotilla.client.errors import NoFleetError
from flotilla.client.events import EventFeed
from flotilla.client.fleet import Fleet
from flotilla.contracts.api import FleetStatus
from flotilla.contracts.api_routing import RouteReport
from flotilla.contracts.errors import TaskError
from flotilla.contracts.results import Event
from flotilla.contracts.subjects import EventKind

if TYPE_CHECKING:
    from rich.console import RenderableType

REFRESH_EVERY_S: Final = 1.0
EVENTS_SHOWN: Final = 200
ROUTES_SHOWN: Final = 12
_STYLES: Final[dict[str, str]] = {
    "finished": "green",
    "failed": "red",
    "attempt_failed": "yellow",
    "cancelled": "magenta",
    "dispatched": "cyan",
}


async def watch(  # noqa: D417  (groups of options say it themselves)
    task: str | None = None,
    /,
    *,
    where: Where = NO_WHERE,
    capability: str | None = None,
    kind: list[EventKind] | None = None,
) -> int:
    """
    Pools, routes and events, live; Ctrl-C ends it.

    On a terminal, tables of the pools and of how their routes do, above the latest events. Into a pipe, a line per event,
    and one whenever a route is left, returns, or has its breaker open or close.

    Parameters
    ----------
    task
        Only this task.
    capability
        Only tasks of this capability.
    kind
        Only events of this kind. May be repeated.
    """
    async with where.fleet() as fleet, fleet.events(capability=capability, task=task, kinds=kind or None) as events:
        if where.json or not terminal.out_is_terminal():
            telling = asyncio.create_task(_tell_moves(fleet, where))
            try:
                async for event in events:
                    if where.json:
                        terminal.json_line(msgspec.json.encode(event))
                    else:
                        terminal.write(_line(event) + "\n")
            finally:
                telling.cancel()
        else:
            await _live(fleet, events)
    return exits.OK


async def _tell_moves(fleet: Fleet, where: Where) -> None:
    moves = Moves()
    while True:
        for report in moves.since_last(await _routes(fleet)):
            if where.json:
                terminal.json_line(msgspec.json.encode({"kind": "moved", **msgspec.structs.asdict(report)}))
            else:
                terminal.write(f"{_time(time.time())}  {'moved':<14}  {move_line(report)}\n")
        await asyncio.sleep(REFRESH_EVERY_S)


async def _routes(fleet: Fleet) -> list[RouteReport]:
    with contextlib.suppress(NoFleetError, TaskError):
        return (await fleet.stats()).routes
    return []


async def _live(fleet: Fleet, events: EventFeed) -> None:
    from rich.live import Live  # noqa: PLC0415  (not needed into a pipe)

    latest: deque[Event] = deque(maxlen=EVENTS_SHOWN)

    async def collect() -> None:
        async for event in events:
            latest.append(event)

    console = terminal.console()
    collecting = asyncio.create_task(collect())
    try:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                status: FleetStatus | None = None
                with contextlib.suppress(NoFleetError):
                    status = await fleet.status()
                routes = await _routes(fleet)
                screen = _screen(status, routes, latest, dropped=events.dropped, height=console.height, url=fleet.url)
                live.update(screen, refresh=True)
                await asyncio.sleep(REFRESH_EVERY_S)
    finally:
        collecting.cancel()


def _screen(
    status: FleetStatus | None,
    routes: list[RouteReport],
    latest: deque[Event],
    *,
    dropped: int,
    height: int,
    url: str,
) -> "RenderableType":
    from rich.console import Group  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    columns, rows = pool_rows(status.pools if status else ())
    pools = _table(columns[:-1], [row[:-1] for row in rows])
    shown = sorted(routes, key=_trouble_first)[:ROUTES_SHOWN]
    if status is None:
        head = Text(f"{url}: no orchestrator answers", style="red")
    else:
        waiting = sum(each.high + each.normal + each.low for each in status.backlog)
        head = Text(f"{url}  scope {status.scope}  {waiting:,} tasks in the stream  {status.dead:,} dead")
    if dropped:
        head.append(f"  {dropped:,} events were too fast to show", style="yellow")
    room = max(1, height - len(rows) - len(shown) - 9)
    lines = [Text(clean(_line(event)), style=_STYLES.get(event.kind, "dim")) for event in list(latest)[-room:]]
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return Group(head, Text(), pools, Text(), _table(*route_rows(shown)), Text(), *lines)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> "RenderableType":
    from rich import box  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, expand=True)
    for column in columns:
        drawn.add_column(column, no_wrap=True, overflow="ellipsis")
    for row in rows:
        drawn.add_row(*(clean(cell) for cell in row))
    return drawn


def _trouble_first(report: RouteReport) -> tuple[bool, int]:
    return report.standing == WELL and report.breaker == CLOSED, -report.attempts


def _time(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).astimezone().strftime("%H:%M:%S.%f")[:-3]


def _line(event: Event) -> str:
    at = _time(event.at_unix_ms / 1000)
    place = f"{event.pool}/{event.model}" if event.pool else ""
    latency = f"{event.latency_ms:,.0f} ms" if event.latency_ms else ""
    parts = (at, f"{event.kind:<14}", event.capability, event.task, place, latency, event.error)
    return " ".join("  ".join(part for part in parts if part).splitlines())
