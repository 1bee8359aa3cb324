"""
Leaving a queue group without losing a message, for good or until there is room for another one.

A member that steps out and in again keeps its subscription and its id. What the server had chosen it for before it saw
the UNSUB comes to the same handler, whenever it comes, so nothing is waited for and nothing is lost.

Who leaves for good has to know when that was the last. nats-py's `Subscription.drain()` loses messages: its flush
overtakes the UNSUB, so it forgets the subscription while the server still sends to it (13 to 32 of 8,000 requests,
measured). A second flush closes that gap. Another stays: a publisher's thread in the server may have chosen the member
before the UNSUB and write to it after the PONG (1 of 2,500 requests on a busy machine, 0.4 ms late), so the member goes
on hearing for a while. This is the one place that knows; drop it when nats-py does it right (a test fails on the plain
`drain()`).
"""

import asyncio
import contextlib
import logging
from typing import Final

import nats.errors
from nats.aio.subscription import Subscription

from flotilla.fabric.connection import Connection

logger = logging.getLogger("flotilla.fabric")

LATE_S: Final = 1.0
"""How long what arrives after leaving for good is still handled: a server that is starved of CPU writes late."""


class Membership:
    """
    A member of a queue group that steps out and in again at any rate: a worker of one slot does with every request.

    Attributes:
        is_in: Whether the server chooses it, as soon as it has read of it.
    """

    __slots__ = ("_connection", "_subscription", "is_in")

    def __init__(self, connection: Connection, subscription: Subscription) -> None:
        self._connection = connection
        self._subscription = subscription
        self.is_in = True

    def step_out(self) -> None:
        """Be chosen no more, until `step_in`."""
        if self.is_in:
            self.is_in = False
            self._connection.nc.step_out(self._subscription)

    def step_in(self) -> None:
        """Be chosen again; what is published after this goes out after it."""
        if not self.is_in:
            self.is_in = True
            self._connection.nc.step_in(self._subscription)

    async def end(self) -> None:
        """See `leave`."""
        self.is_in = False
        await leave(self._connection, self._subscription)


async def leave(connection: Connection, subscription: Subscription) -> None:
    """
    Leave: when this returns, the server chooses this member no more and everything it had sent has been handled.

    What it still writes within LATE_S goes to the same handler.

    A reconnect in between restores the subscription on the server, so the UNSUB is sent again.
    """
    nc = connection.nc
    sid: int = subscription._id  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    while not nc.is_closed:
        before = connection.reconnects
        with contextlib.suppress(nats.errors.Error, asyncio.TimeoutError, OSError):
            await nc._send_unsubscribe(sid)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            await connection.settle()
            if nc.is_connected and connection.reconnects == before:
                break
        await asyncio.sleep(0.05)
    await nc.handled(sid)
    nc.forget(sid, LATE_S)
    subscription._closed = True  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
