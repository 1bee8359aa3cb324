"""The log of each child: one file and its predecessor, neither of them without a bound."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Final

from flotilla.chassis.errors import PrivateFileError
from flotilla.chassis.private_files import open_file

LOG_BYTES_MAX: Final = 16 * 1024 * 1024
CHECK_EVERY_S: Final = 10.0
TAIL_BYTES: Final = 4096
LAST_LINE_CHARS_MAX: Final = 240


def turn_over(log: Path) -> None:
    """Begin a new log; the old one is kept beside it until the next time."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size:
            log.replace(_old(log))


def open_log(log: Path) -> IO[bytes]:
    """A file for a child's output; whoever truncates it makes its writer go on at the beginning."""
    return os.fdopen(open_file(log, os.O_WRONLY | os.O_APPEND), "ab")


def last_line(log: Path) -> str:
    """The last line that is not empty, cut to a readable length; "" when there is none."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip()[:LAST_LINE_CHARS_MAX] for line in reversed(lines) if line.strip()), "")


def shorten(log: Path, bytes_max: int = LOG_BYTES_MAX) -> None:
    """Start over with a log that has grown beyond its bound; lines written in this moment may be lost."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > bytes_max:
            with (
                os.fdopen(open_file(log, os.O_RDWR), "rb+") as grown,
                os.fdopen(open_file(_old(log), os.O_WRONLY | os.O_TRUNC), "wb") as old,
            ):
                shutil.copyfileobj(grown, old)
                grown.truncate(0)


async def keep_bounded(logs: Iterable[Path]) -> None:
    """Watch the sizes until cancelled."""
    paths = list(logs)
    while True:
        await asyncio.sleep(CHECK_EVERY_S)
        for log in paths:
            with contextlib.suppress(OSError, PrivateFileError):
                await asyncio.to_thread(shorten, log)


def _old(log: Path) -> Path:
    return log.with_name(f"{log.name}.1")
