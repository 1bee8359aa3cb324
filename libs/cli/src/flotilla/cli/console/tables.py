"""Tables: drawn on a terminal; tab-separated lines for a pipe, which keep every character."""

from collections.abc import Sequence
from typing import Final

from flotilla.cli.console import terminal
from flotilla.cli.console.drawing import drawn

ROWS_MAX: Final = 500
"""What a terminal is shown of a long table; --json and pipes get all of it."""


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "") -> None:
    """Write a table to standard output; columns that are empty, or do not fit, are left out on a terminal."""
    if not terminal.out_is_terminal():
        terminal.write_rows(rows)
        return
    console = terminal.console()
    console.print(drawn(columns, rows[:ROWS_MAX], width=console.width, title=title))
    if len(rows) > ROWS_MAX:
        console.print(f"… and {len(rows) - ROWS_MAX:,} more; --json writes all")
