"""Tasks of one scope that were suspended, and are due: pulled from their stream, and taken as what they were."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any, Final

import structlog

from flotilla.contracts import subjects
from flotilla.contracts.clock import unix_ms
from flotilla.contracts.errors import BadRequestError
from flotilla.contracts.headers import TASK_DEADLINE_MS_DEFAULT
from flotilla.fabric.connection import Connection
from flotilla.fabric.consumers import ACK_PENDING_STEP, RESUMED_CONSUMER, ensure_resumed_consumer
from flotilla.fabric.deliveries import Delivery
from flotilla.fabric.inbox import Requests
from flotilla.fabric.per_item import guarded
from flotilla.fabric.pull_consumers import Puller, Source
from orchestrator.approvals.suspensions import SuspendedTask, Suspensions, read_suspended
from orchestrator.reporting.pipeline_metrics import PipelineMetrics
from orchestrator.state.pulled_bytes import PulledBytes
from orchestrator.ways_in.in_hand import InHand
from orchestrator.ways_in.intake import read_options

logger = structlog.get_logger("orchestrator")

IN_HAND_MAX: Final = 64
"""Of a scope, in one orchestrator, without those that are parked."""
ACK_PENDING_MAX: Final = 1024
"""Of a scope, in all orchestrators, without those that are parked."""
UNREADABLE_DELAY_S: Final = 60.0
PUT_OFF_S: Final = 30.0
"""How long a task waits that nobody can work on now."""
PUT_OFF_JITTER_S: Final = 10.0


class ResumedTasks:
    """
    Pulls them.

    Attributes:
        in_hand: Deliveries that are not over.
        puller: Of their consumer.
    """

    def __init__(
        self,
        connection: Connection,
        requests: Requests,
        scope: str,
        pulled: PulledBytes,
        *,
        suspensions: Suspensions,
        capacity: Callable[[str], int],
        held: InHand,
        on_delivery: Callable[[Delivery], None],
        on_refused: Callable[[], None],
        metrics: PipelineMetrics,
    ) -> None:
        """
        Pull nothing yet.

        Args:
            connection: To NATS.
            requests: The connection's.
            scope: Whose tasks they are.
            pulled: The bytes that the scope may have in hand.
            suspensions: Keep those that nobody can work on now.
            capacity: How many tasks of a capability can be worked on here; 0 for none, or where it is not known.
            held: Says how many of those in hand are parked.
            on_delivery: Called with each, as the message that it was.
            on_refused: See `Puller`.
            metrics: Count what is put off.
        """
        self._requests = requests
        self._scope = scope
        self._pulled = pulled
        self._on_original = on_delivery
        self._suspensions = suspensions
        self._capacity = capacity
        self._held = held
        self._metrics = metrics
        self._ack_pending_max = 0
        self._giving_back: set[asyncio.Task[None]] = set()
        self.in_hand = 0
        self.puller: Final = Puller(
            connection,
            requests,
            source=Source(subjects.suspended_stream(scope), RESUMED_CONSUMER),
            allowance=pulled,
            on_delivery=self._on_delivery,
            on_refused=on_refused,
        )

    async def ensure(self) -> None:
        """
        Make the consumer, if it is not known to be there, or change its limit.

        Raises:
            FabricError: The server cannot be reached, or refuses.
        """
        # Parked messages are unacknowledged too, and must not keep the others from being delivered.
        parked = -(-self._held.resumed_parked // ACK_PENDING_STEP) * ACK_PENDING_STEP
        ack_pending_max = ACK_PENDING_MAX + parked
        if self._ack_pending_max == ack_pending_max and not self.puller.missing:
            return
        await ensure_resumed_consumer(self._requests, scope=self._scope, ack_pending_max=ack_pending_max)
        self._ack_pending_max = ack_pending_max
        self.puller.missing = False

    async def pull(self) -> None:
        """Ask for as many as there is room for."""
        if self._ack_pending_max:
            await self.puller.pull(IN_HAND_MAX - (self.in_hand - self._held.resumed_parked))

    def _on_delivery(self, delivery: Delivery) -> None:
        kept = read_suspended(self._scope, delivery.body)
        if kept is None:
            # A later version's, perhaps: it waits for an orchestrator that can read it.
            logger.error("suspended_task_unreadable", scope=self._scope, sequence=delivery.sequence)
            self._give_back(delivery, delivery.nak_after(UNREADABLE_DELAY_S))
        elif not self._can_be_worked_on(kept):
            parsed = subjects.parse_tasks(kept.subject)
            if parsed is not None:
                self._metrics.run_put_off(parsed.capability)
            self._give_back(delivery, self._put_off(delivery))
        else:
            self.in_hand += 1
            self._on_original(delivery.as_original(kept.original))

    def _can_be_worked_on(self, kept: SuspendedTask) -> bool:
        """Whether somebody here has capacity for it; what never will have is refused, and what is overdue ends."""
        parsed = subjects.parse_tasks(kept.subject)
        if parsed is None or unix_ms() >= _deadline_unix_ms(kept):
            return True
        return self._capacity(parsed.capability) > 0 and (not kept.waits_for or self._capacity(kept.waits_for) > 0)

    async def _put_off(self, delivery: Delivery) -> None:
        """
        Have it due later, by the server's clock, which says when it came to be due.

        A message that is delivered for the first time has used no grant, so it may become another one: then those that
        nobody can work on count neither as unacknowledged nor as delivered again and again. Else it stays what it is.
        """
        after_s = PUT_OFF_S + random.random() * PUT_OFF_JITTER_S
        if delivery.deliveries > 1:
            await delivery.nak_after(after_s)
            return
        task = delivery.subject.rsplit(".", 1)[1]
        until_unix_ms = delivery.stored_unix_ms + int(after_s * 1000)
        await self._suspensions.put_off(self._scope, task, delivery.body, until_unix_ms)
        await delivery.acknowledge()
        logger.info("task_put_off", task=task, scope=self._scope)

    def _give_back(self, delivery: Delivery, how: Coroutine[Any, Any, None]) -> None:
        """Without an answer; if that fails, it is delivered again after the server's own time."""

        async def give_back() -> None:
            try:
                with guarded("deliveries", delivery.sequence):
                    await how
            finally:
                self.in_hand -= 1
                self._pulled.give_back(delivery.size_bytes)

        self.in_hand += 1
        giving_back = asyncio.ensure_future(give_back())
        self._giving_back.add(giving_back)
        giving_back.add_done_callback(self._giving_back.discard)


def _deadline_unix_ms(kept: SuspendedTask) -> int:
    """When a task's time is over, whether or not its capability is known here."""
    if kept.deadline_unix_ms:
        return kept.deadline_unix_ms
    try:
        given = read_options(kept.raw_headers).deadline_ms
    except BadRequestError:
        return 0
    return kept.stored_unix_ms + (TASK_DEADLINE_MS_DEFAULT if given is None else given)
