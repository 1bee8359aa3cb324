"""Stop signals of the supervisor: the first asks for a drain, the second for haste."""

import asyncio
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Stop:
    """
    What the signals asked for.

    Attributes:
        asked: A stop.
        hurry: A stop without waiting for work.
    """

    def __init__(self, on_signal: Callable[[bool], None]) -> None:
        self.asked: Final = asyncio.Event()
        self.hurry: Final = asyncio.Event()
        self._on_signal = on_signal

    def signalled(self) -> None:
        """One more signal came."""
        again = self.asked.is_set()
        if not self.hurry.is_set():
            self._on_signal(again)
        (self.hurry if again else self.asked).set()


@contextmanager
def stop_signals(on_signal: Callable[[bool], None]) -> Generator[Stop, None, None]:
    """Listen while the block runs; `on_signal` is told whether it is the second one."""
    stop = Stop(on_signal)
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, stop.signalled)
    try:
        yield stop
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
