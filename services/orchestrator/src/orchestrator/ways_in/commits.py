"""
Committed results: each is published once to its own subject, and found there.

Execution is at least once; the result is committed exactly once (`publish_once` of the fabric).
"""

from typing import Final

import structlog

from flotilla.contracts import subjects
from flotilla.contracts.errors import DecodeFailedError
from flotilla.contracts.names import UNKNOWN_CAPABILITY, is_name
from flotilla.contracts.results import Result, decode_result, encode
from flotilla.fabric.inbox import Requests
from flotilla.fabric.publish_once import Destination, publish_once
from flotilla.fabric.publish_outcomes import Stored
from flotilla.fabric.stored import last_message_direct
from flotilla.fabric.unreadable import Sparing
from orchestrator.state.unreadable_stored import UnreadableStored, standing_for

logger = structlog.get_logger("orchestrator")

COMMIT_PATIENCE_S: Final = 120.0


class Commits:
    """Commits results, and finds what was committed."""

    def __init__(self, requests: Requests, unreadable: UnreadableStored) -> None:
        self._requests = requests
        self._unreadable = unreadable
        self._sparing = Sparing()

    async def commit(self, scope: str, result: Result, *, patience_s: float = COMMIT_PATIENCE_S) -> Stored:
        """
        Commit a result; safe to repeat, and safe against every other attempt at the same task.

        NOT means that the server could not be reached for `patience_s`, or that it refuses: the task stays in its
        stream, for whoever looks at it next.
        """
        destination = Destination(
            publish=subjects.commit(scope, result.capability, result.task),
            stream=subjects.results_stream(scope),
            stored=subjects.results(scope, result.capability, result.task),
        )

        def refused(reason: str) -> None:
            # Tried again a few times a second, and for each task: once a minute is enough.
            unsaid = self._sparing.due(reason)
            if unsaid is not None:
                logger.error("commit_refused", task=result.task, error=reason, unsaid=unsaid)

        return await publish_once(
            self._requests, destination, encode(result), patience_s=patience_s, on_refused=refused
        )

    async def find(self, scope: str, task_id: str, capability: str = "*") -> Result | None:
        """
        The committed result of a task, or None; one that cannot be read is committed all the same, and a failed one.

        Raises:
            FabricError: The server cannot be asked.
        """
        stream, subject = subjects.results_stream(scope), subjects.results(scope, capability, task_id)
        found = await last_message_direct(self._requests, stream, subject)
        if found is None:
            return None
        try:
            return decode_result(found.body)
        except DecodeFailedError as error:
            self._unreadable.found("result", found.subject, error)
            token = found.subject.split(".")[-2]
            return Result(
                task=task_id,
                capability=token if is_name(token) else UNKNOWN_CAPABILITY,
                status="failed",
                error=standing_for("the task's result", error, len(found.body)),
            )
