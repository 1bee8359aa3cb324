"""An answer that comes in pieces."""

import asyncio
import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from flotilla.client.answers import Answer
from flotilla.client.errors import NotAllowedError, StreamCutError
from flotilla.client.link import Link
from flotilla.contracts.errors import DecodeFailedError, TaskError
from flotilla.contracts.failures import ErrorKind
from flotilla.contracts.results import ErrorReply, PieceMessage, StepMessage, decode_answer
from flotilla.fabric.connection import Message, is_status
from flotilla.fabric.inbox import Inbox

PIECES_PENDING_MAX: Final = 65_536
"""Pieces that a slow reader may leave unread before the stream is cut."""


OnStep = Callable[[StepMessage], None]
"""Told of each step of a pipeline's run as it begins and ends."""


class AnswerStream:
    """
    The pieces of one answer, then the answer itself.

        async with fleet.stream("summarize", {"document": text}) as stream:
            async for piece in stream:
                print(piece, end="", flush=True)
        print(stream.answer.model)

    Iterating without `async with` works too; leaving early is then noticed only when the fleet's deadline passes. With
    it, leaving before the end cancels the task, so that no model works for nobody.

    Attributes:
        task: The id of the task.
        pieces: How many pieces were handed out.
    """

    def __init__(
        self,
        link: Link,
        *,
        capability: str,
        body: bytes,
        headers: dict[str, str],
        task: str,
        timeout_s: float,
        on_step: OnStep | None = None,
    ) -> None:
        self.task: Final = task
        self.pieces = 0
        self._link = link
        self._subject: Final = link.addresses.ask(capability)
        self._body = body
        self._headers = headers
        self._timeout_s = timeout_s
        self._give_up_at = 0.0
        self._on_step = on_step
        self._arrived: Final[asyncio.Queue[Message | None]] = asyncio.Queue(PIECES_PENDING_MAX)
        self._inbox: Inbox | None = None
        self._reply = ""
        self._overflowed = False
        self._denied = False
        self._answer: Answer | None = None
        self._ended = False

    @property
    def answer(self) -> Answer:
        """
        The whole answer, once the pieces are through.

        Raises:
            RuntimeError: They are not.
        """
        if self._answer is None:
            raise RuntimeError("the stream has not ended: read its pieces first, or await finish()")
        return self._answer

    async def finish(self) -> Answer:
        """Read the pieces that are left and give the answer; raises what iterating raises."""
        async for _ in self:
            pass
        return self.answer

    async def __aenter__(self) -> Self:
        await self._begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        """
        The next piece of text.

        Raises:
            TaskError: The task was refused or failed; after some pieces too, which are then no complete answer.
            StreamCutError: A piece is missing, or the stream ended without its result.
            NoFleetError: Nobody answers; NotAllowedError: the credentials may not ask for this.
        """
        if self._ended:
            raise StopAsyncIteration
        try:
            await self._begin()
            while isinstance(piece := await self._next_message(), StepMessage):
                if self._on_step is not None:
                    self._on_step(piece)
        except BaseException:
            await self.close()
            raise
        if piece is None:
            self._leave()
            raise StopAsyncIteration
        self.pieces += 1
        return piece

    async def close(self) -> None:
        """Stop listening; a task that has not ended is cancelled, without waiting for word of it."""
        unfinished = self._inbox is not None and not self._ended
        self._leave()
        if unfinished:
            await self._link.abandon(self.task)

    def _leave(self) -> None:
        self._ended = True
        if self._inbox is not None:
            self._inbox.close(self._reply)
            self._link.unwatch(self._wake)
            self._link.unwatch_denied(self._on_denied)

    async def _begin(self) -> None:
        if self._inbox is not None or self._ended:
            return
        link = self._link
        await link.reachable()
        inbox = await link.streams()
        self._reply = inbox.open(self._on_reply)
        self._inbox = inbox
        self._give_up_at = asyncio.get_running_loop().time() + self._timeout_s
        # Pieces that came while the connection was down are lost, and no gap shows after the last one.
        link.watch(self._wake)
        link.watch_denied(self._on_denied)
        await link.connection.publish(self._subject, self._body, reply=self._reply, headers=self._headers)

    async def _on_reply(self, message: Message) -> None:
        try:
            self._arrived.put_nowait(message)
        except asyncio.QueueFull:
            self._overflowed = True

    def _on_denied(self, subject: str) -> None:
        if subject == self._subject.lower():
            self._denied = True
            self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(asyncio.QueueFull):
            self._arrived.put_nowait(None)

    async def _next_message(self) -> str | StepMessage | None:
        remaining_s = self._give_up_at - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(max(0.0, remaining_s)):
                message = await self._arrived.get()
        except TimeoutError as error:
            raise self._late() from error
        if self._denied:
            self._ended = True
            raise NotAllowedError(self._link.url, self._subject)
        if message is None or self._overflowed:
            raise self._cut("the connection was lost" if message is None else "it was read too slowly")
        if is_status(message, "503"):
            self._ended = True
            raise self._link.nobody(message.subject if self.pieces else self._subject)
        if not message.data:
            raise self._cut("it ended without a result")
        return self._taken(message.data)

    def _taken(self, body: bytes) -> str | StepMessage | None:
        try:
            reply = decode_answer(body)
        except DecodeFailedError as error:
            raise self._cut("a message in it is neither a piece nor a result") from error
        if isinstance(reply, PieceMessage):
            if reply.seq != self.pieces:
                raise self._cut(f"piece {self.pieces} is missing")
            return reply.text
        if isinstance(reply, StepMessage):
            return reply
        self._ended = True
        if isinstance(reply, ErrorReply):
            raise TaskError.from_body(reply.error)
        answer = Answer(reply)
        answer.raise_for_error()
        self._answer = answer
        return None

    def _cut(self, reason: str) -> StreamCutError:
        return StreamCutError(self.task, self.pieces, reason)

    def _late(self) -> TaskError:
        text = f"no more of the answer within {self._timeout_s:g} s, after {self.pieces} pieces"
        return TaskError(ErrorKind.DEADLINE_EXCEEDED, text, details={"pieces": self.pieces})
