"""Accuracy against cost as characters, for a terminal. Pure."""

from collections.abc import Sequence
from math import log10
from string import ascii_lowercase, ascii_uppercase
from typing import Final, NamedTuple

MARKS: Final = ascii_uppercase + ascii_lowercase
LEFT: Final = 7
"""Columns that the numbers of the vertical axis take."""
HEIGHT: Final = 15
WIDTH_MIN: Final = 40


class Point(NamedTuple):
    """A policy's place: `cost` in US dollars for a thousand tasks, accuracy 0 to 1."""

    mark: str
    cost: float
    accuracy: float


def mark_of(place: int) -> str:
    """The letter of a line of the table: A to Z, then a to z, then a star for all others."""
    return MARKS[place] if place < len(MARKS) else "*"


def scatter(points: Sequence[Point], *, width: int, height: int = HEIGHT) -> list[str]:
    """
    The plot's lines, none longer than `width`; nothing without points. Costs are drawn by their logarithm where none is 0.

    Where several points fall on one place, the first is shown, and the next on a free place beside it.
    """
    if not points:
        return []
    columns = max(WIDTH_MIN, width) - LEFT - 1
    by_log = all(point.cost > 0 for point in points)
    xs = [log10(point.cost) if by_log else point.cost for point in points]
    ys = [point.accuracy for point in points]
    grid = [[" "] * columns for _ in range(height)]
    for point, x, y in zip(points, xs, ys, strict=True):
        row = grid[height - 1 - _place(y, ys, height)]
        column = _place(x, xs, columns)
        # To the right first, then to the left.
        places = (*range(column, columns), *range(column - 1, -1, -1))
        free = next((place for place in places if row[place] == " "), None)
        if free is not None:
            row[free] = point.mark
    lines = [f"{_tick(index, ys, height):>{LEFT - 1}} ┤{''.join(row)}".rstrip() for index, row in enumerate(grid)]
    least, most = f"${min(point.cost for point in points):.4g}", f"${max(point.cost for point in points):.4g}"
    title = "per 1,000 tasks" + (", by its logarithm" if by_log else "")
    between = columns - len(least) - len(most)
    return [
        f"{'accuracy':>{LEFT + 2}}",
        *lines,
        f"{'':{LEFT}}└{'─' * columns}",
        f"{'':{LEFT + 1}}{least}{title:^{max(0, between)}}{most}",
    ]


def _place(value: float, values: Sequence[float], size: int) -> int:
    least, most = min(values), max(values)
    return round((value - least) / (most - least) * (size - 1)) if most > least else size // 2


def _tick(index: int, ys: Sequence[float], height: int) -> str:
    """Numbers at the top, the middle and the bottom."""
    least, most = min(ys), max(ys)
    if index not in (0, height // 2, height - 1):
        return ""
    if most == least:
        return f"{most:.3f}" if index == height // 2 else ""
    return f"{most - (most - least) * index / (height - 1):.3f}"
