"""
Durable tasks: pulled from a scope's work-queue stream, held unacknowledged while they are worked on, then acknowledged.

Pull requests are made by hand on one inbox per consumer: nats-py's `fetch` leaves requests live when it is cancelled,
and cannot say how many messages it still expects, which is what keeps an orchestrator from pulling more than the fleet has
slots for.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol

import nats.errors
from msgspec import Struct

from flotilla.contracts import subjects
from flotilla.contracts.subjects import Priority
from flotilla.fabric.connection import Connection, Message, status_of
from flotilla.fabric.errors import FabricError, NoRespondersError
from flotilla.fabric.inbox import Requests
from flotilla.fabric.jetstream_api import consumer_next

logger = logging.getLogger("flotilla.fabric")

HEARTBEAT_EVERY_S: Final = 3.0
PULL_EXPIRES_S: Final = 5.0
PULL_LOST_AFTER_S: Final = 7.0
MISSING_AGAIN_S: Final = 1.0
TICK_S: Final = 0.5
ACK_TIMEOUT_S: Final = 2.0
ACK_TRIES_MAX: Final = 5
PULL_BATCH_MAX: Final = 512
WEIGHTS: Final[dict[Priority, int]] = {"high": 8, "normal": 3, "low": 1}
"""Shares of an orchestrator's room when several priorities have a backlog: high goes first, low never starves."""

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
        """Give it back for another orchestrator to take at once."""
        await self._connection.publish(self.reply, _NAK)

    async def nak_after(self, delay_s: float) -> None:
        """Give it back, to be delivered again after a pause."""
        await self._connection.publish(self.reply, b'-NAK {"delay": %d}' % int(delay_s * _NS_PER_S))

    async def in_progress(self) -> None:
        """Tell the server that it is still worked on, so that it is not delivered again."""
        await self._connection.publish(self.reply, _IN_PROGRESS)


OnDelivery = Callable[[Delivery], None]


class Grant(Struct, frozen=True):
    """
    What a pull may ask for.

    Attributes:
        batch: Messages, at most.
        bytes_max: Bytes of them, at most; the puller's until they arrive, or until it gives them back.
        waits: Whether the server is to wait for messages where there are none.
    """

    batch: int
    bytes_max: int
    waits: bool = True


class Allowance(Protocol):
    """How much a scope's pullers may have on its way and in hand."""

    def grant(self, puller: "Puller", batch: int) -> Grant | None:
        """What a puller may ask for now that has room for so many messages; None for nothing."""
        ...

    def exceed(self, size_bytes: int) -> None:
        """A message came that nobody expected any more."""
        ...

    def give_back(self, size_bytes: int) -> None:
        """Bytes that did not come, or are no longer held."""
        ...


class Source(Struct, frozen=True):
    """Where is pulled from: a stream, and its consumer."""

    stream: str
    consumer: str


def tasks_of(scope: str, capability: str, priority: Priority) -> Source:
    """The consumer of one capability and priority."""
    return Source(subjects.tasks_stream(scope), subjects.consumer(capability, priority))


class Puller:
    """
    Pulls from one consumer, never more than it is told there is room for.

    Attributes:
        outstanding: Messages asked for and not yet received.
        backlog: How many more messages the consumer had when it last delivered one; 0 when a pull found nothing.
        outstanding_bytes: The bytes that those may have.
        last_bytes: The size of the message that came last.
        refused_bytes: So many bytes were too few for the next message; 0 while that is not known of any.
        missing: The server says that the consumer is not there; or, in a cluster, it has no leader now. So it is still
            asked, now and then.
    """

    def __init__(
        self,
        connection: Connection,
        requests: Requests,
        *,
        source: Source,
        allowance: Allowance,
        on_delivery: OnDelivery,
        on_refused: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._allowance = allowance
        self._on_refused = on_refused
        self._requests = requests
        self._next = consumer_next(source.stream, source.consumer)
        self._inbox = f"{connection.inbox}.pull.{source.stream}.{source.consumer}"
        self._pulls = 0
        self._open: set[str] = set()
        self._on_delivery = on_delivery
        self._loop = asyncio.get_running_loop()
        self._pulled_at = 0.0
        self._subscribed = False
        self.outstanding = 0
        self.outstanding_bytes = 0
        self.backlog = 0
        self.last_bytes = 0
        self.refused_bytes = 0
        self.missing = False

    async def pull(self, room: int) -> None:
        """Ask for as many messages as there is room for, less those asked for already, and as the allowance lets it."""
        now = self._loop.time()
        if self.outstanding and now - self._pulled_at > PULL_LOST_AFTER_S:
            self.forget_pulls()
        batch = min(room - self.outstanding, PULL_BATCH_MAX)
        if batch <= 0 or (self.missing and now - self._pulled_at < MISSING_AGAIN_S):
            return
        if not self._subscribed:
            self._subscribed = True
            await self._connection.subscribe(f"{self._inbox}.*", self._on_message)
        grant = self._allowance.grant(self, batch)
        if grant is None:
            return
        self.outstanding += grant.batch
        self.outstanding_bytes += grant.bytes_max
        self._pulled_at = now
        self._pulls += 1
        pull = str(self._pulls)
        self._open.add(pull)
        until = b'"expires":%d' % int(PULL_EXPIRES_S * _NS_PER_S) if grant.waits else b'"no_wait":true'
        body = b'{"batch":%d,"max_bytes":%d,%b}' % (grant.batch, grant.bytes_max, until)
        await self._connection.publish(self._next, body, reply=f"{self._inbox}.{pull}")

    def forget_pulls(self) -> None:
        """After a reconnect, or where no answer comes: the server has forgotten the requests too."""
        self._expect_less(self.outstanding, self.outstanding_bytes)

    async def _on_message(self, message: Message) -> None:
        status = status_of(message)
        if status is None:
            self.missing = False
            self._take(Delivery(self._connection, self._requests, message))
            return
        pull = message.subject.rsplit(".", 1)[1]
        if pull not in self._open:
            # It was over already by what was received, or forgotten.
            return
        self._open.discard(pull)
        text = message.block.description
        if status in ("404", "408"):
            self._end_pull(message)
            self.backlog = self.refused_bytes = 0
            self.missing = False
        elif status == "409" and "Batch Completed" in text:
            self._end_pull(message)
        elif status == "409" and "Exceeds MaxBytes" in text:
            self.missing = False
            self.backlog = max(1, self.backlog)
            self.refused_bytes = max(1, self._end_pull(message))
            self._on_refused()
        elif status == "409" and "MaxAckPending" in text:
            self.forget_pulls()
        else:
            # 503: no such consumer; 409: deleted, or the server shuts down. The sweep makes it again.
            self.forget_pulls()
            self.missing = True

    def _take(self, delivery: Delivery) -> None:
        size = delivery.size_bytes
        expected = min(size, self.outstanding_bytes)
        self.outstanding_bytes -= expected
        if size > expected:
            self._allowance.exceed(size - expected)
        self._expect_less(1, 0)
        self.backlog = delivery.pending
        self.last_bytes = size
        self.refused_bytes = 0
        self._on_delivery(delivery)

    def _end_pull(self, message: Message) -> int:
        """The server ends a request, and says how many messages and bytes it had left: gives the bytes."""
        left, left_bytes = (message.headers.get(f"Nats-Pending-{what}", "") for what in ("Messages", "Bytes"))
        size_bytes = int(left_bytes) if left_bytes.isdigit() else self.outstanding_bytes
        self._expect_less(int(left) if left.isdigit() else self.outstanding, size_bytes)
        return size_bytes

    def _expect_less(self, messages: int, size_bytes: int) -> None:
        """So many messages, and so many bytes, do not come any more."""
        self.outstanding = max(0, self.outstanding - messages)
        left_bytes = max(0, self.outstanding_bytes - size_bytes) if self.outstanding else 0
        if not left_bytes:
            # The server ends a request at the last byte that it may send, and says nothing.
            self.outstanding = 0
            self._open.clear()
        freed, self.outstanding_bytes = self.outstanding_bytes - left_bytes, left_bytes
        if freed:
            self._allowance.give_back(freed)


class PullGroup:
    """
    The pullers of one capability: how the room there is is shared among its priorities.

    Attributes:
        held: Messages being answered, by priority.
        parked: Messages that wait for a route; they take no room.
        ack_pending_max: The consumers' limit, as it was last set.
    """

    def __init__(self, pullers: dict[Priority, Puller]) -> None:
        self.pullers: Final = pullers
        self._each = tuple(pullers.values())
        self.held: dict[Priority, int] = {"high": 0, "normal": 0, "low": 0}
        self.parked = 0
        self.ack_pending_max = 0

    @property
    def in_hand(self) -> int:
        """Messages that are held, and those that may arrive at any moment."""
        held = self.held
        return held["high"] + held["normal"] + held["low"]

    def hold(self, priority: Priority) -> None:
        """A message is being answered."""
        self.held[priority] += 1

    def release(self, priority: Priority) -> None:
        """It is not any more."""
        self.held[priority] -= 1

    def asks_enough(self, room: int) -> bool:
        """Whether every priority has asked for all that there is room for, however it is shared out."""
        for puller in self._each:  # noqa: SIM110  (a generator costs as much as all the rest)
            if puller.outstanding < room:
                return False
        return True

    async def pull(self, room: int) -> None:
        """Share out room for `room` more messages among the priorities."""
        held = self.held
        capacity = room + self.in_hand
        waiting: list[Priority] = [
            priority for priority, puller in self.pullers.items() if puller.backlog or held[priority]
        ]
        shares = sum([WEIGHTS[priority] for priority in waiting])
        for priority, puller in self.pullers.items():
            mine = WEIGHTS[priority]
            others = shares - mine if priority in waiting else shares
            quota = max(1, capacity * mine // (mine + others)) if others else capacity
            await puller.pull(min(room, quota - held[priority]))
