"""
One wildcard subscription on which any number of calls receive their replies.

A call costs a dictionary entry: no subscription, no task and no timer of its own. Whoever opens it watches its age.
"""

import asyncio
import logging
import math
import os
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import nats.errors
from nats.aio.subscription import Subscription

from flotilla.fabric.connection import Connection, Message, is_status
from flotilla.fabric.errors import (
    FabricError,
    NoRespondersError,
    RequestDeniedError,
    RequestTimeoutError,
    TooManyCallsError,
)

logger = logging.getLogger("flotilla.fabric")

REQUEST_TIMEOUT_S: Final = 5.0
SWEEP_INTERVAL_S: Final = 0.1
LOST_AFTER_S: Final = 1.0
"""After a reconnect, for replies that were on their way when the connection broke and found another."""
UNHEARD_S: Final = 1.0
UNHEARD_GROWTH: Final = 1.5
DENIED_MAX: Final = 1000
"""Subjects that are remembered from one sweep to the next."""
SENT_MAX: Final = 6
"""
Times that a request which nobody has heard is sent: at once and after 1, 2.5, 4.8, 8.1 and 13.2 s. A frozen member is
out of its queue group before the last; those that are only slow are not sent much more than they were asked.
"""
CALLS_OPEN_MAX: Final = 200_000
TOKEN_BYTES: Final = 16
TOKENS_AT_A_TIME: Final = 256
"""Asked of the system at once: one call each would be felt on the hot path."""

OnReply = Callable[[Message], Awaitable[None]]
IsInterim = Callable[[Message], Awaitable[bool]]
"""Whether a reply is a word that it was heard, and no answer yet."""


def tokens() -> Iterator[str]:
    """
    Random tokens for reply subjects, without end: whoever sees one can guess no other.

    Those who answer a call see its token; were tokens counted up, they could answer the calls of others as well.
    """
    width = 2 * TOKEN_BYTES
    while True:
        batch = os.urandom(TOKEN_BYTES * TOKENS_AT_A_TIME).hex()
        yield from (batch[at : at + width] for at in range(0, len(batch), width))


class Inbox:
    """
    Receives replies, each by its whole subject: a reply that comes in any other way belongs to no call.

    Attributes:
        prefix: What is subscribed to is `<prefix>.*`. It may hold wildcards; calls then say under which prefix they
            expect their replies.
    """

    def __init__(self, connection: Connection, prefix: str) -> None:
        self.prefix: Final = prefix
        self._connection = connection
        self._open: dict[str, OnReply] = {}
        self._tokens = tokens()
        self._subscription: Subscription | None = None

    async def start(self) -> None:
        """Subscribe to every subject of the inbox."""
        self._subscription = await self._connection.subscribe(f"{self.prefix}.*", self._on_message)

    def open(self, on_reply: OnReply, *, prefix: str | None = None) -> str:
        """
        Have replies to the returned subject handed to `on_reply`, which must not block or raise.

        Args:
            on_reply: Called with each reply.
            prefix: Under which they come, one that `self.prefix` covers; that one itself unless told.
        """
        if len(self._open) >= CALLS_OPEN_MAX:
            raise TooManyCallsError(CALLS_OPEN_MAX)
        reply = f"{prefix or self.prefix}.{next(self._tokens)}"
        self._open[reply] = on_reply
        return reply

    def close(self, reply: str) -> None:
        """Forget a call by its reply subject: later replies are dropped."""
        self._open.pop(reply, None)

    def __len__(self) -> int:
        return len(self._open)

    async def _on_message(self, message: Message) -> None:
        on_reply = self._open.get(message.subject)
        if on_reply is not None:
            await on_reply(message)


class _Waiting:
    """A request whose reply has not come."""

    __slots__ = (
        "again",
        "again_at",
        "future",
        "give_up_at",
        "heard",
        "lost_with_connection",
        "may_be_denied",
        "sent",
        "subject",
    )

    def __init__(
        self,
        future: "asyncio.Future[Message]",
        subject: str,
        give_up_at: float,
        *,
        lost_with_connection: bool = False,
        may_be_denied: bool = False,
    ) -> None:
        self.again: Callable[[], Awaitable[None]] | None = None
        self.again_at = math.inf
        self.heard = False
        self.sent = 1
        self.future: Final = future
        self.subject: Final = subject
        self.give_up_at = give_up_at
        self.lost_with_connection: Final = lost_with_connection
        self.may_be_denied: Final = may_be_denied


class Requests:
    """
    Request and one reply, on a shared inbox; timeouts are found by one sweep instead of a timer per request.

    The sweep stands still while no request waits.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._inbox = Inbox(connection, connection.inbox)
        self._waiting: dict[str, _Waiting] = {}
        self._asked: Final = asyncio.Event()
        self._sweeper: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._denied: set[str] = set()
        connection.on_reconnect(self._on_reconnect)
        connection.on_denied(self._on_denied)

    async def start(self) -> None:
        """Subscribe to the inbox and begin to watch for timeouts."""
        await self._inbox.start()
        self._sweeper = self._loop.create_task(self._sweep())

    async def stop(self) -> None:
        """Stop watching; requests under way fail with RequestTimeoutError."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for waiting in list(self._waiting.values()):
            if not waiting.future.done():
                waiting.future.set_exception(RequestTimeoutError(waiting.subject))

    async def request(
        self,
        subject: str,
        body: bytes = b"",
        *,
        headers: dict[str, str] | None = None,
        timeout_s: float = REQUEST_TIMEOUT_S,
        lost_with_connection: bool = False,
        may_be_denied: bool = False,
        is_interim: IsInterim | None = None,
    ) -> Message:
        """
        Send a request and await its first reply.

        With `is_interim`, replies for which it holds are no answer but a word that the request was heard. Until the
        first of them the request is sent again, SENT_MAX times in all: who was chosen may be frozen. So it may be done
        twice.

        With `lost_with_connection`, the way back does not survive the server that the request went through: no reply
        within LOST_AFTER_S of a reconnect is a timeout too. One that may be sent again, and that nobody has heard, is
        sent again by the new connection: the old one's server was frozen or died with it.

        With `may_be_denied`, a subject that this user may not publish to is told at once, and is a timeout otherwise.

        Raises:
            NoRespondersError: Nobody listens on the subject.
            RequestDeniedError: This user may not publish to the subject.
            RequestTimeoutError: No reply in time; names the subject.
        """
        future: asyncio.Future[Message] = self._loop.create_future()

        async def on_reply(message: Message) -> None:
            if is_interim is not None and await is_interim(message):
                waiting.heard = True
                waiting.again_at = math.inf
            elif 1 < waiting.sent < SENT_MAX and is_status(message, "503"):
                # Somebody was there before, who may still answer.
                return
            elif not future.done():
                future.set_result(message)

        async def again() -> None:
            await self._connection.publish(subject, body, reply=reply, headers=headers)

        reply = self._inbox.open(on_reply)
        now = self._loop.time()
        waiting = self._waiting[reply] = _Waiting(
            future,
            subject,
            now + timeout_s,
            lost_with_connection=lost_with_connection,
            may_be_denied=may_be_denied,
        )
        self._asked.set()
        if is_interim is not None:
            waiting.again = again
            waiting.again_at = now + UNHEARD_S
        try:
            await self._connection.publish(subject, body, reply=reply, headers=headers)
            message = await future
        finally:
            self._inbox.close(reply)
            del self._waiting[reply]
        if is_status(message, "503"):
            raise NoRespondersError(subject)
        return message

    async def collect(
        self, subject: str, body: bytes, *, is_last: Callable[[Message], bool], timeout_s: float = REQUEST_TIMEOUT_S
    ) -> tuple[list[Message], Message]:
        """
        Send a request and await all of its replies; gives those before the one for which `is_last` holds, and that one.

        Raises:
            NoRespondersError: Nobody listens on the subject.
            RequestTimeoutError: The last reply did not come in time.
        """
        future: asyncio.Future[Message] = self._loop.create_future()
        found: list[Message] = []

        async def on_reply(message: Message) -> None:
            if future.done():
                return
            if is_status(message, "503") or is_last(message):
                future.set_result(message)
            else:
                found.append(message)

        reply = self._inbox.open(on_reply)
        self._waiting[reply] = _Waiting(future, subject, self._loop.time() + timeout_s)
        self._asked.set()
        try:
            await self._connection.publish(subject, body, reply=reply)
            last = await future
        finally:
            self._inbox.close(reply)
            del self._waiting[reply]
        if is_status(last, "503"):
            raise NoRespondersError(subject)
        return found, last

    async def _sweep(self) -> None:
        while True:
            if not self._waiting:
                self._asked.clear()
                await self._asked.wait()
                # What was denied before was something else that this connection published.
                self._denied.clear()
            await asyncio.sleep(SWEEP_INTERVAL_S)
            now = self._loop.time()
            denied, self._denied = self._denied, set()
            for waiting in list(self._waiting.values()):
                if waiting.future.done():
                    continue
                if denied and waiting.may_be_denied and waiting.subject.lower() in denied:
                    waiting.future.set_exception(RequestDeniedError(waiting.subject))
                elif now >= waiting.give_up_at:
                    waiting.future.set_exception(RequestTimeoutError(waiting.subject))
                elif now >= waiting.again_at:
                    await self._send_again(waiting, now)

    async def _send_again(self, waiting: _Waiting, now: float) -> None:
        pause_s = UNHEARD_S * UNHEARD_GROWTH**waiting.sent
        waiting.sent += 1
        waiting.again_at = now + pause_s if waiting.sent < SENT_MAX else math.inf
        if waiting.again is not None and self._connection.is_connected:
            try:
                await waiting.again()
            except (FabricError, nats.errors.Error) as error:
                logger.warning("request_not_resent", extra={"error": type(error).__name__})

    def _on_denied(self, subject: str) -> None:
        if len(self._denied) < DENIED_MAX:
            self._denied.add(subject)

    def _on_reconnect(self) -> None:
        now = self._loop.time()
        for waiting in self._waiting.values():
            if waiting.again is not None and not waiting.heard:
                waiting.sent, waiting.again_at = 1, now
            elif waiting.lost_with_connection:
                waiting.give_up_at = min(waiting.give_up_at, now + LOST_AFTER_S)
