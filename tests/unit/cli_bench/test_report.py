"""What the benchmark prints."""

import io

import msgspec
import pytest
from rich.console import Console

from flotilla.cli.bench.figures import Figure
from flotilla.cli.bench.report import Report, amount, as_json, as_table, bound

HELD = Figure(measurement="latency", name="p50", value=2.3456, unit="x", at_most=2.5, note="one in flight")
MISSED = Figure(measurement="throughput", name="ratio", value=0.1, unit="x", at_least=0.2, stretch=0.35)
TOLD = Figure(measurement="throughput", name="fleet", value=5120.4, unit="/s")


def report(*figures: Figure) -> Report:
    return Report(figures=list(figures), took_s=61.234, python="3.11.7", slots=64)


def shown(given: Report) -> str:
    text = io.StringIO()
    Console(file=text, width=130).print(as_table(given))
    return text.getvalue()


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (2.3456, "x", "2.35 x"),
        (5120.4, "/s", "5,120 /s"),
        (104.7, "us", "105 us"),
        (53.82, "MiB", "53.8 MiB"),
        (1.3, "", "1.30"),
    ],
)
def test_an_amount_has_the_digits_that_its_unit_deserves(value: float, unit: str, expected: str) -> None:
    """
    Nobody reads a rate with decimals.
    """
    assert expected == amount(Figure(measurement="m", name="n", value=value, unit=unit))


def test_a_bound_is_told_with_what_it_is_to_become() -> None:
    """
    Empty where there is none.
    """
    assert bound(HELD) == "<= 2.5"
    assert bound(MISSED) == ">= 0.2, later 0.35"
    assert bound(TOLD) == ""


def test_the_table_says_which_bound_was_missed() -> None:
    """
    In the line of the figure; the caption counts them.
    """
    lines = shown(report(HELD, MISSED, TOLD)).splitlines()

    assert [line.split()[0] for line in lines if "missed" in line and "=" in line] == ["ratio"]
    assert any("ok" in line.split() for line in lines if "p50" in line)
    assert any(line.strip().startswith("1 missed; 61 s") for line in lines)
    assert "every bound holds" in shown(report(HELD, TOLD))


def test_the_table_names_each_measurement_once() -> None:
    """
    As the head of its section.
    """
    assert shown(report(HELD, MISSED, TOLD)).count("throughput") == 1


def test_the_json_has_every_bound_and_whether_it_holds() -> None:
    """
    A figure without bounds has no verdict.
    """
    data = msgspec.json.decode(as_json(report(HELD, MISSED, TOLD)))

    assert data["holds"] is False
    assert data["took_s"] == 61.2
    assert data["figures"] == [
        {
            "measurement": "latency",
            "name": "p50",
            "value": 2.3456,
            "unit": "x",
            "at_most": 2.5,
            "holds": True,
            "note": "one in flight",
        },
        {
            "measurement": "throughput",
            "name": "ratio",
            "value": 0.1,
            "unit": "x",
            "at_least": 0.2,
            "stretch": 0.35,
            "holds": False,
        },
        {"measurement": "throughput", "name": "fleet", "value": 5120.4, "unit": "/s"},
    ]
