"""`flotilla watch`: pools, routes and events, live."""

import asyncio
import contextlib
import time
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from flotilla.chassis.terminal_text import clean
from flotilla.cli.console import exits, terminal
from flotilla.cli.console.arguments import NO_WHERE, Where
from flotilla.cli.console.drawing import drawn
from flotilla.cli.console.keys import pressed
from flotilla.cli.console.pools import pool_rows
from flotilla.cli.console.readable import counted
from flotilla.cli.console.routes import CLOSED, WELL, RouteChanges, change_line, route_rows
from flotilla.client.errors import NoFleetError
from flotilla.client.events import EventFeed
from flotilla.client.fleet import Fleet
from flotilla.contracts.api import FleetStatus
from flotilla.contracts.api_routing import RouteReport
from flotilla.contracts.errors import TaskError
from flotilla.contracts.results import Event
from flotilla.contracts.subjects import EventKind

if TYPE_CHECKING:
    from rich.console import ConsoleDimensions, RenderableType
    from rich.text import Text

REFRESH_EVERY_S: Final = 1.0
EVENTS_SHOWN: Final = 200
ROUTES_SHOWN: Final = 12
HEADS_LINES: Final = 10
"""What is on the screen beside the rows and the events: a line on the fleet, heads of tables, and how to leave."""
LEAVE_KEYS: Final = "qQ"
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
    Pools, routes and events, live; q or Ctrl-C ends it.

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
            telling = asyncio.create_task(_tell_route_changes(fleet, where))
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


async def _tell_route_changes(fleet: Fleet, where: Where) -> None:
    changes = RouteChanges()
    while True:
        for report in changes.since_last(await _routes(fleet)):
            if where.json:
                terminal.json_line(msgspec.json.encode({"kind": "moved", **msgspec.structs.asdict(report)}))
            else:
                terminal.write(f"{_time(time.time())}  {'moved':<14}  {change_line(report)}\n")
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

    async def draw(live: Live) -> None:
        while True:
            status: FleetStatus | None = None
            with contextlib.suppress(NoFleetError):
                status = await fleet.status()
            routes = await _routes(fleet)
            lines = _lines(latest, dropped=events.dropped)
            live.update(_screen(status, routes, lines, size=console.size, url=fleet.url), refresh=True)
            await asyncio.sleep(REFRESH_EVERY_S)

    console = terminal.console()
    with pressed(LEAVE_KEYS) as leaving, Live(console=console, screen=True, auto_refresh=False) as live:
        working = [asyncio.create_task(each) for each in (collect(), draw(live), leaving.wait())]
        try:
            done, _ = await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                each.result()
        finally:
            for each in working:
                each.cancel()
            await asyncio.gather(*working, return_exceptions=True)


def _lines(latest: deque[Event], *, dropped: int) -> "list[Text]":
    from rich.text import Text  # noqa: PLC0415

    lines = [Text(clean(_line(event)), style=_STYLES.get(event.kind, "dim")) for event in latest]
    if dropped:
        lines.append(Text(f"{counted(dropped, 'event')} came too fast to be shown", style="yellow"))
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return lines


def _screen(
    status: FleetStatus | None, routes: list[RouteReport], lines: "list[Text]", *, size: "ConsoleDimensions", url: str
) -> "RenderableType":
    from rich.console import Group  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    columns, rows = pool_rows(status.pools if status else ())
    pools = drawn(columns[:-1], [row[:-1] for row in rows], width=size.width, one_line=True)
    columns, rows_of_routes = route_rows(sorted(routes, key=_trouble_first)[:ROUTES_SHOWN])
    shown = drawn(columns, rows_of_routes, width=size.width, one_line=True)
    if status is None:
        head = Text(f"{url}: no orchestrator answers", style="red")
    else:
        waiting = sum(each.high + each.normal + each.low for each in status.backlog)
        head = Text(f"{counted(waiting, 'task')} in the stream  {status.dead:,} dead  {url}  scope {status.scope}")
    head.no_wrap, head.overflow = True, "ellipsis"
    foot = Text("q leaves", style="dim")
    room = max(1, size.height - len(rows) - len(rows_of_routes) - HEADS_LINES)
    return Group(head, Text(), pools, Text(), shown, Text(), *lines[-room:], foot)


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
