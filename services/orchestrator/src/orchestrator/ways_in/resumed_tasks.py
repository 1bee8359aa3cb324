"""Tasks of one scope that were suspended, and are due: pulled from their stream, and taken as what they were."""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from flotilla.contracts import subjects
from flotilla.fabric.connection import Connection
from flotilla.fabric.consumers import RESUMED_CONSUMER, ensure_resumed_consumer
from flotilla.fabric.deliveries import Delivery
from flotilla.fabric.inbox import Requests
from flotilla.fabric.pull_consumers import Puller, Source
from orchestrator.approvals.suspensions import original_of
from orchestrator.state.pulled_bytes import PulledBytes

logger = structlog.get_logger("orchestrator")

IN_HAND_MAX: Final = 64
"""Of a scope, in one orchestrator."""
ACK_PENDING_MAX: Final = 1024
"""Of a scope, in all orchestrators."""
UNREADABLE_DELAY_S: Final = 60.0


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
        on_delivery: Callable[[Delivery], None],
        on_refused: Callable[[], None],
    ) -> None:
        self._requests = requests
        self._scope = scope
        self._pulled = pulled
        self._on_original = on_delivery
        self._has_consumer = False
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
        Make the consumer, if it is not known to be there.

        Raises:
            FabricError: The server cannot be reached, or refuses.
        """
        if self._has_consumer and not self.puller.missing:
            return
        await ensure_resumed_consumer(self._requests, scope=self._scope, ack_pending_max=ACK_PENDING_MAX)
        self._has_consumer = True
        self.puller.missing = False

    async def pull(self) -> None:
        """Ask for as many as there is room for."""
        if self._has_consumer:
            await self.puller.pull(IN_HAND_MAX - self.in_hand)

    def _on_delivery(self, delivery: Delivery) -> None:
        original = original_of(delivery.body)
        if original is None:
            # A later version's, perhaps: it waits for an orchestrator that can read it.
            logger.error("suspended_task_unreadable", sequence=delivery.sequence)
            self._pulled.give_back(delivery.size_bytes)
            giving_back = asyncio.ensure_future(delivery.nak_after(UNREADABLE_DELAY_S))
            self._giving_back.add(giving_back)
            giving_back.add_done_callback(self._giving_back.discard)
            return
        self.in_hand += 1
        self._on_original(delivery.as_original(original))
