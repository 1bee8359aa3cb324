"""Stop signals, as an event that the service waits for; and before it has anything to finish, as its end."""

import asyncio
import signal
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, Literal

from flotilla.contracts.errors import FlotillaError

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


class StoppedAtStartError(FlotillaError):
    """A stop signal came before the service held anything; `run_service` takes it for a good end."""


@contextmanager
def starting(stop: asyncio.Event) -> Generator[None]:
    """
    Give the block up once `stop` is set: for what a service waits for before it takes any work.

    Raises:
        StoppedAtStartError: It was set.
    """
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("not in a task")
    cancelling = False

    def give_up(stopped: asyncio.Future[Literal[True]]) -> None:
        nonlocal cancelling
        if not stopped.cancelled():
            cancelling = task.cancel()

    stopped = asyncio.ensure_future(stop.wait())
    stopped.add_done_callback(give_up)
    try:
        yield
    except asyncio.CancelledError:
        # Somebody else may have cancelled the task as well, and wants it to end as cancelled.
        if cancelling and task.uncancel() == 0:
            raise StoppedAtStartError("stopped while it was starting") from None
        raise
    finally:
        stopped.remove_done_callback(give_up)
        stopped.cancel()
    if stop.is_set():
        # It came at the very end, or what was awaited had its result just then and let the cancellation pass.
        if cancelling:
            task.uncancel()
        raise StoppedAtStartError("stopped while it was starting")
