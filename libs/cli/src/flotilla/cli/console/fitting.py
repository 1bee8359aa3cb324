"""
What of a table fits on a terminal, and how wide each column is. Pure.

A column that is too narrow is of no use to anybody: a table that is too wide loses the columns that matter least, then
shortens names and lists, and wraps sentences at words. What says which pool or task a row is about always stays.
"""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from rich.cells import cell_len

GAP: Final = 2
"""Columns of the terminal between two of the table."""
SENTENCES: Final = frozenset(
    {"answer", "reason", "why", "error", "message", "value", "comment", "description", "because of"}
)
"""Wrapped at words, and at SENTENCE_MIN at least, where they are as long."""
SENTENCE_MIN: Final = 20
LISTS: Final = frozenset({"models", "capabilities"})
"""Shortened by whole entries, with how many more there are."""
LIST_MIN: Final = 12
ROUTES: Final = frozenset({"route"})
"""Pool and model: the pool stays whole."""
MODEL_MIN: Final = 5
NAMES: Final = frozenset({"model", "file", "batch", "provider", "author", "policy", "arm"})
NAME_MIN: Final = 10
WHOLE: Final = frozenset({"task", "key", "replica", "id", "vault"})
"""Of no use when they are shortened: cut into lines where nothing else helps."""
COLUMN_MIN: Final = 6
"""On a terminal that is too narrow for what must stay."""
PATHS: Final = frozenset({"file"})
"""Shortened at their beginning: the end tells them apart."""
FIRST_TO_GO: Final = (
    "capabilities",
    "provider",
    "run",
    "mode",
    "cost",
    "tokens",
    "in flight",
    "p50",
    "attempts",
    "batch",
    "errors",
    "latency",
    "bytes",
    "model",
    "free",
    "breaker",
    "p95",
    "submitted",
    "at",
    "draining",
    "replicas",
    "capability",
    "standing",
    "models",
)
"""Columns by what is missed least; the others are never left out."""
ELLIPSIS: Final = "…"


class Column(Struct, frozen=True):
    """A column that is shown: its place in the rows, and its width in columns of the terminal."""

    place: int
    name: str
    width: int


def fit(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[Column]:
    """Choose the columns of a table for a terminal of this width; those that are empty throughout go first."""
    shown = [place for place in range(len(columns)) if not rows or any(row[place] for row in rows)]
    wanted = {place: _width(columns, rows, place) for place in shown}
    least = {place: _least(columns[place], rows, place, wanted[place]) for place in shown}
    for name in FIRST_TO_GO:
        if _total([least[place] for place in shown]) <= width:
            break
        shown = [place for place in shown if columns[place] != name]
    widths = {place: least[place] for place in shown}
    while _total(list(widths.values())) > width and max(widths.values()) > COLUMN_MIN:
        widths[max(shown, key=lambda place: widths[place])] -= 1
    room = width - _total(list(widths.values()))
    # The narrowest wish is granted first: then most columns are whole.
    growing = sorted((place for place in shown if wanted[place] > widths[place]), key=lambda place: wanted[place])
    for index, place in enumerate(growing):
        more = min(wanted[place] - widths[place], max(0, room) // (len(growing) - index))
        widths[place] += more
        room -= more
    return [Column(place, columns[place], widths[place]) for place in shown]


def shortened(cell: str, column: Column) -> str:
    """A cell as it fits into its column on one line; sentences are left to be wrapped."""
    if cell_len(cell) <= column.width or column.name in SENTENCES | WHOLE:
        return cell
    if column.name in LISTS:
        return _shortened_list(cell, column.width)
    if column.name in PATHS:
        return ELLIPSIS + _cut(cell[::-1], column.width - 1)[::-1]
    return _cut(cell, column.width - 1) + ELLIPSIS


def _shortened_list(cell: str, width: int) -> str:
    entries = cell.split(", ")
    for count in range(len(entries) - 1, 0, -1):
        text = f"{', '.join(entries[:count])}, +{len(entries) - count}"
        if cell_len(text) <= width:
            return text
    more = f" +{len(entries) - 1}" if len(entries) > 1 else ""
    return _cut(entries[0], width - len(more) - 1) + ELLIPSIS + more


def _cut(text: str, width: int) -> str:
    """As much of a text from its beginning as is no wider."""
    while text and cell_len(text) > width:
        text = text[: min(len(text) - 1, width)]
    return text


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * max(0, len(widths) - 1)


def _width(columns: Sequence[str], rows: Sequence[Sequence[str]], place: int) -> int:
    return max(cell_len(columns[place]), *(cell_len(row[place]) for row in rows), 1)


def _least(name: str, rows: Sequence[Sequence[str]], place: int, wanted: int) -> int:
    if name in SENTENCES:
        return min(wanted, SENTENCE_MIN)
    if name in LISTS:
        return min(wanted, LIST_MIN)
    if name in ROUTES:
        pools = max((cell_len(row[place].partition("/")[0]) for row in rows), default=0)
        return min(wanted, pools + 1 + MODEL_MIN)
    return min(wanted, NAME_MIN) if name in NAMES else wanted
