"""What `flotilla bench` prints: a table for people, JSON for programs."""

from typing import Any, Final

import msgspec
from msgspec import Struct
from rich import box
from rich.table import Table
from rich.text import Text

from flotilla.cli.bench.figures import Figure, all_hold
from flotilla.cli.console import terminal

WIDTH_PIPED: Final = 130

_DIGITS: Final = {"x": 2, "/s": 0, "us": 0, "ms": 2, "MiB": 1, "%": 0}
_TITLE: Final = "Flotilla against raw NATS, in one run on one machine"


class Report(Struct, frozen=True, kw_only=True):
    """
    Everything that was measured.

    Attributes:
        slots: Of the worker that interactive and durable tasks ran on.
    """

    figures: list[Figure]
    took_s: float
    python: str
    slots: int

    @property
    def holds(self) -> bool:
        """Whether every bound is held."""
        return all_hold(self.figures)

    @property
    def missed(self) -> list[Figure]:
        """Those out of their bounds."""
        return [figure for figure in self.figures if not figure.holds]


def as_json(report: Report) -> bytes:
    """One JSON object: `figures`, each with its bounds and whether it `holds`, and `holds` for all."""
    return msgspec.json.encode(
        {
            "holds": report.holds,
            "took_s": round(report.took_s, 1),
            "python": report.python,
            "slots": report.slots,
            "figures": [_as_data(figure) for figure in report.figures],
        }
    )


def as_table(report: Report) -> Table:
    """The figures, a section per measurement; a bound in the line of what it binds."""
    table = Table(title=_TITLE, title_justify="left", caption=_caption(report), caption_justify="left", box=box.SIMPLE)
    table.add_column("figure", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("bound", no_wrap=True)
    table.add_column("")
    table.add_column("note", overflow="fold", style="dim")
    before = ""
    for figure in report.figures:
        if figure.measurement != before:
            table.add_section()
            table.add_row(Text(figure.measurement, style="bold"))
            before = figure.measurement
        table.add_row(f"  {figure.name}", amount(figure), bound(figure), _verdict(figure), figure.note)
    return table


def show(report: Report) -> None:
    """Write the table to standard output; a pipe has no width of its own, and gets WIDTH_PIPED."""
    terminal.console(width=None if terminal.out_is_terminal() else WIDTH_PIPED).print(as_table(report))


def amount(figure: Figure) -> str:
    """The value with its unit, such as `2.31 x` or `5,120 /s`."""
    return f"{figure.value:,.{_DIGITS.get(figure.unit, 2)}f} {figure.unit}".strip()


def bound(figure: Figure) -> str:
    """The bound, such as `>= 0.2, later 0.35`; empty where there is none."""
    parts: list[str] = []
    if figure.at_least is not None:
        parts.append(f">= {figure.at_least:g}")
    if figure.at_most is not None:
        parts.append(f"<= {figure.at_most:g}")
    if figure.stretch is not None:
        parts.append(f"later {figure.stretch:g}")
    return ", ".join(parts)


def _verdict(figure: Figure) -> Text:
    if not figure.is_bound:
        return Text("")
    return Text("ok", style="green") if figure.holds else Text("missed", style="bold red")


def _caption(report: Report) -> str:
    missed = len(report.missed)
    verdict = "every bound holds" if not missed else f"{missed} missed"
    return f"{verdict}; {report.took_s:.0f} s, Python {report.python}, no-op engine, {report.slots} slots"


def _as_data(figure: Figure) -> dict[str, Any]:
    data: dict[str, Any] = {"measurement": figure.measurement, "name": figure.name, "value": round(figure.value, 4)}
    data |= {"unit": figure.unit} if figure.unit else {}
    bounds = {"at_most": figure.at_most, "at_least": figure.at_least, "stretch": figure.stretch}
    data |= {name: value for name, value in bounds.items() if value is not None}
    data |= {"holds": figure.holds} if figure.is_bound else {}
    return data | ({"note": figure.note} if figure.note else {})
