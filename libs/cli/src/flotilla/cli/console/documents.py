"""Documents from files, folders and standard input."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from flotilla.cli.console import terminal
from flotilla.cli.console.encodings import Decoded, NotTextError, decode, is_encoding
from flotilla.cli.console.exits import UsageError
from flotilla.cli.console.formats import FormatError, format_of, text_of
from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorKind

STDIN: Final = "-"
STDIN_NAME: Final = "standard input"
FILES_MAX: Final = 100_000
FILE_BYTES_MAX: Final = 64 * 1024 * 1024
"""More than a server takes in any configuration; larger files are not even read."""


def expand(sources: Sequence[str]) -> list[str]:
    """
    The files that are meant: a folder stands for the files below it, in order, hidden ones left out.

    Raises:
        UsageError: Something is not there, or there are too many.
    """
    found: list[str] = []
    for source in sources:
        path = Path(source)
        if source == STDIN:
            found.append(source)
        elif path.is_dir():
            below = sorted(entry for entry in path.rglob("*") if entry.is_file() and not _hidden(entry, path))
            if not below:
                raise UsageError(f"{source}: no files in this folder")
            found += map(str, below)
        elif path.exists():
            found.append(source)
        else:
            raise UsageError(f"{source}: no such file; --text gives a text itself")
        if len(found) > FILES_MAX:
            raise UsageError(f"more than {FILES_MAX:,} files at a time")
    if found.count(STDIN) > 1:
        raise UsageError("standard input can be read only once")
    return found


def check_encoding(encoding: str | None) -> None:
    """
    Refuse an encoding of no text, before anything is read.

    Raises:
        UsageError: With names that are known.
    """
    if encoding is not None and not is_encoding(encoding):
        raise UsageError(f"--encoding {encoding}: no encoding of this name is known; try utf-8, cp1252 or utf-16")


def read(source: str, encoding: str | None = None) -> str:
    """
    The text of a file, or of standard input: plain text in any encoding, PDF, Word or HTML.

    Raises:
        TaskError: `bad_request` when it is no document or cannot be read, `too_large`.
    """
    shown = STDIN_NAME if source == STDIN else source
    try:
        raw = sys.stdin.buffer.read(FILE_BYTES_MAX + 1) if source == STDIN else _bytes_of(Path(source))
    except OSError as error:
        raise TaskError(ErrorKind.BAD_REQUEST, f"{shown}: {error.strerror or type(error).__name__}") from error
    if len(raw) > FILE_BYTES_MAX:
        raise TaskError(ErrorKind.TOO_LARGE, f"{shown}: more than {FILE_BYTES_MAX:,} bytes")
    try:
        kind = format_of(raw)
        found = decode(raw, encoding) if kind is None else Decoded(text_of(raw, kind, encoding=encoding))
    except (FormatError, NotTextError) as error:
        raise TaskError(ErrorKind.BAD_REQUEST, f"{shown}: {error}") from error
    if found.detected:
        terminal.aside(f"{shown}: read as {found.detected}, which was guessed; --encoding names another")
    text = found.text
    if not text.strip():
        raise TaskError(ErrorKind.BAD_REQUEST, f"{shown}: empty")
    return text


def _bytes_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(FILE_BYTES_MAX + 1)


def _hidden(entry: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in entry.relative_to(root).parts)
