"""Questions about the dead: `api.dead` lists, shows and retries tasks that could not be processed."""

import secrets
from typing import Final

import msgspec

from flotilla.contracts import subjects
from flotilla.contracts.api import DeadEntry, DeadList, DeadQuery, Retried
from flotilla.contracts.errors import BadRequestError, TaskError
from flotilla.contracts.failures import ErrorKind
from flotilla.contracts.headers import TASK_ID
from flotilla.contracts.names import SEQUENCE_ID_PREFIX, TASK_ID_LENGTH_MAX
from flotilla.contracts.results import DeadRecord, decode_dead
from flotilla.fabric.inbox import Requests
from flotilla.fabric.stored import last_message, scan
from orchestrator.questions import Question, decode_query, not_found

DEAD_SCANNED_MAX: Final = 10_000


class DeadQuestions:
    """Answers questions about the dead-letter stream."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    async def answer(self, question: Question) -> DeadList | DeadRecord | Retried:
        """Do what the question asks."""
        scope = question.scope
        query = decode_query(question, DeadQuery)
        if query.verb == "list":
            return await self._dead_list(scope, query.limit)
        if query.task is None:
            raise BadRequestError(f"dead {query.verb} needs a task", path="$.task", expected="a task id")
        record = await self._dead_record(scope, query.task)
        return record if query.verb == "show" else await self._retry(record)

    async def _dead_list(self, scope: str, limit: int) -> DeadList:
        found = await scan(
            self._requests, subjects.DEAD_STREAM, subjects.dead(scope, "*", "*"), messages_max=DEAD_SCANNED_MAX
        )
        records = [decode_dead(message.body) for message in found[-limit:]]
        return DeadList(
            dead=[
                DeadEntry(
                    task=record.task,
                    capability=record.capability,
                    error=record.error,
                    at_unix_ms=record.at_unix_ms,
                    size_bytes=len(record.body),
                )
                for record in reversed(records)
            ]
        )

    async def _dead_record(self, scope: str, task_id: str) -> DeadRecord:
        message = await last_message(self._requests, subjects.DEAD_STREAM, subjects.dead(scope, "*", task_id))
        if message is None:
            raise not_found(task_id, "is not among the dead")
        return decode_dead(message.body)

    async def _retry(self, record: DeadRecord) -> Retried:
        """Submit the original again under a new id: a result is committed once per id, and this one has its."""
        suffix = f"-r{secrets.token_hex(3)}"
        stem = (
            record.task.removeprefix(SEQUENCE_ID_PREFIX) if record.task.startswith(SEQUENCE_ID_PREFIX) else record.task
        )
        task_id = stem[: TASK_ID_LENGTH_MAX - len(suffix)] + suffix
        headers = {name: value for name, value in record.headers.items() if name.lower() != TASK_ID.lower()}
        headers[TASK_ID] = task_id
        reply = await self._requests.request(record.subject, record.body, headers=headers)
        error = msgspec.json.decode(reply.data).get("error")
        if error is not None:
            raise TaskError(ErrorKind.BACKLOG_FULL, "the task stream takes no more of this capability now")
        return Retried(task=record.task, retried_as=task_id)
