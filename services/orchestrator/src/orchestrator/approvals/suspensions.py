"""
Tasks that wait for an approval, or for long for a route, as messages that are due at a time (ADR-51): no orchestrator holds
any of them.

A task's message moves to the stream `SUSPENDED_<scope>`, and is delivered again when its request expires or its deadline
passes, whichever is first; a decision makes it due now. It takes everything along that it was, so what is delivered again
is the same message: its id, its time, its headers and its body.

The server's clock makes a task due. An orchestrator's may be another, so what is kept is told how long it waits, and the
server's word on what time it is there is added: a task that is due too early would be kept again and again until it is late.
"""

from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from flotilla.contracts import subjects
from flotilla.contracts.clock import unix_ms
from flotilla.contracts.decoding import UNDECODABLE
from flotilla.contracts.fields import MaybeName, Sequence, UnixMs
from flotilla.contracts.results import SUBJECT_LENGTH_MAX
from flotilla.fabric.deliveries import Delivery, Original
from flotilla.fabric.errors import FabricError, TopologyError
from flotilla.fabric.inbox import Requests
from flotilla.fabric.jetstream_api import CONFLICTS, EXPECTED_LAST_SUBJECT_SEQUENCE, SCHEDULE, SCHEDULE_TARGET, read_ack
from flotilla.fabric.stored import StoredMessage, delete_message, last_message
from flotilla.fabric.stream_usage import held_and_when

FULL_SHARE: Final = 2
"""One in so many parts of the stream's room is used: it cannot refuse, and would drop the oldest."""
HEADERS_BYTES_MAX: Final = 1024
AT_ONCE: Final = 0
"""As the time at which a task is due: past by every clock."""
FORMAT: Final = 1


class SuspendedTask(Struct, frozen=True, kw_only=True):
    """
    A task's own message, whole; MessagePack, since its bytes may be anything.

    Attributes:
        deadline_unix_ms: The task's; 0 in what an earlier version has suspended.
        waits_for: The capability that has had no route; empty where an approval is waited for.
    """

    format: Sequence = FORMAT
    subject: Annotated[str, Meta(max_length=SUBJECT_LENGTH_MAX)]
    sequence: Sequence
    stored_unix_ms: UnixMs
    raw_headers: bytes | None
    body: bytes
    deadline_unix_ms: UnixMs = 0
    waits_for: MaybeName = ""

    @property
    def original(self) -> Original:
        """The message that it was."""
        return Original(
            subject=self.subject,
            sequence=self.sequence,
            stored_unix_ms=self.stored_unix_ms,
            raw_headers=self.raw_headers,
            body=self.body,
        )


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(SuspendedTask).decode


class CannotSuspendError(Exception):
    """A task cannot wait: it is too large, or too many do. Says which."""


class Suspensions:
    """Suspends tasks, and makes them due."""

    def __init__(self, requests: Requests, *, payload_bytes_max: int) -> None:
        self._requests = requests
        self._bytes_max = payload_bytes_max - HEADERS_BYTES_MAX

    async def suspend(
        self,
        scope: str,
        task: str,
        delivery: Delivery,
        until_unix_ms: int,
        *,
        deadline_unix_ms: int,
        waits_for: str = "",
    ) -> None:
        """
        Keep a task until a time; its delivery may be acknowledged afterwards. Safe to repeat: there is one of each task.

        Args:
            scope: Whose it is.
            task: Its id.
            delivery: Of its message.
            until_unix_ms: When it is due, by this machine's clock, unless it is woken before.
            deadline_unix_ms: The task's own.
            waits_for: See `SuspendedTask`.

        Raises:
            CannotSuspendError: It is too large, or the stream has no room for more.
            FabricError: The server cannot be reached, or refuses.
        """
        body = _encode(
            SuspendedTask(
                subject=delivery.subject,
                sequence=delivery.sequence,
                stored_unix_ms=delivery.stored_unix_ms,
                raw_headers=delivery.raw_headers,
                body=delivery.body,
                deadline_unix_ms=deadline_unix_ms,
                waits_for=waits_for,
            )
        )
        if len(body) > self._bytes_max:
            raise CannotSuspendError("the task is too large to be suspended")
        left_ms = max(0, until_unix_ms - unix_ms())
        held, now_unix_ms = await held_and_when(self._requests, subjects.suspended_stream(scope))
        if (
            held.messages >= held.messages_max // FULL_SHARE
            or held.size_bytes + len(body) > held.size_bytes_max // FULL_SHARE
        ):
            raise CannotSuspendError("as many tasks are suspended already as may")
        # Late by what the server's answer took, and never early.
        if not await self._schedule(scope, task, body, now_unix_ms + left_ms + 1, expected=None):
            raise FabricError(f"stream {subjects.suspended_stream(scope)}: the task could not be suspended now")

    async def wake(self, scope: str, task: str) -> bool:
        """
        Make a suspended task due now; False when it does not wait, or somebody else does it at this moment.

        Raises:
            FabricError: The server cannot be reached, or refuses.
        """
        stream, subject = subjects.suspended_stream(scope), subjects.suspended(scope, task)
        found = await last_message(self._requests, stream, subject)
        if found is None:
            return False
        return await self._schedule(scope, task, found.body, AT_ONCE, expected=found.sequence)

    async def put_off(self, scope: str, task: str, body: bytes, until_unix_ms: int) -> None:
        """
        Keep a task that was due until another time, by the server's clock; its delivery may be acknowledged afterwards.

        Raises:
            FabricError: The server cannot be reached, or refuses.
        """
        # If it is refused, the task waits already: somebody has suspended it since.
        await self._schedule(scope, task, body, until_unix_ms, expected=0)

    async def find(self, scope: str, task: str) -> StoredMessage | None:
        """A task that waits for its time, or is due and not over, as it is kept; None when it is not here."""
        return await last_message(self._requests, subjects.suspended_stream(scope), subjects.of_suspended(scope, task))

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
        if error.err_code in CONFLICTS:
            return False
        raise TopologyError(f"stream {subjects.suspended_stream(scope)}: {error.description}")


def read_suspended(scope: str, body: bytes) -> SuspendedTask | None:
    """A suspended task of a scope as it is kept; None when it cannot be read, or is of a later version."""
    try:
        kept = _decode(body)
    except UNDECODABLE:
        return None
    parsed = subjects.parse_tasks(kept.subject)
    return kept if kept.format == FORMAT and parsed is not None and parsed.scope == scope else None
