"""The one way to standard output and standard error: on a terminal nothing from outside arrives unescaped."""

import io
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Final

from flotilla.chassis.terminal_text import ascii_json, clean, clean_line, escape_json, one_json_line

if TYPE_CHECKING:
    from rich.console import Console

_DIM: Final = "\x1b[2m"
_PLAIN: Final = "\x1b[0m"


def prepare() -> None:
    """Have what an encoding or a lone surrogate does not allow written as an escape, not end the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def out_is_terminal() -> bool:
    """Whether a person sees what is written to standard output."""
    return sys.stdout.isatty()


def error_is_terminal() -> bool:
    """Whether a person sees what is written to standard error."""
    return sys.stderr.isatty()


def write(text: str) -> None:
    """Write an answer to standard output: as it is into a file or a pipe, cleaned to a terminal."""
    sys.stdout.write(clean(text) if out_is_terminal() else text)
    sys.stdout.flush()


def write_rows(rows: Iterable[Sequence[str]]) -> None:
    """Write the rows of a table for programs: a line each, with tabs between the cells."""
    for row in rows:
        sys.stdout.write("\t".join(" ".join(cell.split()) for cell in row) + "\n")
    sys.stdout.flush()


def aside(text: str) -> None:
    """Say something about the answer on standard error, dim on a terminal, so that a pipe gets the answer alone."""
    sys.stdout.flush()
    text = clean(text)
    sys.stderr.write(f"{_DIM}{text}{_PLAIN}\n" if error_is_terminal() else f"{text}\n")
    sys.stderr.flush()


def error(lines: Iterable[str]) -> None:
    """Say what went wrong on standard error, each line on one line; a terminal that is gone is no reason to stop."""
    with suppress(OSError, ValueError):
        sys.stderr.write("".join(f"{_indent(line)}{clean_line(line)}\n" for line in lines))
        sys.stderr.flush()


def json_line(encoded: bytes) -> None:
    """
    Write one line of JSON to standard output, at once.

    Valid for every reader: to a terminal, and where the encoding has no such character, by escapes.
    """
    text = one_json_line(encoded)
    if out_is_terminal():
        text = escape_json(text)
    sys.stdout.write(_encodable(text) + "\n")
    sys.stdout.flush()


def console(*, stderr: bool = False, file: IO[str] | None = None, width: int | None = None) -> "Console":
    """A rich console that guesses no highlights, reads no markup in what it is given, and cleans all that it shows."""
    from rich.console import Console, ConsoleOptions, RenderableType  # noqa: PLC0415  (not needed for --json)
    from rich.segment import Segment  # noqa: PLC0415

    class CleaningConsole(Console):
        """Cleans every piece of text on its way out, whatever it was drawn from."""

        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                cleaned = segment.text if segment.control else clean(segment.text)
                yield segment if cleaned is segment.text else Segment(cleaned, segment.style)

    return CleaningConsole(stderr=stderr, file=file, width=width, highlight=False, markup=False, emoji=False)


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" "))]


def _encodable(text: str) -> str:
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return ascii_json(text)
    return text
