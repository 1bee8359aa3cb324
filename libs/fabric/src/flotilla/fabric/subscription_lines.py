"""The messages of a subscription, handled one at a time: those that come behind one whose handler waits stand in line."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from nats.aio.subscription import Subscription
from nats.errors import SlowConsumerError

from flotilla.fabric.eager import start
from flotilla.fabric.message import Message

Handler = Callable[[Message], Coroutine[Any, Any, None]]

BEHIND_MAX: Final = 65_536
"""Messages of one subscription that wait behind one whose handler waits; more are dropped, and told."""
BEHIND_BYTES_MAX: Final = 32 * 1024 * 1024
"""The same of their bytes."""


class SubscriptionLine:
    """
    The messages of one subscription.

    Attributes:
        idle: Set while no handler waits, and nothing stands in line.
    """

    __slots__ = ("_behind", "_behind_bytes", "_handler", "_on_error", "_subscription", "_waiting", "idle")

    def __init__(
        self, subscription: Subscription, handler: Handler, on_error: Callable[[Exception], Awaitable[None]]
    ) -> None:
        self._subscription = subscription
        self._handler = handler
        self._on_error = on_error
        self._behind: deque[Message] = deque()
        self._behind_bytes = 0
        self._waiting: asyncio.Task[None] | None = None
        self.idle = asyncio.Event()
        self.idle.set()

    async def take(self, message: Message) -> None:
        """Handle a message, or keep it for when the one before it is done."""
        if self._waiting is None:
            self._begin(message)
        elif len(self._behind) < BEHIND_MAX and self._behind_bytes + len(message.data) <= BEHIND_BYTES_MAX:
            self._behind.append(message)
            self._behind_bytes += len(message.data)
        else:
            sid: int = self._subscription._id  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            await self._on_error(SlowConsumerError(message.subject, message.reply, sid, self._subscription))

    def _begin(self, message: Message) -> None:
        self._waiting = start(self._handle(message))
        if self._waiting is not None:
            self.idle.clear()
            self._waiting.add_done_callback(self._go_on)

    async def _handle(self, message: Message) -> None:
        try:
            await self._handler(message)
        except Exception as error:  # noqa: BLE001  (as nats-py does: told, and the next message is handled)
            await self._on_error(error)

    def _go_on(self, _done: "asyncio.Task[None]") -> None:
        self._waiting = None
        while self._behind and self._waiting is None:
            message = self._behind.popleft()
            self._behind_bytes -= len(message.data)
            self._begin(message)
        if self._waiting is None:
            self.idle.set()
