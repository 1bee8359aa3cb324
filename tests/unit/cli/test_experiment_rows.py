"""How the report on a split's arms looks on a terminal."""

import io

from rich.console import Console

from flotilla.cli.commands.experiment import ARM_COLUMNS, DIFFERENCE_COLUMNS, arm_row, difference_row
from flotilla.cli.console.drawing import drawn
from flotilla.contracts.experiments import ArmTotals, Moments
from flotilla.routing.conclusions import comparisons

WIDTH = 80


def arm(model: str, ok: int, *, latency_ms: float) -> ArmTotals:
    spread = Moments(count=ok, total=ok * latency_ms, squares=ok * latency_ms * latency_ms * 1.5)
    return ArmTotals(pool="anthropic", model=model, ok=ok, failed=1_000 - ok, latency_ms=spread)


def shown(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    out = io.StringIO()
    Console(file=out, width=WIDTH).print(drawn(columns, rows, width=WIDTH))
    return out.getvalue()


def test_the_report_fits_a_terminal_with_every_figure_whole():
    """
    Only the names of arms are shortened.
    """
    arms = [
        arm("claude-haiku-5-5-20261001", 999, latency_ms=900.0),
        arm("claude-opus-5-20261001", 900, latency_ms=905.0),
    ]
    compared = comparisons(arms)

    lines = shown(ARM_COLUMNS, [arm_row(each) for each in arms]) + shown(
        DIFFERENCE_COLUMNS, [difference_row(each) for each in compared]
    )

    assert all(len(line) <= WIDTH for line in lines.splitlines())
    for row in [*(arm_row(each) for each in arms), *(difference_row(each) for each in compared)]:
        assert all(cell in lines for cell in row[1:])
    assert {"yes", "may be chance"} == {difference_row(each)[-1] for each in compared}
