"""`flotilla watch`: pools and events, live."""

import asyncio
import contextlib
import sys
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from flotilla.client.console import exits, terminal
from flotilla.client.console.arguments import NO_WHERE, Where
from flotilla.client.console.pools import pool_rows
from flotilla.client.errors import NoFleetError
from flotilla.client.events import EventFeed
from flotilla.client.fleet import Fleet
from flotilla.contracts.api import FleetStatus
from flotilla.contracts.results import Event
from flotilla.contracts.subjects import EventKind

if TYPE_CHECKING:
    from rich.console import RenderableType

REFRESH_EVERY_S: Final = 1.0
EVENTS_SHOWN: Final = 200
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
    Pools and events, live; Ctrl-C ends it.

    On a terminal, a table of the pools above the latest events. Into a pipe, a line per event.

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
        if where.json or not sys.stdout.isatty():
            async for event in events:
                if where.json:
                    terminal.json_line(msgspec.json.encode(event))
                else:
                    terminal.write(_line(event) + "\n")
        else:
            await _live(fleet, events)
    return exits.OK


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
                live.update(_screen(status, latest, events.dropped, console.height, fleet.url), refresh=True)
                await asyncio.sleep(REFRESH_EVERY_S)
    finally:
        collecting.cancel()


def _screen(status: FleetStatus | None, latest: deque[Event], dropped: int, height: int, url: str) -> "RenderableType":
    from rich import box  # noqa: PLC0415
    from rich.console import Group  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    pools = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, expand=True)
    columns, rows = pool_rows(status.pools if status else ())
    for column in columns[:-1]:
        pools.add_column(column, no_wrap=True, overflow="ellipsis")
    for row in rows:
        pools.add_row(*(terminal.clean(cell) for cell in row[:-1]))
    if status is None:
        head = Text(f"{url}: no orchestrator answers", style="red")
    else:
        waiting = sum(each.high + each.normal + each.low for each in status.backlog)
        head = Text(f"{url}  scope {status.scope}  {waiting:,} tasks in the stream  {status.dead:,} dead")
    if dropped:
        head.append(f"  {dropped:,} events were too fast to show", style="yellow")
    room = max(1, height - len(rows) - 6)
    lines = [Text(terminal.clean(_line(event)), style=_STYLES.get(event.kind, "dim")) for event in list(latest)[-room:]]
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return Group(head, Text(), pools, Text(), *lines)


def _line(event: Event) -> str:
    at = datetime.fromtimestamp(event.at_unix_ms / 1000, UTC).astimezone().strftime("%H:%M:%S.%f")[:-3]
    place = f"{event.pool}/{event.model}" if event.pool else ""
    latency = f"{event.latency_ms:,.0f} ms" if event.latency_ms else ""
    parts = (at, f"{event.kind:<14}", event.capability, event.task, place, latency, event.error)
    return "  ".join(part for part in parts if part)
