"""Accuracy against cost as a picture; matplotlib draws it (the extra `replay`)."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from flotilla.cli.replay.errors import ReplayError
from flotilla.cli.replay.figures import PolicyFigures

FORMATS: Final = frozenset({".png", ".svg", ".pdf"})
TASKS_PER_COST: Final = 1_000
_SIZE_INCHES: Final = (8.0, 5.0)
_DPI: Final = 120


def draw(path: Path, figures: Sequence[PolicyFigures]) -> int:
    """
    Write a picture of the policies whose accuracy and cost are known; gives how many these are.

    Raises:
        ReplayError: The format is another one, matplotlib is not installed, or the file cannot be written.
    """
    if path.suffix.lower() not in FORMATS:
        raise ReplayError(f"--plot {path}: a picture ends in {', '.join(sorted(FORMATS))}")
    try:
        figure: Any = import_module("matplotlib.figure").Figure(figsize=_SIZE_INCHES, layout="constrained")
    except ImportError as error:
        raise ReplayError("--plot needs matplotlib: pip install 'flotilla-cli[replay]'") from error
    shown = [each for each in figures if each.cost_usd is not None and each.accuracy is not None]
    axes = figure.subplots()
    for each in shown:
        cost_usd = (each.cost_usd or 0.0) / each.tasks * TASKS_PER_COST
        alone = len(each.calls) == 1
        axes.scatter([cost_usd], [each.accuracy], color="tab:gray" if alone else "tab:blue", zorder=2)
        axes.annotate(_literal(each.policy), (cost_usd, each.accuracy), (4, 4), textcoords="offset points", fontsize=7)
    if shown and all(each.cost_usd for each in shown):
        axes.set_xscale("log")
    axes.set_xlabel("US dollars per 1,000 tasks")
    axes.set_ylabel("accuracy")
    axes.grid(visible=True, alpha=0.3)
    try:
        figure.savefig(path, dpi=_DPI)
    except OSError as error:
        raise ReplayError(f"--plot {path}: {error.strerror or type(error).__name__}") from error
    return len(shown)


def _literal(text: str) -> str:
    """A name, in which matplotlib would read dollars as mathematics."""
    return text.replace("$", r"\$")
