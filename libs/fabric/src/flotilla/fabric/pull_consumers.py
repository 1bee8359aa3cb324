"""
Messages pulled from a consumer of a work-queue stream, never more than there is room for.

Pull requests are made by hand on one inbox per consumer: nats-py's `fetch` leaves requests live when it is cancelled,
and cannot say how many messages it still expects, which is what keeps an orchestrator from pulling more than the fleet has
slots for.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from msgspec import Struct
from nats.aio.subscription import Subscription

from flotilla.contracts import subjects
from flotilla.contracts.subjects import Priority
from flotilla.fabric.connection import Connection, Message, status_of
from flotilla.fabric.deliveries import Delivery
from flotilla.fabric.inbox import Requests
from flotilla.fabric.jetstream_api import consumer_next

PULL_EXPIRES_S: Final = 5.0
PULL_LOST_AFTER_S: Final = 7.0
MISSING_AGAIN_S: Final = 1.0
PULL_BATCH_MAX: Final = 512

_NS_PER_S: Final = 1_000_000_000

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
        self._subscription: Subscription | None = None
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
        if self._subscription is None:
            self._subscription = await self._connection.subscribe(f"{self._inbox}.*", self._on_message)
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

    async def close(self) -> None:
        """Hear of nothing more, once nothing is outstanding; a later pull begins anew."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            await subscription.unsubscribe()

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
