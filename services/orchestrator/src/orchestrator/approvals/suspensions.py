"""
Tasks that wait for an approval, as messages that are due at a time (ADR-51): no orchestrator holds any of them.

A task's message moves to the stream `SUSPENDED_<scope>`, and is delivered again when its request expires or its deadline
passes, whichever is first; a decision makes it due now. It takes everything along that it was, so what is delivered again
is the same message: its id, its time, its headers and its body.
"""

from datetime import UTC, datetime
from typing import Final

import msgspec
from msgspec import Struct

from flotilla.contracts import subjects
from flotilla.contracts.clock import unix_ms
from flotilla.fabric.deliveries import Delivery, Original
from flotilla.fabric.errors import FabricError, TopologyError
from flotilla.fabric.inbox import Requests
from flotilla.fabric.jetstream_api import EXPECTED_LAST_SUBJECT_SEQUENCE, SCHEDULE, SCHEDULE_TARGET, ErrorCode, read_ack
from flotilla.fabric.stored import StoredMessage, delete_message, held_by, last_message

FULL_SHARE: Final = 2
"""One in so many parts of the stream's room is used: it cannot refuse, and would drop the oldest."""
HEADERS_BYTES_MAX: Final = 1024
FORMAT: Final = 1

_CONFLICTS: Final = frozenset(
    {
        ErrorCode.STREAM_WRONG_LAST_SEQUENCE,
        ErrorCode.STREAM_WRONG_LAST_SEQUENCE_CONSTANT,
        ErrorCode.STREAM_EXPECTED_LAST_SEQ_PER_SUBJECT_NOT_READY,
    }
)


class SuspendedTask(Struct, frozen=True, kw_only=True):
    """A task's own message, whole; MessagePack, since its bytes may be anything."""

    format: int = FORMAT
    subject: str
    sequence: int
    stored_unix_ms: int
    raw_headers: bytes | None
    body: bytes


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(SuspendedTask).decode


class CannotSuspendError(Exception):
    """A task cannot wait: it is too large, or too many do. Says which."""


class Suspensions:
    """Suspends tasks, and makes them due."""

    def __init__(self, requests: Requests, *, payload_bytes_max: int) -> None:
        self._requests = requests
        self._bytes_max = payload_bytes_max - HEADERS_BYTES_MAX

    async def suspend(self, scope: str, task: str, delivery: Delivery, until_unix_ms: int) -> None:
        """
        Keep a task until a time; its delivery may be acknowledged afterwards. Safe to repeat: there is one of each task.

        Raises:
            CannotSuspendError: See there.
            FabricError: The server cannot be reached, or refuses.
        """
        body = _encode(
            SuspendedTask(
                subject=delivery.subject,
                sequence=delivery.sequence,
                stored_unix_ms=delivery.stored_unix_ms,
                raw_headers=delivery.raw_headers,
                body=delivery.body,
            )
        )
        if len(body) > self._bytes_max:
            raise CannotSuspendError("the task is too large to wait for an approval")
        held = await held_by(self._requests, subjects.suspended_stream(scope))
        if (
            held.messages >= held.messages_max // FULL_SHARE
            or held.size_bytes + len(body) > held.size_bytes_max // FULL_SHARE
        ):
            raise CannotSuspendError("as many tasks wait for approvals already as may")
        if not await self._schedule(scope, task, body, until_unix_ms, expected=None):
            raise FabricError(f"stream {subjects.suspended_stream(scope)}: the task could not be suspended now")

    async def wake(self, scope: str, task: str) -> bool:
        """
        Make a suspended task due now; False when it is not suspended, or somebody else does it at this moment.

        Raises:
            FabricError: The server cannot be reached, or refuses.
        """
        found = await self.find(scope, task)
        if found is None:
            return False
        return await self._schedule(scope, task, found.body, unix_ms() - 1000, expected=found.sequence)

    async def find(self, scope: str, task: str) -> StoredMessage | None:
        """A task that waits for its time, as it is kept; None when it is not suspended."""
        stream, subject = subjects.suspended_stream(scope), subjects.suspended(scope, task)
        return await last_message(self._requests, stream, subject)

    async def drop(self, scope: str, found: StoredMessage) -> None:
        """Keep a suspended task no more."""
        await delete_message(self._requests, subjects.suspended_stream(scope), found.sequence)

    async def _schedule(self, scope: str, task: str, body: bytes, at_unix_ms: int, *, expected: int | None) -> bool:
        at = datetime.fromtimestamp(at_unix_ms / 1000, UTC).isoformat(timespec="milliseconds")
        headers = {
            SCHEDULE: f"@at {at.replace('+00:00', 'Z')}",
            SCHEDULE_TARGET: subjects.resumed(scope, task),
        }
        if expected is not None:
            headers[EXPECTED_LAST_SUBJECT_SEQUENCE] = str(expected)
        reply = await self._requests.request(subjects.suspended(scope, task), body, headers=headers)
        error = read_ack(reply.data).error
        if error is None:
            return True
        if error.err_code in _CONFLICTS:
            return False
        raise TopologyError(f"stream {subjects.suspended_stream(scope)}: {error.description}")


def original_of(body: bytes) -> Original | None:
    """The message that a suspended task was; None when it cannot be read, or is of a later version."""
    try:
        kept = _decode(body)
    except msgspec.MsgspecError:
        return None
    if kept.format != FORMAT:
        return None
    return Original(
        subject=kept.subject,
        sequence=kept.sequence,
        stored_unix_ms=kept.stored_unix_ms,
        raw_headers=kept.raw_headers,
        body=kept.body,
    )
