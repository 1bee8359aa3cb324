"""
What was submitted from here: a private file of the user's, for `flotilla tasks` and `flotilla result --batch`.

It holds ids and the names of files, no document and no answer. Each line is written whole and at once, so that what was
accepted before a crash is in it.
"""

import fcntl
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from flotilla.chassis.errors import PrivateFileError
from flotilla.chassis.private_files import make_directory, open_file
from flotilla.chassis.terminal_text import encodable

JOURNAL_BYTES_MAX: Final = 32 * 1024 * 1024
"""A batch of as many files as a command takes fits; then the older half is forgotten."""
NAME_LENGTH_MAX: Final = 1024

_encode: Final = msgspec.json.Encoder().encode


class Noted(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    A task that was submitted.

    Attributes:
        fleet: Where; see `fleet_name`.
        batch: The one of a folder; empty for a single task.
        file: What it was made of; empty for a text.
    """

    task: str
    capability: str
    at_unix_ms: int
    fleet: str
    batch: str = ""
    file: str = ""


_decode: Final = msgspec.json.Decoder(Noted).decode


def fleet_name(url: str, scope: str | None) -> str:
    """How the journal calls a fleet: by the URL that it was reached at, and the scope where one was named."""
    return url if scope is None else f"{url} {scope}"


def journal_path(environ: Mapping[str, str] = os.environ) -> Path | None:
    """
    `flotilla/submitted.jsonl` in the user's state directory: `XDG_STATE_HOME`, else `.local/state` of `HOME`.

    None for a process that has neither.
    """
    home = environ.get("HOME")
    state = environ.get("XDG_STATE_HOME") or (f"{home}/.local/state" if home else None)
    return None if state is None else Path(state) / "flotilla" / "submitted.jsonl"


class Journal:
    """
    Writes to the journal; several processes may at once.

    Attributes:
        trouble: Why nothing is noted any more, for people; empty while all is well. A task does not fail for it.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._made = False
        self.trouble = "" if path is not None else "neither HOME nor XDG_STATE_HOME is set"

    def note(self, noted: Noted) -> None:
        """Add a task."""
        if self._path is None or self.trouble:
            return
        line = _encode(msgspec.structs.replace(noted, file=encodable(noted.file[:NAME_LENGTH_MAX]))) + b"\n"
        try:
            if not self._made:
                make_directory(self._path.parent)
                self._made = True
            with _locked(self._path, os.O_RDWR | os.O_APPEND, fcntl.LOCK_EX) as descriptor:
                if os.fstat(descriptor).st_size + len(line) > JOURNAL_BYTES_MAX:
                    _forget_older_half(descriptor)
                os.write(descriptor, line)
        except (OSError, PrivateFileError) as error:
            self.trouble = str(error)


def noted_in(path: Path | None, fleet: str) -> dict[str, Noted]:
    """
    What was submitted to a fleet, by task, oldest first.

    Raises:
        PrivateFileError: The journal belongs to somebody else, or cannot be read.
    """
    if path is None or not path.exists():
        return {}
    with _locked(path, os.O_RDONLY, fcntl.LOCK_SH) as descriptor, os.fdopen(os.dup(descriptor), "rb") as file:
        content = file.read(JOURNAL_BYTES_MAX)
    found: dict[str, Noted] = {}
    for line in content.splitlines():
        noted = _noted(line)
        if noted is not None and noted.fleet == fleet:
            found.pop(noted.task, None)
            found[noted.task] = noted
    return found


@contextmanager
def _locked(path: Path, flags: int, kind: int) -> Generator[int]:
    descriptor = open_file(path, flags)
    try:
        fcntl.flock(descriptor, kind)
        yield descriptor
    finally:
        os.close(descriptor)


def _forget_older_half(descriptor: int) -> None:
    """In place: other processes may have the file open."""
    size = os.fstat(descriptor).st_size
    newer = os.pread(descriptor, size, size // 2).partition(b"\n")[2]
    os.ftruncate(descriptor, 0)
    os.write(descriptor, newer)


def _noted(line: bytes) -> Noted | None:
    try:
        return _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
