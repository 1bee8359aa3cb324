"""Keys that are pressed while a screen is shown."""

import asyncio
import os
import sys
import termios
import tty
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Final

READ_BYTES: Final = 1024


@contextmanager
def pressed(keys: str) -> Generator[asyncio.Event]:
    """
    An event that is set when one of these keys is pressed; never, where standard input is no terminal.

    Meanwhile what is typed is neither shown nor held back until the line ends; Ctrl-C does what it always does.
    """
    event = asyncio.Event()
    if not sys.stdin.isatty():
        yield event
        return
    descriptor = sys.stdin.fileno()
    loop = asyncio.get_running_loop()

    def read() -> None:
        typed = b""
        with suppress(OSError):
            typed = os.read(descriptor, READ_BYTES)
        if not typed:
            loop.remove_reader(descriptor)
        if any(key.encode() in typed for key in keys):
            event.set()

    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor, termios.TCSANOW)
    loop.add_reader(descriptor, read)
    try:
        yield event
    finally:
        loop.remove_reader(descriptor)
        with suppress(termios.error):
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
