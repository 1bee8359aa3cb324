"""
The end of a durable task: its one result is committed, a failure is recorded as a dead letter, then the message goes.

In this order: whoever dies in between leaves a message that is delivered again, and finds the result there.
"""

from typing import Final

import structlog

from flotilla.contracts import subjects
from flotilla.contracts.failures import ErrorBody
from flotilla.contracts.results import DeadRecord, Result
from flotilla.fabric.connection import Connection
from flotilla.fabric.deliveries import Delivery
from flotilla.fabric.inbox import Requests
from flotilla.fabric.publish_once import Destination, publish_once
from flotilla.fabric.publish_outcomes import Stored
from flotilla.fabric.stored import StoredMessage, delete_message
from flotilla.fabric.unreadable import Sparing
from orchestrator.reporting.metrics import OrchestratorMetrics
from orchestrator.ways_in.commits import COMMIT_PATIENCE_S, Commits
from orchestrator.ways_in.dead_records import dead_record
from orchestrator.ways_in.delivery_rules import dead_letter_body, dead_letter_class, dead_letter_error
from orchestrator.ways_in.durable_answers import DurableAnswer
from orchestrator.ways_in.refused_ids import RefusedIds

logger = structlog.get_logger("orchestrator")

DEAD_RECORD_PATIENCE_S: Final = 30.0
"""Longer than a cluster takes to elect a leader."""
DEAD_RECORD_REFUSALS_MAX: Final = 3


class Settlement:
    """Ends durable tasks, whether their messages were delivered by a consumer or found in the stream."""

    def __init__(
        self,
        connection: Connection,
        requests: Requests,
        *,
        commits: Commits,
        metrics: OrchestratorMetrics,
        sealed: bool = False,
    ) -> None:
        self._connection = connection
        self._requests = requests
        self._commits = commits
        self._metrics = metrics
        self._sealed = sealed
        self._sparing = Sparing()
        self._refused_ids = RefusedIds(requests)

    async def settle(
        self,
        scope: str,
        message: Delivery | StoredMessage,
        answer: DurableAnswer,
        *,
        patience_s: float = COMMIT_PATIENCE_S,
    ) -> bool:
        """
        Commit an answer, then acknowledge its delivery, or delete its message where nobody delivered it.

        Where another result stands already, that one counts. A dead letter that cannot be recorded is logged, and the
        task is over all the same: its result is committed.

        Returns:
            False when the result could not be committed within `patience_s`: the message stays.

        Raises:
            FabricError: The server could not be asked what stands, or the message could not be deleted; it stays too.
        """
        result = answer.result
        if not answer.committed:
            stored = await self._commits.commit(scope, result, patience_s=patience_s)
            if stored is Stored.NOT:
                return False
            if stored is Stored.BEFORE:
                result = await self._commits.find(scope, result.task, result.capability) or result
            elif answer.task is None and isinstance(result.error, ErrorBody):
                self._metrics.refused(path="durable", outcome=result.error.kind.value)
        error = dead_letter_error(result)
        if error is not None:
            data_class = dead_letter_class(answer.task, sealed=self._sealed)
            await self._record(dead_record(scope, message, result, error, data_class, sealed=self._sealed))
        if isinstance(message, Delivery):
            await message.acknowledge()
        else:
            await delete_message(self._requests, subjects.tasks_stream(scope), message.sequence)
        if answer.task is None:
            self._refused_ids.refused(scope, message)
        _log_end(scope, result)
        return True

    async def finish(self) -> None:
        """Await what goes on in the background."""
        await self._refused_ids.finish()

    async def _record(self, record: DeadRecord) -> None:
        """Store a dead letter once, however often it is offered."""
        subject = subjects.dead(record.scope, record.capability, record.task)

        def refused(reason: str) -> None:
            unsaid = self._sparing.due(reason)
            if unsaid is not None:
                logger.error("dead_letter_refused", task=record.task, error=reason, unsaid=unsaid)

        stored = await publish_once(
            self._requests,
            Destination(publish=subject, stream=subjects.dead_stream(record.scope), stored=subject),
            dead_letter_body(record, self._connection.payload_bytes_max),
            patience_s=DEAD_RECORD_PATIENCE_S,
            refusals_max=DEAD_RECORD_REFUSALS_MAX,
            on_refused=refused,
        )
        if stored is Stored.NOT:
            logger.error("dead_letter_lost", task=record.task, capability=record.capability)


def _log_end(scope: str, result: Result) -> None:
    """The one line on a durable task that an operator finds without asking for more."""
    logger.info(
        "task_ended",
        task=result.task,
        capability=result.capability,
        scope=scope,
        outcome=result.error.kind.value if isinstance(result.error, ErrorBody) else "ok",
        pool=result.pool,
        model=result.model,
        latency_ms=round(result.latency_ms, 1),
        attempts=len(result.attempts),
    )
