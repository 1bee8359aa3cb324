"""
Running coroutines at once, up to their first wait.

On the path that every task takes, most steps do not wait at all: a message is decoded and another is sent. As asyncio
tasks each would cost a task and another turn of the event loop. Python 3.12 has eager tasks for this; these do the same
on 3.11.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Final

from nats.aio.msg import Msg as Message
from nats.aio.subscription import Subscription

BACKLOG_MAX: Final = 65_536


def start(coroutine: Coroutine[Any, Any, None]) -> "asyncio.Task[None] | None":
    """
    Run a coroutine up to its first wait; only if it waits does it become a task. Gives the task, None when it is over.

    Before its first wait the coroutine runs in whatever task calls this: it must not use `asyncio.timeout` or
    `asyncio.current_task` until it has waited once.
    """
    try:
        waits_for = coroutine.send(None)
    except StopIteration:
        return None
    return asyncio.get_running_loop().create_task(_rest_of(coroutine, waits_for))


async def _rest_of(coroutine: Coroutine[Any, Any, None], waits_for: Any) -> None:
    await _Resumed(coroutine, waits_for)


class _Resumed:
    """Awaits what a coroutine that was begun waits for, and goes on with it."""

    __slots__ = ("_coroutine", "_waits_for")

    def __init__(self, coroutine: Coroutine[Any, Any, None], waits_for: Any) -> None:
        self._coroutine = coroutine
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, None]:
        coroutine, waits_for = self._coroutine, self._waits_for
        try:
            while True:
                try:
                    sent = yield waits_for
                except BaseException as error:  # noqa: BLE001  (it is the coroutine's to handle)
                    waits_for = coroutine.throw(error)
                else:
                    waits_for = coroutine.send(sent)
        except StopIteration:
            return


class InlineQueue:
    """
    Stands in for a subscription's queue: a message is handled as it is read, in order, one after the other.

    A handler that waits holds up the messages behind it, which are kept in a bounded backlog meanwhile.
    """

    def __init__(
        self,
        subscription: Subscription,
        handler: Callable[[Message], Coroutine[Any, Any, None]],
        on_error: Callable[[Exception], Awaitable[None]],
    ) -> None:
        self._subscription = subscription
        self._handler = handler
        self._on_error = on_error
        self._behind: deque[Message] = deque()
        self._waiting: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    def put_nowait(self, message: Message) -> None:
        """Handle a message, or keep it for when the one before it is done. Raises QueueFull at BACKLOG_MAX."""
        self._subscription._pending_size -= len(message.data)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        if self._waiting is None:
            self._waiting = start(self._handle(message))
            if self._waiting is not None:
                self._idle.clear()
                self._waiting.add_done_callback(self._go_on)
            return
        if len(self._behind) >= BACKLOG_MAX:
            raise asyncio.QueueFull
        self._behind.append(message)

    def qsize(self) -> int:
        """How many messages wait behind another."""
        return len(self._behind)

    def empty(self) -> bool:
        """Whether nothing is being handled."""
        return self._waiting is None

    async def join(self) -> None:
        """Return when everything that came has been handled."""
        await self._idle.wait()

    async def _handle(self, message: Message) -> None:
        try:
            await self._handler(message)
        except Exception as error:  # noqa: BLE001  (as nats-py does: told, and the next message handled)
            await self._on_error(error)

    def _go_on(self, _done: "asyncio.Task[None]") -> None:
        self._waiting = None
        while self._behind and self._waiting is None:
            message = self._behind.popleft()
            self._waiting = start(self._handle(message))
        if self._waiting is None:
            self._idle.set()
        else:
            self._waiting.add_done_callback(self._go_on)
