"""Signals of replicas that were full and have a free slot again."""

import structlog

from flotilla.contracts.attempts import decode_slot_free
from flotilla.contracts.errors import DecodeFailedError
from flotilla.contracts.subjects import infer_free
from flotilla.fabric.connection import Connection, Message
from flotilla.fabric.unreadable import Sparing
from orchestrator.execution.attempts import Attempts
from orchestrator.state.fleet import Fleet

logger = structlog.get_logger("orchestrator")


class FreeSignals:
    """Passes free slots on to the lanes; this orchestrator's own attempts told it already."""

    def __init__(self, connection: Connection, *, attempts: Attempts, fleet: Fleet) -> None:
        self._connection = connection
        self._attempts = attempts
        self._fleet = fleet
        self._sparing = Sparing()

    async def start(self) -> None:
        """Listen to every pool."""
        await self._connection.subscribe(infer_free("*", "*"), self._on_signal)  # pyright: ignore[reportArgumentType]  # a wildcard for the zone

    async def _on_signal(self, message: Message) -> None:
        pool = message.subject.rsplit(".", 1)[1]
        try:
            signal = decode_slot_free(message.data)
        except DecodeFailedError as error:
            unsaid = self._sparing.due(pool)
            if unsaid is not None:
                logger.warning("undecodable_signal", pool=pool, detail=str(error), unsaid=unsaid)
            return
        if not self._attempts.owns(signal.attempt):
            self._fleet.slot_freed(pool)
