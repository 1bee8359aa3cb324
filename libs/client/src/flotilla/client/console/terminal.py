"""Text on its way to a person: a model's answer may hold anything, and a terminal obeys control characters."""

import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.console import Console

_KEPT: Final = frozenset("\n\t")
_CONTROLS: Final = {
    code: "\N{REPLACEMENT CHARACTER}"
    for code in (*range(0x20), 0x7F, *range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
    if chr(code) not in _KEPT
}
_DIM: Final = "\x1b[2m"
_PLAIN: Final = "\x1b[0m"


def clean(text: str) -> str:
    """The text without control characters other than line breaks and tabs."""
    return text.translate(_CONTROLS)


def write(text: str) -> None:
    """Write an answer to standard output: as it is into a file or a pipe, cleaned to a terminal."""
    sys.stdout.write(clean(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def aside(line: str) -> None:
    """Say something about the answer on standard error, dim on a terminal, so that a pipe gets the answer alone."""
    sys.stdout.flush()
    line = clean(line)
    sys.stderr.write(f"{_DIM}{line}{_PLAIN}\n" if sys.stderr.isatty() else f"{line}\n")
    sys.stderr.flush()


def json_line(encoded: bytes) -> None:
    """Write one line of JSON to standard output, at once."""
    sys.stdout.write(encoded.decode() + "\n")
    sys.stdout.flush()


def console(*, stderr: bool = False) -> "Console":
    """A rich console that guesses no highlights and reads no markup in what it is given."""
    from rich.console import Console  # noqa: PLC0415  (not needed for --json)

    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)
