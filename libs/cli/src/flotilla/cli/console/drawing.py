"""Tables as rich draws them, for a terminal: see `fitting` for what is shown of them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from flotilla.chassis.terminal_text import clean

if TYPE_CHECKING:
    from rich.table import Table

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
        "accuracy",
        "escalated",
        "failed",
        "calls",
        "of tasks",
        "tasks",
        "messages",
        "canaries",
        "at home",
    }
)


def drawn(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, width: int, one_line: bool = False, title: str = ""
) -> "Table":
    """A table of at most this width; with `one_line` sentences are cut off as well, so that a row is a line."""
    from rich import box  # noqa: PLC0415  (not needed for pipes)
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from flotilla.cli.console.fitting import GAP, fit, shortened  # noqa: PLC0415

    cleaned = [[clean(cell) for cell in row] for row in rows]
    shown = fit(columns, cleaned, width)
    table = Table(
        title=title or None,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, GAP - 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    for column in shown:
        justify = "right" if column.name in _NUMBERS else "left"
        overflow = "ellipsis" if one_line else "fold"
        table.add_column(column.name, justify=justify, overflow=overflow, no_wrap=one_line, width=column.width)
    for row in cleaned:
        table.add_row(
            *(
                Text(shortened(row[column.place], column), style=_style(column.name, row[column.place]))
                for column in shown
            )
        )
    return table


def _style(column: str, cell: str) -> str:
    if column != "status":
        return ""
    return {"ok": "green", "known": "green", "running": "cyan", "waiting": "yellow"}.get(cell, "red")
