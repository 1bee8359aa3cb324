"""Tables: drawn on a terminal; tab-separated lines for a pipe, which keep every character."""

from collections.abc import Sequence
from typing import Final

from flotilla.chassis.terminal_text import clean
from flotilla.client.console import terminal

ROWS_MAX: Final = 500
"""What a terminal is shown of a long table; --json and pipes get all of it."""

_NUMBERS: Final = frozenset(
    {
        "latency",
        "tokens",
        "cost",
        "slots",
        "busy",
        "replicas",
        "high",
        "normal",
        "low",
        "bytes",
        "attempts",
        "in flight",
        "p50",
        "p95",
        "errors",
        "free",
        "revision",
    }
)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "") -> None:
    """Write a table to standard output; columns that are empty throughout are left out on a terminal."""
    if not terminal.out_is_terminal():
        terminal.write_rows(rows)
        return
    from rich import box  # noqa: PLC0415  (not needed for pipes)
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    shown = [index for index in range(len(columns)) if not rows or any(row[index] for row in rows)]
    drawn = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for index in shown:
        name = columns[index]
        drawn.add_column(name, justify="right" if name in _NUMBERS else "left", overflow="fold")
    for row in rows[:ROWS_MAX]:
        drawn.add_row(*(Text(clean(row[index]), style=_style(columns[index], row[index])) for index in shown))
    terminal.console().print(drawn)
    if len(rows) > ROWS_MAX:
        terminal.console().print(f"… and {len(rows) - ROWS_MAX:,} more; --json writes all")


def _style(column: str, cell: str) -> str:
    if column != "status":
        return ""
    return {"ok": "green", "running": "cyan", "waiting": "yellow"}.get(cell, "red")
