"""
A message of a work-queue stream in hand: what it says of itself, and its acknowledgement.
"""

import asyncio
import logging
from typing import Final

import nats.errors
from msgspec import Struct

from flotilla.fabric.connection import Connection, Message
from flotilla.fabric.errors import FabricError, NoRespondersError
from flotilla.fabric.inbox import Requests

logger = logging.getLogger("flotilla.fabric")

IN_PROGRESS_EVERY_S: Final = 3.0
ACK_TIMEOUT_S: Final = 2.0
ACK_TRIES_MAX: Final = 5

_NS_PER_S: Final = 1_000_000_000
_ACK: Final = b"+ACK"
_NAK: Final = b"-NAK"
_IN_PROGRESS: Final = b"+WPI"
_ACK_TOKENS_V1: Final = 9


class Original(Struct, frozen=True, kw_only=True):
    """What a message was before it was kept elsewhere and delivered from there."""

    subject: str
    sequence: int
    stored_unix_ms: int
    raw_headers: bytes | None
    body: bytes


class Delivery:
    """
    A task message, held until it is acknowledged or nakked.

    One that was kept elsewhere meanwhile is what it was before, but for how and how often it is delivered.

    Attributes:
        is_resumed: Whether it was kept elsewhere.
        raw_headers: As the caller wrote them, unchecked; None without. See `Message`.
        sequence: In the task stream; from 1.
        deliveries: How often it was delivered, this time included; more than 1 after a crash or a nak.
        size_bytes: What the server counts of it against `max_bytes`: subject, reply, headers and body.
        pending: How many more messages its consumer had when it was delivered.
        stored_unix_ms: When the stream accepted it, by the server's clock.
    """

    __slots__ = (
        "_connection",
        "_requests",
        "body",
        "deliveries",
        "headers",
        "is_resumed",
        "pending",
        "raw_headers",
        "reply",
        "sequence",
        "size_bytes",
        "stored_unix_ms",
        "subject",
    )

    def __init__(
        self,
        connection: Connection,
        requests: Requests,
        message: Message,
        original: Original | None = None,
        *,
        size_bytes: int = 0,
    ) -> None:
        self._connection = connection
        self._requests = requests
        if original is not None:
            message = Message(original.subject, message.reply, original.body, original.raw_headers)
        self.is_resumed: Final = original is not None
        self.subject: Final = message.subject
        self.body: Final = message.data
        self.headers: Final[dict[str, str]] = message.headers
        self.raw_headers: Final = message.raw_headers
        self.reply: Final = message.reply
        self.size_bytes: Final = size_bytes or (
            len(message.subject) + len(message.reply) + len(message.raw_headers or b"") + len(message.data)
        )
        tokens = message.reply.split(".")
        # $JS.ACK.<stream>.<consumer>.<deliveries>.<sseq>.<cseq>.<time>.<pending>; v2 has domain and account before,
        # and a random token behind.
        at = 4 if len(tokens) == _ACK_TOKENS_V1 else 6
        self.deliveries: Final = int(tokens[at])
        self.sequence: Final = int(tokens[at + 1]) if original is None else original.sequence
        self.stored_unix_ms: Final = int(tokens[at + 3]) // 1_000_000 if original is None else original.stored_unix_ms
        self.pending: Final = int(tokens[at + 4])

    @property
    def message_id(self) -> str:
        """The stream that delivered it and its sequence there: the same each time that it is delivered, and no other's."""
        tokens = self.reply.split(".")
        at = 4 if len(tokens) == _ACK_TOKENS_V1 else 6
        return f"{tokens[at - 2]} {tokens[at + 1]}"

    def as_original(self, original: Original) -> "Delivery":
        """The same delivery, of a message that was another before it was kept where this was delivered from."""
        message = Message("", self.reply, b"")
        return Delivery(self._connection, self._requests, message, original, size_bytes=self.size_bytes)

    async def acknowledge(self) -> None:
        """
        Acknowledge, and await the server's confirmation; only after the result is committed.

        An acknowledgement that stays unconfirmed costs a redelivery, which then finds the committed result.
        """
        for _ in range(ACK_TRIES_MAX):
            try:
                await self._requests.request(self.reply, _ACK, timeout_s=ACK_TIMEOUT_S)
            except NoRespondersError:
                # At once, while the consumer has no leader.
                await asyncio.sleep(ACK_TIMEOUT_S)
            except (FabricError, nats.errors.Error):
                continue
            else:
                return
        logger.warning("ack_unconfirmed", extra={"sequence": self.sequence})

    async def nak(self) -> None:
        """Nak: whichever orchestrator pulls next gets it, at once."""
        await self._connection.publish(self.reply, _NAK)

    async def nak_after(self, delay_s: float) -> None:
        """Nak with a delay: it is delivered again no earlier than that."""
        await self._connection.publish(self.reply, b'-NAK {"delay": %d}' % int(delay_s * _NS_PER_S))

    async def in_progress(self) -> None:
        """Tell the server that it is still worked on, so that it is not delivered again."""
        await self._connection.publish(self.reply, _IN_PROGRESS)
