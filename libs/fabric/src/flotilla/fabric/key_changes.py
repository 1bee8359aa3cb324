"""Says that somebody writes one key of a bucket, for whoever waits for that."""

import asyncio
from contextlib import suppress

from nats.aio.subscription import Subscription

from flotilla.contracts import subjects
from flotilla.fabric.connection import Connection, Message
from flotilla.fabric.groups import leave


class KeyChanges:
    """
    Hears the writes of one key, those included that the server then refuses: each is a reason to look, and no more.

    What is heard may not be stored yet, and in a cluster a write may go unheard: whoever waits looks now and then too.
    """

    def __init__(self, connection: Connection, bucket: str, key: str) -> None:
        self._connection = connection
        self._subject = subjects.key(bucket, key)
        self._heard = asyncio.Event()
        self._subscription: Subscription | None = None

    @property
    def is_heard(self) -> bool:
        """Whether `start` was called."""
        return self._subscription is not None

    async def start(self) -> None:
        """Hear from now on: what is written before the answer to the next request, that request sees."""
        self._subscription = await self._connection.subscribe(self._subject, self._on_message)

    async def wait(self, timeout_s: float) -> None:
        """Return at the next write since the last one that was waited for, or after `timeout_s`."""
        # Python 3.11's wait_for loses a cancellation that comes with the event.
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._heard.wait()
        self._heard.clear()

    async def stop(self) -> None:
        """Hear no more."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            await leave(self._connection, subscription)

    async def _on_message(self, _message: Message) -> None:
        self._heard.set()
