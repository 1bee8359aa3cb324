"""
Durable tasks: pulled from a scope's work-queue stream, held unacknowledged while they are worked on, then acknowledged.

Pull requests are made by hand on one inbox per consumer: nats-py's `fetch` leaves requests live when it is cancelled,
and cannot say how many messages it still expects, which is what keeps an orchestrator from pulling more than the fleet has
slots for.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import msgspec
import nats.errors

from flotilla.contracts import subjects
from flotilla.contracts.subjects import PRIORITIES, Priority
from flotilla.fabric.connection import Connection, Message, status_of
from flotilla.fabric.errors import FabricError, NoRespondersError, TopologyError
from flotilla.fabric.inbox import Requests

logger = logging.getLogger("flotilla.fabric")

ACK_WAIT_S: Final = 10.0
HEARTBEAT_EVERY_S: Final = 3.0
PULL_EXPIRES_S: Final = 5.0
PULL_LOST_AFTER_S: Final = 7.0
MISSING_AGAIN_S: Final = 1.0
TICK_S: Final = 0.5
ACK_TIMEOUT_S: Final = 2.0
ACK_TRIES_MAX: Final = 5
INACTIVE_THRESHOLD_S: Final = 3600.0
ACK_PENDING_MARGIN: Final = 16
ACK_PENDING_STEP: Final = 64
PULL_BATCH_MAX: Final = 512
WEIGHTS: Final[dict[Priority, int]] = {"high": 8, "normal": 3, "low": 1}
"""Shares of an orchestrator's room when several priorities have a backlog: high goes first, low never starves."""

_NS_PER_S: Final = 1_000_000_000
_ACK: Final = b"+ACK"
_NAK: Final = b"-NAK"
_IN_PROGRESS: Final = b"+WPI"
_ACK_TOKENS_V1: Final = 9


class Delivery:
    """
    A task message, held until it is acknowledged or handed back.

    Attributes:
        raw_headers: As the caller wrote them, unchecked; None without. See `Message`.
        sequence: In the task stream; from 1.
        deliveries: How often it was delivered, this time included; more than 1 after a crash or a hand-back.
        pending: How many more messages its consumer had when it was delivered.
        stored_unix_ms: When the stream accepted it, by the server's clock.
    """

    __slots__ = (
        "_connection",
        "_requests",
        "body",
        "deliveries",
        "headers",
        "pending",
        "raw_headers",
        "reply",
        "sequence",
        "stored_unix_ms",
        "subject",
    )

    def __init__(self, connection: Connection, requests: Requests, message: Message) -> None:
        self._connection = connection
        self._requests = requests
        self.subject: Final = message.subject
        self.body: Final = message.data
        self.headers: Final[dict[str, str]] = message.headers
        self.raw_headers: Final = message.raw_headers
        self.reply: Final = message.reply
        tokens = message.reply.split(".")
        # $JS.ACK.<stream>.<consumer>.<deliveries>.<sseq>.<cseq>.<time>.<pending>; v2 has domain and account before,
        # and a random token behind.
        at = 4 if len(tokens) == _ACK_TOKENS_V1 else 6
        self.deliveries: Final = int(tokens[at])
        self.sequence: Final = int(tokens[at + 1])
        self.stored_unix_ms: Final = int(tokens[at + 3]) // 1_000_000
        self.pending: Final = int(tokens[at + 4])

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

    async def hand_back(self) -> None:
        """Give it back for another orchestrator to take at once."""
        await self._connection.publish(self.reply, _NAK)

    async def hand_back_after(self, delay_s: float) -> None:
        """Give it back, to be delivered again after a pause."""
        await self._connection.publish(self.reply, b'-NAK {"delay": %d}' % int(delay_s * _NS_PER_S))

    async def in_progress(self) -> None:
        """Tell the server that it is still worked on, so that it is not delivered again."""
        await self._connection.publish(self.reply, _IN_PROGRESS)


OnDelivery = Callable[[Delivery], None]


class Puller:
    """
    Pulls from the consumer of one capability and priority, never more than it is told there is room for.

    Attributes:
        outstanding: Messages asked for and not yet received.
        backlog: How many more messages the consumer had when it last delivered one; 0 when a pull found nothing.
        missing: The server says that the consumer is not there; or, in a cluster, it has no leader now. So it is still
            asked, now and then.
    """

    def __init__(
        self,
        connection: Connection,
        requests: Requests,
        *,
        scope: str,
        capability: str,
        priority: Priority,
        on_delivery: OnDelivery,
    ) -> None:
        self._connection = connection
        self._requests = requests
        self._stream = subjects.tasks_stream(scope)
        self._consumer = subjects.consumer(capability, priority)
        self._inbox = f"{connection.inbox}.pull.{self._stream}.{self._consumer}"
        self._on_delivery = on_delivery
        self._loop = asyncio.get_running_loop()
        self._pulled_at = 0.0
        self._subscribed = False
        self.outstanding = 0
        self.backlog = 0
        self.missing = False

    async def pull(self, room: int) -> None:
        """Ask for as many messages as there is room for, less those asked for already."""
        now = self._loop.time()
        if self.outstanding and now - self._pulled_at > PULL_LOST_AFTER_S:
            self.outstanding = 0
        batch = min(room - self.outstanding, PULL_BATCH_MAX)
        if batch <= 0 or (self.missing and now - self._pulled_at < MISSING_AGAIN_S):
            return
        if not self._subscribed:
            self._subscribed = True
            await self._connection.subscribe(self._inbox, self._on_message)
        self.outstanding += batch
        self._pulled_at = now
        body = b'{"batch":%d,"expires":%d}' % (batch, int(PULL_EXPIRES_S * _NS_PER_S))
        await self._connection.publish(
            f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}", body, reply=self._inbox
        )

    def forget_pulls(self) -> None:
        """After a reconnect: the server has forgotten the requests too."""
        self.outstanding = 0

    async def _on_message(self, message: Message) -> None:
        status = status_of(message)
        if status is None:
            self.outstanding = max(0, self.outstanding - 1)
            self.missing = False
            delivery = Delivery(self._connection, self._requests, message)
            self.backlog = delivery.pending
            self._on_delivery(delivery)
            return
        if status in ("404", "408"):
            left = message.headers.get("Nats-Pending-Messages", "")
            self.outstanding = max(0, self.outstanding - int(left)) if left.isdigit() else 0
            self.backlog = 0
            self.missing = False
        elif status == "409" and "MaxAckPending" in message.block.description:
            self.outstanding = 0
        else:
            # 503: no such consumer; 409: deleted, or the server shuts down. The sweep makes it again.
            self.outstanding = 0
            self.missing = True


async def ensure_consumer(
    requests: Requests, *, scope: str, capability: str, priority: Priority, ack_pending_max: int
) -> None:
    """
    Create a capability's consumer, or change its limit; safe to call at any time from several orchestrators.

    Raises:
        TopologyError: The server refused; says why.
        FabricError: No answer.
    """
    stream, name = subjects.tasks_stream(scope), subjects.consumer(capability, priority)
    body = msgspec.json.encode(
        {
            "stream_name": stream,
            "config": {
                "durable_name": name,
                "filter_subject": subjects.tasks(scope, capability, priority),
                "ack_policy": "explicit",
                "ack_wait": int(ACK_WAIT_S * _NS_PER_S),
                "max_deliver": -1,
                "max_ack_pending": ack_pending_max,
                "inactive_threshold": int(INACTIVE_THRESHOLD_S * _NS_PER_S),
            },
        }
    )
    reply = await requests.request(f"$JS.API.CONSUMER.DURABLE.CREATE.{stream}.{name}", body)
    answer = msgspec.json.decode(reply.data)
    if "error" in answer:
        raise TopologyError(f"consumer {name} of {stream}: {answer['error'].get('description', '')}")


async def consumer_exists(requests: Requests, *, scope: str, capability: str, priority: Priority) -> bool:
    """
    Whether a capability has its consumer: some worker has announced it within INACTIVE_THRESHOLD_S.

    Raises:
        FabricError: No answer.
    """
    stream, name = subjects.tasks_stream(scope), subjects.consumer(capability, priority)
    reply = await requests.request(f"$JS.API.CONSUMER.INFO.{stream}.{name}")
    return "error" not in msgspec.json.decode(reply.data)


class Lot:
    """
    The pullers of one capability: how the room there is is shared among its priorities.

    Attributes:
        held: Messages being answered, by priority.
        parked: Messages that wait for a route; they take no room.
        ack_pending_max: The consumers' limit, as it was last set.
    """

    def __init__(self, pullers: dict[Priority, Puller]) -> None:
        self.pullers: Final = pullers
        self.held: dict[Priority, int] = {"high": 0, "normal": 0, "low": 0}
        self.parked = 0
        self.ack_pending_max = 0

    @property
    def in_hand(self) -> int:
        """Messages that are held, and those that may arrive at any moment."""
        return sum(self.held.values())

    async def pull(self, room: int) -> None:
        """Share out room for `room` more messages among the priorities."""
        capacity = room + self.in_hand
        waiting: list[Priority] = [
            priority for priority in PRIORITIES if self.pullers[priority].backlog or self.held[priority]
        ]
        shares = sum(WEIGHTS[priority] for priority in waiting)
        for priority in PRIORITIES:
            quota = capacity
            if shares and any(other != priority for other in waiting):
                mine = WEIGHTS[priority]
                others = shares - (mine if priority in waiting else 0)
                quota = max(1, capacity * mine // (mine + others))
            await self.pullers[priority].pull(min(room, quota - self.held[priority]))
