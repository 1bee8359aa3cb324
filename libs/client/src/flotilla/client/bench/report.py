"""What `flotilla bench` prints: a table for people, JSON for programs."""

from typing import Any, Final

import msgspec
from msgspec import Struct
from rich.table import Table
from rich.text import Text

from flotilla.client.bench.figures import Figure, all_hold

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
    table = Table(title=_TITLE, title_justify="left", caption=_caption(report), caption_justify="left")
    table.add_column("measurement")
    table.add_column("figure")
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("bound", no_wrap=True)
    table.add_column("")
    table.add_column("note", overflow="fold")
    before = ""
    for figure in report.figures:
        if before not in ("", figure.measurement):
            table.add_section()
        shown = "" if figure.measurement == before else figure.measurement
        table.add_row(shown, figure.name, amount(figure), bound(figure), _verdict(figure), figure.note)
        before = figure.measurement
    return table


def amount(figure: Figure) -> str:
    """The value with its unit, such as `2.31 x` or `5,120 /s`."""
    return f"{figure.value:,.{_DIGITS.get(figure.unit, 2)}f} {figure.unit}".strip()


def bound(figure: Figure) -> str:
    """The bound, such as `at least 0.2, then 0.35`; empty where there is none."""
    parts: list[str] = []
    if figure.at_least is not None:
        parts.append(f"at least {figure.at_least:g}")
    if figure.at_most is not None:
        parts.append(f"at most {figure.at_most:g}")
    if figure.stretch is not None:
        parts.append(f"then {figure.stretch:g}")
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
