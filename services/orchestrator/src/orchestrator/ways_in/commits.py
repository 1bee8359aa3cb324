"""
The end of a durable task: its one result is committed, then its message is acknowledged, in this order.

Execution is at least once; the result is committed exactly once: it is published to its own subject with an expected last
sequence of 0, so the server takes the first and refuses every other.
"""

import asyncio
import time
from enum import Enum
from typing import Final

import msgspec
import structlog
from msgspec import Struct

from flotilla.contracts import subjects
from flotilla.contracts.errors import DecodeFailedError
from flotilla.contracts.names import UNKNOWN_CAPABILITY, is_name
from flotilla.contracts.results import DeadRecord, Result, decode_result, encode
from flotilla.fabric.connection import Connection, Message, status_of
from flotilla.fabric.errors import FabricError, NoRespondersError, RequestTimeoutError
from flotilla.fabric.inbox import Requests
from flotilla.fabric.unreadable import Sparing
from orchestrator.state.unreadable_stored import UnreadableStored, standing_for

logger = structlog.get_logger("orchestrator")

COMMIT_TIMEOUT_S: Final = 2.0
COMMIT_PATIENCE_S: Final = 120.0
COMMIT_PAUSE_S: Final = 0.25
BURY_PATIENCE_S: Final = 30.0
BURY_REFUSALS_MAX: Final = 3
WRONG_LAST_SEQUENCE: Final = 10071
WRITE_IN_FLIGHT: Final = 10164
"""A cluster's word for: another write to this subject is being agreed on, so the sequence cannot be told yet."""
_EXPECT_NONE: Final = {"Nats-Expected-Last-Subject-Sequence": "0"}


class _AckError(Struct, frozen=True, kw_only=True):
    err_code: int = 0
    description: str = ""


class _PubAck(Struct, frozen=True, kw_only=True):
    error: _AckError | None = None


_decode_ack: Final = msgspec.json.Decoder(_PubAck).decode


class Committed(Enum):
    """What became of a commit."""

    HERE = "here"
    BEFORE = "before"
    NOT = "not"


class Commits:
    """Commits results, keeps dead-letter records, and finds what was committed."""

    def __init__(self, connection: Connection, requests: Requests, unreadable: UnreadableStored) -> None:
        self._connection = connection
        self._requests = requests
        self._unreadable = unreadable
        self._sparing = Sparing()
        self._loop = asyncio.get_running_loop()

    async def commit(self, scope: str, result: Result, *, patience_s: float = COMMIT_PATIENCE_S) -> Committed:
        """
        Commit a result; safe to repeat, and safe against every other attempt at the same task.

        NOT means that the server could not be reached for `patience_s`, or that it refuses: the task stays in its
        stream, for whoever looks at it next.
        """
        subject = subjects.commit(scope, result.capability, result.task)
        body = encode(result)
        give_up_at = time.monotonic() + patience_s
        tried = False
        while time.monotonic() < give_up_at:
            try:
                reply = await self._requests.request(subject, body, headers=_EXPECT_NONE, timeout_s=COMMIT_TIMEOUT_S)
            except (RequestTimeoutError, NoRespondersError):
                tried = True
                await asyncio.sleep(COMMIT_PAUSE_S)
                continue
            error = _decode_ack(reply.data).error
            if error is None:
                return Committed.HERE
            if error.err_code == WRONG_LAST_SEQUENCE:
                if tried and await self._is_mine(scope, result, body):
                    return Committed.HERE
                return Committed.BEFORE
            if error.err_code != WRITE_IN_FLIGHT:
                self._refused("commit_refused", result.task, error)
            tried = True
            await asyncio.sleep(COMMIT_PAUSE_S)
        return Committed.NOT

    def _refused(self, event: str, task: str, error: _AckError) -> None:
        """Tried again a few times a second, and for each task: once a minute is enough."""
        unsaid = self._sparing.due(f"{event} {error.err_code}")
        if unsaid is not None:
            logger.error(event, task=task, error=error.description, unsaid=unsaid)

    async def _is_mine(self, scope: str, result: Result, body: bytes) -> bool:
        """Whether the first try was stored and only its acknowledgement lost."""
        try:
            found = await self._stored(scope, result.task, result.capability)
        except FabricError:
            return False
        return found is not None and found.data == body

    async def find(self, scope: str, task_id: str, capability: str = "*") -> Result | None:
        """
        The committed result of a task, or None; one that cannot be read is committed all the same, and a failed one.

        Raises:
            FabricError: The server cannot be asked.
        """
        found = await self._stored(scope, task_id, capability)
        if found is None:
            return None
        try:
            return decode_result(found.data)
        except DecodeFailedError as error:
            subject = found.headers.get("Nats-Subject", "")
            self._unreadable.found("result", subject, error)
            token = subject.split(".")[-2] if "." in subject else ""
            return Result(
                task=task_id,
                capability=token if is_name(token) else UNKNOWN_CAPABILITY,
                status="failed",
                error=standing_for("the task's result", error, len(found.data)),
            )

    async def _stored(self, scope: str, task_id: str, capability: str) -> Message | None:
        ask = {"last_by_subj": subjects.results(scope, capability, task_id)}
        stream = subjects.results_stream(scope)
        reply = await self._requests.request(f"$JS.API.DIRECT.GET.{stream}", msgspec.json.encode(ask))
        return None if status_of(reply) is not None else reply

    async def store_dead_letter(self, record: DeadRecord) -> bool:
        """
        Store a dead-letter record once, however often it is offered.

        False when the server refuses it, or could not be reached for BURY_PATIENCE_S: longer than a cluster takes to
        elect a leader.
        """
        subject = subjects.dead(record.scope, record.capability, record.task)
        body = encode(record)
        if len(body) > self._connection.payload_bytes_max:
            body = encode(msgspec.structs.replace(record, body=b"", body_dropped_bytes=len(record.body)))
        give_up_at = time.monotonic() + BURY_PATIENCE_S
        refusals = 0
        while refusals < BURY_REFUSALS_MAX and time.monotonic() < give_up_at:
            try:
                reply = await self._requests.request(subject, body, headers=_EXPECT_NONE, timeout_s=COMMIT_TIMEOUT_S)
            except (RequestTimeoutError, NoRespondersError):
                await asyncio.sleep(COMMIT_PAUSE_S)
                continue
            error = _decode_ack(reply.data).error
            if error is None or error.err_code == WRONG_LAST_SEQUENCE:
                return True
            if error.err_code != WRITE_IN_FLIGHT:
                refusals += 1
                self._refused("dead_record_refused", record.task, error)
            await asyncio.sleep(COMMIT_PAUSE_S)
        logger.error("dead_record_lost", task=record.task, capability=record.capability)
        return False
