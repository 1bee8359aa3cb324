"""API requests about the dead: `api.dead` lists, shows, retries and discards tasks that could not be processed."""

import secrets
from collections import deque
from typing import Final

import msgspec

from flotilla.contracts import subjects
from flotilla.contracts.api import DeadEntry, DeadList, DeadQuery, Discarded, Retried
from flotilla.contracts.errors import BadRequestError, DecodeFailedError, TaskError
from flotilla.contracts.failures import ErrorKind
from flotilla.contracts.headers import RESUME, TASK_ID
from flotilla.contracts.names import SEQUENCE_ID_PREFIX, TASK_ID_LENGTH_MAX
from flotilla.contracts.results import DeadRecord, decode_dead
from flotilla.fabric.inbox import Requests
from flotilla.fabric.stored import StoredMessage, between, delete_message, last_message
from flotilla.fabric.stream_usage import sequences
from orchestrator.api.requests import ApiRequest, decode_query, not_found
from orchestrator.api.turns import Turns
from orchestrator.state.unreadable_stored import UnreadableStored, standing_for
from orchestrator.ways_in.dead_records import headers_to_retry, subject_to_retry

DEAD_WALKED_BACK_MAX: Final = 1_000_000
"""How many sequences of the stream the list looks back over; those that are gone count."""
DEAD_STEP_MAX: Final = 10_000
DEAD_LIST_BYTES_MAX: Final = 512 * 1024
"""Of the entries of one answer, which must fit into one message: the older ones are left out."""


class DeadLetterHandlers:
    """Answers API requests about the dead-letter stream."""

    def __init__(self, requests: Requests, walks: Turns, unreadable: UnreadableStored) -> None:
        self._requests = requests
        self._walks = walks
        self._unreadable = unreadable

    async def answer(self, question: ApiRequest) -> DeadList | DeadRecord | Retried | Discarded:
        """Do what the question asks."""
        scope = question.scope
        query = decode_query(question, DeadQuery)
        if query.verb == "list":
            async with self._walks.turn(scope):
                return await self._dead_list(scope, query.limit)
        if query.task is None:
            raise BadRequestError(f"dead {query.verb} needs a task", path="$.task", expected="a task id")
        if query.verb == "discard":
            return await self._discard(scope, query.task)
        record = await self._dead_record(scope, query.task)
        return record if query.verb == "show" else await self._retry(scope, record)

    async def _dead_list(self, scope: str, limit: int) -> DeadList:
        """
        Walk back from the newest.

        A stream is read forwards only: step by step, each further back and longer than the one before, so that a scope
        with all the records costs no more than was asked for, and one with few no long walk.
        """
        first, last = await sequences(self._requests, subjects.dead_stream(scope))
        before = last + 1
        oldest = max(first, before - DEAD_WALKED_BACK_MAX)
        step = limit
        size = 0
        entries: list[DeadEntry] = []
        while before > oldest and len(entries) < limit:
            start = max(oldest, before - step)
            for entry in reversed(await self._entries(scope, start, before, limit - len(entries))):
                size += len(msgspec.json.encode(entry))
                if size > DEAD_LIST_BYTES_MAX:
                    return DeadList(dead=entries)
                entries.append(entry)
            before = start
            step = min(step * 2, DEAD_STEP_MAX)
        return DeadList(dead=entries)

    async def _entries(self, scope: str, start: int, before: int, newest: int) -> deque[DeadEntry]:
        entries: deque[DeadEntry] = deque(maxlen=newest)
        stream, pattern = subjects.dead_stream(scope), subjects.dead(scope, "*", "*")
        async for message in between(self._requests, stream, pattern, from_sequence=start, before=before):
            # Entries share nothing with the record: its body, which may be large, goes at once.
            entries.append(self._entry(message))
        return entries

    def _entry(self, message: StoredMessage) -> DeadEntry:
        """A record's line in the list; of one that cannot be read, what its subject says."""
        try:
            return _entry(decode_dead(message.body))
        except DecodeFailedError as error:
            self._unreadable.found("dead_record", message.subject, error)
            capability, task = message.subject.split(".")[-2:]
            return DeadEntry(
                task=task,
                capability=capability,
                error=standing_for("the task's record", error, len(message.body)),
                at_unix_ms=message.stored_unix_ms,
                size_bytes=len(message.body),
            )

    async def _discard(self, scope: str, task_id: str) -> Discarded:
        """Delete a record, one that cannot be read as well."""
        message = await self._stored(scope, task_id)
        await delete_message(self._requests, subjects.dead_stream(scope), message.sequence)
        return Discarded(task=task_id)

    async def _stored(self, scope: str, task_id: str) -> StoredMessage:
        message = await last_message(self._requests, subjects.dead_stream(scope), subjects.dead(scope, "*", task_id))
        if message is None:
            raise not_found(task_id, "is not among the dead")
        return message

    async def _dead_record(self, scope: str, task_id: str) -> DeadRecord:
        message = await self._stored(scope, task_id)
        try:
            return decode_dead(message.body)
        except DecodeFailedError as error:
            self._unreadable.found("dead_record", message.subject, error)
            raise TaskError.from_body(standing_for("the task's record", error, len(message.body))) from None

    async def _retry(self, scope: str, record: DeadRecord) -> Retried:
        """Submit the original again under a new id: a result is committed once per id, and this one has its."""
        if record.body_dropped_bytes:
            raise TaskError(
                ErrorKind.TOO_LARGE,
                f"the record does not keep the input of {record.body_dropped_bytes} bytes: submit the original again",
                details={"size_bytes": record.body_dropped_bytes},
            )
        headers = headers_to_retry(record)
        if record.error.kind is ErrorKind.STEP_FAILED or {"pipeline", "step"} & record.error.details.keys():
            # The steps of the run that went well are not worked on again.
            headers = {RESUME: record.task, **headers}
        subject = subject_to_retry(record, scope)
        suffix = f"-r{secrets.token_hex(3)}"
        stem = (
            record.task.removeprefix(SEQUENCE_ID_PREFIX) if record.task.startswith(SEQUENCE_ID_PREFIX) else record.task
        )
        task_id = stem[: TASK_ID_LENGTH_MAX - len(suffix)] + suffix
        reply = await self._requests.request(subject, record.body, headers={**headers, TASK_ID: task_id})
        error = msgspec.json.decode(reply.data).get("error")
        if error is not None:
            raise TaskError(ErrorKind.BACKLOG_FULL, "the task stream takes no more of this capability now")
        return Retried(task=record.task, retried_as=task_id)


def _entry(record: DeadRecord) -> DeadEntry:
    return DeadEntry(
        task=record.task,
        capability=record.capability,
        error=record.error,
        at_unix_ms=record.at_unix_ms,
        size_bytes=record.body_dropped_bytes or len(record.body),
    )
