"""On which line of a TOML file a key stands: the parser of the standard library keeps no positions."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from flotilla.contracts.toml_text import KEY_PARTS_MAX

_TOKEN: Final = re.compile(
    r"""
      (?P<comment>\#[^\n]*)
    | (?P<text>\"{3}(?:\\.|[^\\])*?\"{3,5} | '{3}.*?'{3,5} | "(?:\\.|[^"\\\n])*" | '[^'\n]*')
    | (?P<part>[A-Za-z0-9_-]+)
    | (?P<mark>[][{}=.\n])
    """,
    re.VERBOSE | re.DOTALL,
)
_AT: Final = re.compile(r"\(at line (\d+)(?:, column (\d+))?\)\Z")
_END: Final = "(at end of document)"
_INDEX: Final = re.compile(r"\[\d+\]")
_PATH_PARTS_MAX: Final = 2 * KEY_PARTS_MAX
"""Of a table and a key in it."""


class KeyLines:
    """The lines of a file's keys and tables. What stands in an inline table has the line of the key before it."""

    def __init__(self, text: str) -> None:
        """Look at a text, which is TOML: of any other some lines are found, and perhaps wrong ones."""
        self._lines: Final[dict[tuple[str, ...], int]] = {}
        for path, line in _keys(text):
            for length in range(len(path), 0, -1):
                # Where this is known, so is all around it.
                if path[:length] in self._lines:
                    break
                self._lines[path[:length]] = line

    def of(self, key: str) -> int | None:
        """The line of a key, as `steps.report.needs[0]`, or of the nearest around it; None where nothing of it is there."""
        path = tuple(_INDEX.sub("", key).split(".", _PATH_PARTS_MAX))[:_PATH_PARTS_MAX]
        for length in range(len(path), 0, -1):
            line = self._lines.get(path[:length])
            if line is not None:
                return line
        return None


def located_all(file_name: str, faults: Sequence[str], text: str) -> tuple[str, ...]:
    """
    Faults with the file and the place before them, as compilers write them.

    Args:
        file_name: As it is shown.
        faults: Each begins with its key and a colon, or is what `read_toml` says of a text that is no TOML.
        text: Of the file.
    """
    lines = KeyLines(text)
    places = (_place(fault, lines, text) for fault in faults)
    return tuple(
        f"{file_name}:{place}: {fault}" if place else f"{file_name}: {fault}"
        for fault, place in zip(faults, places, strict=True)
    )


def _place(fault: str, lines: KeyLines, text: str) -> str:
    """Line, or line and column; empty where neither is known."""
    if fault.endswith(_END):
        return str(text.rstrip("\n").count("\n") + 1)
    found = _AT.search(fault)
    if found is not None:
        return f"{found[1]}:{found[2]}" if found[2] else found[1]
    key, colon, _ = fault.partition(":")
    line = lines.of(key) if colon else None
    return "" if line is None else str(line)


def _keys(text: str) -> Iterator[tuple[tuple[str, ...], int]]:
    """Each table and key of a text, whole, with the line that it begins on."""
    table: tuple[str, ...] = ()
    path: list[str] = []
    line, begins, depth = 1, 1, 0
    place = "key"
    for token in _TOKEN.finditer(text):
        word = token[0]
        match token.lastgroup, place:
            case "mark", _ if word == "\n":
                line += 1
                if depth == 0:
                    place, path, begins = "key", [], line
            case "mark", "key" if word == "[" and not path:
                place = "table"
            case "mark", "key" if word == "=":
                yield (*table, *path), begins
                place = "value"
            case "mark", "table" if word == "]":
                table = tuple(path)
                yield table, begins
                place = "value"
            case "mark", "value":
                depth = max(0, depth + (word in "[{") - (word in "]}"))
            # A key of more parts is refused, and all of them would be too many to keep.
            case "part" | "text", "key" | "table" if len(path) < KEY_PARTS_MAX:
                path.append(word.strip("\"'") if token.lastgroup == "text" else word)
            case _:
                pass
        line += word.count("\n") if token.lastgroup == "text" else 0
