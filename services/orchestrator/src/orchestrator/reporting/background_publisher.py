"""Messages that no caller waits for (events, metrics, ends of replies), published in batches, up to 5 ms later."""

import asyncio
from collections.abc import Callable
from typing import Final

from flotilla.fabric.connection import Connection
from flotilla.fabric.eager import start
from flotilla.fabric.per_item import ITEM_FAILURES

LATER_S: Final = 0.005
UNSENT_MAX: Final = 50_000
AT_ONCE_MAX: Final = 64
"""Then it is others' turn: this is made and sent for about half a millisecond."""

Outgoing = tuple[str, bytes, dict[str, str] | None]
"""Subject, body and headers."""
Make = Callable[[], Outgoing | None]
"""Gives what is published when it is its time, or None when there is nothing to publish any more."""


class BackgroundPublisher:
    """Publishes what it was given, in order, LATER_S after the first of it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._unsent: list[Make] = []
        self._loop = asyncio.get_running_loop()
        self._sending: asyncio.Task[None] | None = None
        self._due: asyncio.TimerHandle | None = None

    def publish(self, make: Make) -> bool:
        """Publish one message later; it may be lost with this process. False where UNSENT_MAX wait already, and it is not."""
        if len(self._unsent) >= UNSENT_MAX:
            return False
        self._unsent.append(make)
        if self._due is None:
            self._due = self._loop.call_later(LATER_S, self._begin)
        return True

    async def flush(self) -> None:
        """Publish everything now; at the end of the service."""
        self._begin()
        if self._sending is not None:
            await self._sending

    def _begin(self) -> None:
        self._due = None
        if self._sending is None or self._sending.done():
            self._sending = start(self._send())

    async def _send(self) -> None:
        while self._unsent:
            unsent, self._unsent = self._unsent, []
            for at, make in enumerate(unsent):
                if at and at % AT_ONCE_MAX == 0:
                    await asyncio.sleep(0)
                try:
                    message = make()
                    if message is not None:
                        subject, body, headers = message
                        await self._connection.publish(subject, body, headers=headers)
                except Exception as error:  # noqa: BLE001  (as `guarded` does, whose calls would be made four times for each task)
                    # Closed, or full while disconnected: it may be lost.
                    ITEM_FAILURES.tell("background", "", error)
