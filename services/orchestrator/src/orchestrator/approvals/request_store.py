"""
Requests for approval as they are kept: a record each in the scope's bucket, the input that is shown, and the audit.

Every change is a compare-and-set on what was read from the bucket's leader, so of several who change a request at once one
does. The audit has a line for each change, on a subject of its own that can hold one message: it is written after the
change, and once more by whoever acts on the change, should the first have died in between.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import structlog

from flotilla.contracts import subjects
from flotilla.contracts.api_approvals import AuditEntry, audit_of
from flotilla.contracts.approval_requests import ApprovalRecord, decode_record, encode_record
from flotilla.contracts.clock import unix_ms
from flotilla.contracts.errors import DecodeFailedError
from flotilla.contracts.results import encode
from flotilla.fabric import keyvalue
from flotilla.fabric.errors import FabricError
from flotilla.fabric.inbox import Requests
from flotilla.fabric.publish_once import Destination, publish_once
from flotilla.fabric.publish_outcomes import Stored
from flotilla.fabric.stored import last_message
from flotilla.fabric.unreadable import Sparing

logger = structlog.get_logger("orchestrator")

PATIENCE_S: Final = 10.0
OVER_KEPT_S: Final = 2 * 86_400
"""How long the record of a request is kept that is over; the audit has it for longer."""

_OVER: Final = frozenset({"denied", "expired", "withdrawn", "consumed"})


class Kept(NamedTuple):
    """A record, and the revision of the bucket that it was read at."""

    record: ApprovalRecord
    revision: int


class RequestStore:
    """Keeps the requests of all scopes that this orchestrator serves."""

    def __init__(self, requests: Requests, on_audit_line: Callable[[str], None] = lambda _scope: None) -> None:
        """`on_audit_line` is called with the scope of each line that is new in an audit."""
        self._requests = requests
        self._on_audit_line = on_audit_line
        self._sparing = Sparing()

    async def find(self, scope: str, request: str) -> Kept | None:
        """
        A request; None when it is not kept.

        Raises:
            DecodeFailedError: What stands there is not its record.
            FabricError: The server cannot be asked.
        """
        entry = await keyvalue.get(self._requests, subjects.approvals_bucket(scope), request)
        if entry is None or entry.deleted:
            return None
        record = decode_record(entry.body)
        if record.id != request or record.gated.scope != scope:
            raise DecodeFailedError("approval record: it is another's")
        return Kept(record, entry.revision)

    async def any_decided(self, scope: str, requests: tuple[str, ...]) -> bool:
        """Whether any of these does not wait any more. One that cannot be read does not: its task is told so."""
        for request in requests:
            try:
                kept = await self.find(scope, request)
            except DecodeFailedError:
                return True
            if kept is None or kept.record.status != "pending":
                return True
        return False

    async def make(self, record: ApprovalRecord, payload: bytes) -> Kept | None:
        """
        Keep a new request, its input first: nobody is shown one without. None when it is there already.

        Raises:
            BucketFullError: As many wait already as may.
            FabricError: The server cannot be reached, or refuses.
        """
        scope = record.gated.scope
        subject = subjects.step_payload(scope, record.gated.task, record.id)
        await self._once(subject, subjects.steps_stream(scope), payload)
        bucket = subjects.approvals_bucket(scope)
        before = await keyvalue.get(self._requests, bucket, record.id)
        if before is not None and not before.deleted:
            return None
        revision = await keyvalue.put(
            self._requests,
            bucket,
            record.id,
            encode_record(record),
            expected_revision=0 if before is None else before.revision,
        )
        if revision is None:
            return None
        await self.tell(record)
        return Kept(record, revision)

    async def change(self, kept: Kept, record: ApprovalRecord) -> Kept | None:
        """
        Put a record in the place of the one that was read, and tell the audit; None when somebody else was first.

        Raises:
            FabricError: The server cannot be reached, or refuses. The record may have been changed.
        """
        revision = await keyvalue.put(
            self._requests,
            subjects.approvals_bucket(record.gated.scope),
            record.id,
            encode_record(record),
            expected_revision=kept.revision,
            ttl_s=OVER_KEPT_S if record.status in _OVER else None,
        )
        if revision is None:
            return None
        await self.tell(record)
        return Kept(record, revision)

    async def tell(self, record: ApprovalRecord) -> None:
        """
        Write the audit's line on what a request has become, if it is not there.

        Raises:
            FabricError: It could not be written; nothing may follow from the change.
        """
        scope = record.gated.scope
        entry = audit_of(record, now_unix_ms=unix_ms())
        subject, stream = subjects.audit(scope, record.id, record.status), subjects.audit_stream(scope)
        if await self._once(subject, stream, encode_audit(entry)):
            self._on_audit_line(scope)

    async def payload(self, record: ApprovalRecord) -> bytes | None:
        """The input that a request is about; None when it is not kept any more."""
        scope = record.gated.scope
        subject = subjects.step_payload(scope, record.gated.task, record.id)
        found = await last_message(self._requests, subjects.steps_stream(scope), subject)
        return None if found is None else found.body

    async def _once(self, subject: str, stream: str, body: bytes) -> bool:
        """Whether it was not there before."""

        def refused(reason: str) -> None:
            unsaid = self._sparing.due(reason)
            if unsaid is not None:
                logger.error("approval_not_kept", stream=stream, error=reason, unsaid=unsaid)

        destination = Destination(publish=subject, stream=stream, stored=subject)
        stored = await publish_once(
            self._requests, destination, body, patience_s=PATIENCE_S, on_refused=refused, refusals_max=3
        )
        if stored is Stored.NOT:
            raise FabricError(f"stream {stream}: what belongs to an approval could not be kept")
        return stored is Stored.NOW


def encode_audit(entry: AuditEntry) -> bytes:
    """A line of the audit as it is kept."""
    return encode(entry)
