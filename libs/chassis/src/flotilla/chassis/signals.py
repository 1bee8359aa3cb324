"""Stop signals, as an event that the service waits for."""

import asyncio
import signal
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_signals() -> Generator[asyncio.Event]:
    """
    An event that SIGTERM and SIGINT set while the block runs.

    A second signal changes nothing: the grace is bounded, and SIGKILL is there for the impatient.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)
