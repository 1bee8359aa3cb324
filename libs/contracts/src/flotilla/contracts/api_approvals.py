"""
Questions of approvers: the bodies of `api.approvals` and `api.decide`, and of their answers.

Only the scope's approver may ask them (and the fleet's admin): the answers hold whole inputs.
"""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from flotilla.contracts.approval_requests import ApprovalRecord, Decision, GrantText, Index, RequestId, Status
from flotilla.contracts.decoding import UNDECODABLE, checked, safe_text
from flotilla.contracts.errors import DecodeFailedError
from flotilla.contracts.fields import Instance, Name, Sha256, TaskId, Text, UnixMs, Word
from flotilla.contracts.headers import DataClass
from flotilla.contracts.subjects import Zone

APPROVALS_LIST_MAX = 1000
APPROVALS_LIST_DEFAULT = 100


class ApprovalsQuery(Struct, frozen=True, kw_only=True):
    """
    `api.approvals`: `list` requests (ApprovalList), `show` one with its input (ApprovalShown), or read the `audit`.

    Attributes:
        id: For `show`; of the audit, of one request alone.
        status: For `list`: those that wait, or all that are kept.
        limit: For `list`, the oldest that wait first; for `audit`, the newest first.
    """

    verb: Literal["list", "show", "audit"] = "list"
    id: RequestId | None = None
    status: Literal["pending", "all"] = "pending"
    limit: Annotated[int, Meta(ge=1, le=APPROVALS_LIST_MAX)] = APPROVALS_LIST_DEFAULT


class ApprovalEntry(Struct, frozen=True, kw_only=True):
    """
    One request as an approver sees it; see `ApprovalRecord`.

    Attributes:
        digest: To be sent back with the decision.
        signed: Whether it was granted with a signature.
    """

    id: str
    digest: str
    scope: str
    task: str
    step: str = ""
    index: int | None = None
    capability: str
    data_class: DataClass
    zones: list[Zone]
    input_sha256: str
    input_bytes: int = 0
    submitted_by: str
    group: str = ""
    four_eyes: bool = True
    created_unix_ms: int
    expires_unix_ms: int
    status: Status
    decided_by: str = ""
    decided_unix_ms: int = 0
    comment: str = ""
    signed: bool = False


class ApprovalList(Struct, frozen=True, kw_only=True):
    """
    Requests, the oldest first.

    Attributes:
        waiting: How many wait in all.
    """

    approvals: list[ApprovalEntry]
    waiting: int = 0


class ApprovalShown(Struct, frozen=True, kw_only=True):
    """
    One request, and the whole input that would leave.

    Attributes:
        payload: JSON; null where it is not kept any more, and then the request cannot be granted.
    """

    approval: ApprovalEntry
    payload: msgspec.Raw


class DecideQuery(Struct, frozen=True, kw_only=True):
    """
    `api.decide`: grant a request or deny it; answered with the ApprovalEntry that it became.

    Saying the same again is answered the same. Refused with `not_found`, `conflict` (`details.refusal` is one of
    `already_decided`, `expired`, `wrong_digest`) or `not_permitted` (`four_eyes`, `wrong_grant`, `wrong_group`).

    Attributes:
        digest: Of what was shown.
        grant: Signed with the approver's key, for workers that ask for one; it must be for this very request.
        by: The name of who decides, for the audit.
    """

    id: RequestId
    decision: Decision
    digest: Sha256 | None = None
    comment: Text = ""
    grant: GrantText | None = None
    by: Word = ""


class AuditEntry(Struct, frozen=True, kw_only=True):
    """
    One line of the audit: what became of a request, who did it, and why. It is written once and never changed.

    Attributes:
        status: What the request became; `pending` says that it was made.
        who: Who decided; of a request, who submitted the task.
        who_as: The user of NATS who decided, as the server says.
        consumed_by: The message whose delivery used the grant.
    """

    at_unix_ms: UnixMs
    id: RequestId
    digest: Sha256
    scope: Instance
    task: TaskId
    step: Word = ""
    index: Index | None = None
    capability: Name
    data_class: DataClass
    zones: Annotated[list[Zone], Meta(max_length=2)]
    status: Status
    who: Word = ""
    who_as: Word = ""
    comment: Text = ""
    signed: bool = False
    consumed_by: Word = ""


class AuditList(Struct, frozen=True, kw_only=True):
    """Lines of the audit, the newest first."""

    audit: list[AuditEntry]


_decode_audit: Final = msgspec.json.Decoder(AuditEntry).decode


def decode_audit(body: bytes) -> AuditEntry:
    """
    Decode a line of the audit.

    Raises:
        DecodeFailedError: It is none.
    """
    try:
        return _decode_audit(checked(body))
    except UNDECODABLE as error:
        raise DecodeFailedError(f"audit: {safe_text(error)}") from error


def entry_of(record: ApprovalRecord) -> ApprovalEntry:
    """What an approver is shown of a record: all but the grant, which whoever has it could send along."""
    gated = record.gated
    return ApprovalEntry(
        id=record.id,
        digest=record.digest,
        scope=gated.scope,
        task=gated.task,
        step=gated.step,
        index=gated.index,
        capability=gated.capability,
        data_class=gated.data_class,
        zones=gated.zones,
        input_sha256=gated.input_sha256,
        input_bytes=record.input_bytes,
        submitted_by=record.submitted_by,
        group=record.group,
        four_eyes=record.four_eyes,
        created_unix_ms=record.created_unix_ms,
        expires_unix_ms=record.expires_unix_ms,
        status=record.status,
        decided_by=record.decided_by,
        decided_unix_ms=record.decided_unix_ms,
        comment=record.comment,
        signed=record.grant is not None,
    )


def audit_of(record: ApprovalRecord, *, now_unix_ms: int) -> AuditEntry:
    """The line that says what a record has become."""
    gated = record.gated
    return AuditEntry(
        at_unix_ms=now_unix_ms,
        id=record.id,
        digest=record.digest,
        scope=gated.scope,
        task=gated.task,
        step=gated.step,
        index=gated.index,
        capability=gated.capability,
        data_class=gated.data_class,
        zones=gated.zones,
        status=record.status,
        who=record.decided_by or (record.submitted_by if record.status == "pending" else ""),
        who_as=record.decided_as,
        comment=record.comment,
        signed=record.grant is not None,
        consumed_by=record.consumed_by,
    )
