"""
Requests for approval: what waits for a person's word before it may leave, and every step that such a request can take.

    pending ─▶ granted ─▶ consumed
       ├─────▶ denied
       ├─────▶ expired         nobody decided in time
       └─────▶ withdrawn       its task is over without it

Pure: `decide`, `at_gate` and `withdrawn` say what a record becomes, and whoever keeps it writes that with compare-and-set.
A request is named by the digest of all that it is about, so an approval of one thing is never that of another: a record
whose name and content differ does not decode.
"""

import hashlib
import unicodedata
from enum import Enum
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from flotilla.contracts.approvals import LIFETIME_S_MAX, Grant
from flotilla.contracts.decoding import UNDECODABLE, checked, safe_text
from flotilla.contracts.errors import DecodeFailedError
from flotilla.contracts.fields import Instance, Name, Sha256, Size, TaskId, Text, UnixMs, Word
from flotilla.contracts.headers import APPROVAL_LENGTH_MAX, DataClass
from flotilla.contracts.patterns import pattern
from flotilla.contracts.subjects import Zone

EXPIRES_S_MAX: Final = 30 * 86_400
USE_WITHIN_S: Final = 3600
"""How long after the decision a grant that is not signed may be used; a signed one says so itself."""
INDEX_MAX: Final = 100_000
ID: Final = pattern(r"^[0-9a-f]{32}\Z", "32 hexadecimal digits, in lower case")

Status = Literal["pending", "granted", "denied", "expired", "withdrawn", "consumed"]
Decision = Literal["grant", "deny"]
RequestId = Annotated[str, Meta(pattern=ID)]
Index = Annotated[int, Meta(ge=0, le=INDEX_MAX)]
GrantText = Annotated[
    str,
    Meta(min_length=1, max_length=APPROVAL_LENGTH_MAX, pattern=pattern(r"^[!-~]+\Z", "printable ASCII without blanks")),
]


class GatedInput(Struct, frozen=True, kw_only=True):
    """
    What a request is about; its digest names the request.

    Attributes:
        task: The durable task; of a step the run's.
        step: Of a pipeline; empty where the task itself waits.
        index: Of the item, where the step runs for each.
        zones: Where the input may go, in order.
        input_sha256: See `approvals.payload_digest`.
    """

    scope: Instance
    task: TaskId
    step: Word = ""
    index: Index | None = None
    capability: Name
    data_class: DataClass
    zones: Annotated[list[Zone], Meta(min_length=1, max_length=2)]
    input_sha256: Sha256


class ApprovalRecord(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    A request as it is kept.

    Who does not know a field of a later version does not act on the record: the field may forbid what is about to be done.

    Attributes:
        id: The first half of `digest`.
        digest: See `digest_of`.
        input_bytes: How long the input is that an approver is shown.
        submitted_by: Who submitted the task: whom the caller named in the label `submitted-by`, else the scope.
        group: Of the approvers who may grant it, with a signature, where the policy names groups; empty for all of the
            scope. Any of these may deny.
        four_eyes: Whether `submitted_by` may not decide, nor who may submit with the same credentials.
        expires_unix_ms: From then on it is denied.
        decided_by: The approver's public key where the decision is signed, else whom the approver's client named.
        decided_as: The user of NATS who asked for it, as the server says.
        usable_until_unix_ms: Of a grant: from then on nothing is sent with it.
        grant: The signed grant, which travels with the attempt.
        consumed_by: The one message of a stream whose delivery may use the grant.
    """

    format: Literal[1] = 1
    id: RequestId
    digest: Sha256
    gated: GatedInput
    input_bytes: Size = 0
    submitted_by: Word
    group: Word = ""
    four_eyes: bool = True
    created_unix_ms: UnixMs
    expires_unix_ms: UnixMs
    status: Status = "pending"
    decided_by: Word = ""
    decided_as: Word = ""
    decided_unix_ms: UnixMs = 0
    usable_until_unix_ms: UnixMs = 0
    comment: Text = ""
    grant: GrantText | None = None
    consumed_by: Word = ""


class Refusal(Enum):
    """Why a decision is not taken."""

    FOUR_EYES = "four_eyes"
    EXPIRED = "expired"
    ALREADY_DECIDED = "already_decided"
    WRONG_DIGEST = "wrong_digest"
    WRONG_GRANT = "wrong_grant"
    WRONG_GROUP = "wrong_group"


class Decided(Struct, frozen=True, kw_only=True):
    """
    What an approver says.

    Attributes:
        digest: Of what was shown; None where the request's id, which is half of it, must do.
        grant: The claims of the signed grant, whose signature has been checked; None where it is not signed.
        grant_text: The same as it travels.
        by: Whom the approver's client names.
        by_user: The user of NATS who asks.
        may_submit: Whether that user may submit tasks too, and so may have submitted this one.
        groups: Of whose key has signed the grant, empty where it is not signed; None where the policy names no groups,
            so that nobody can be held to one.
    """

    decision: Decision
    digest: str | None = None
    comment: str = ""
    grant: Grant | None = None
    grant_text: str | None = None
    by: str = ""
    by_user: str
    may_submit: bool = False
    groups: frozenset[str] | None = None


class Wait(Struct, frozen=True):
    """Nobody has decided yet."""

    until_unix_ms: int


class Pass(Struct, frozen=True):
    """The gate opens once this is written in the record's place, and only for whoever wrote it."""

    record: ApprovalRecord


class Shut(Struct, frozen=True):
    """It stays shut. `record` is to be written where it is given."""

    why: Literal["denied", "expired", "withdrawn"]
    record: ApprovalRecord | None = None


class InUse(Struct, frozen=True):
    """Another message of the same task has used the grant: only its delivery goes on, while the grant is good."""


AtGate = Wait | Pass | Shut | InUse

_encode_sorted: Final = msgspec.json.Encoder(order="sorted").encode
encode_record: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(ApprovalRecord).decode


def digest_of(gated: GatedInput) -> str:
    """The SHA-256, in hexadecimal, of all that a request is about: of its JSON with sorted keys."""
    return hashlib.sha256(_encode_sorted(gated)).hexdigest()


def new_record(
    gated: GatedInput,
    *,
    submitted_by: str,
    input_bytes: int,
    now_unix_ms: int,
    expires_unix_ms: int,
    group: str = "",
    four_eyes: bool = True,
) -> ApprovalRecord:
    """A request that nobody has decided; it expires within EXPIRES_S_MAX whatever is asked."""
    digest = digest_of(gated)
    return ApprovalRecord(
        id=digest[:32],
        digest=digest,
        gated=gated,
        input_bytes=input_bytes,
        submitted_by=submitted_by,
        group=group,
        four_eyes=four_eyes,
        created_unix_ms=now_unix_ms,
        expires_unix_ms=min(expires_unix_ms, now_unix_ms + EXPIRES_S_MAX * 1000),
    )


def decode_record(body: bytes) -> ApprovalRecord:
    """
    Decode what is kept of a request.

    Raises:
        DecodeFailedError: It is no record, is cut, of a later version, or its name is not that of what it is about.
    """
    try:
        record = _decode(checked(body))
    except UNDECODABLE as error:
        raise DecodeFailedError(f"approval record: {safe_text(error)}") from error
    if record.digest != digest_of(record.gated) or record.id != record.digest[:32]:
        raise DecodeFailedError("approval record: its digest is not that of what it is about")
    return record


def decide(record: ApprovalRecord, said: Decided, *, now_unix_ms: int) -> ApprovalRecord | Refusal:
    """
    What a decision makes of a request.

    Whoever submitted a task is known by name in more than one way, so four eyes compares it with each name of who decides.
    """
    if said.digest is not None and said.digest != record.digest:
        return Refusal.WRONG_DIGEST
    if record.status != "pending":
        return Refusal.EXPIRED if record.status == "expired" else Refusal.ALREADY_DECIDED
    if now_unix_ms >= record.expires_unix_ms:
        return Refusal.EXPIRED
    signer = said.grant.approver if said.grant is not None else ""
    names = {_as_compared(name) for name in (said.by, said.by_user, signer)}
    if record.four_eyes and (said.may_submit or _as_compared(record.submitted_by) in names):
        return Refusal.FOUR_EYES
    granted = said.decision == "grant"
    flaw = _grant_flaw(record, said, now_unix_ms=now_unix_ms) if granted else None
    if flaw is not None:
        return flaw
    until = said.grant.expires_unix_ms if said.grant is not None else now_unix_ms + USE_WITHIN_S * 1000
    return msgspec.structs.replace(
        record,
        status="granted" if granted else "denied",
        decided_by=signer or said.by or said.by_user,
        decided_as=said.by_user,
        decided_unix_ms=now_unix_ms,
        usable_until_unix_ms=until if granted else 0,
        comment=said.comment,
        grant=said.grant_text if granted else None,
    )


def _as_compared(name: str) -> str:
    """Of a name that two programs spell in two ways: without its case, its blanks, and how its characters are composed."""
    return "".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).split())


def _grant_flaw(record: ApprovalRecord, said: Decided, *, now_unix_ms: int) -> Refusal | None:
    if said.grant is not None and flaw_of(record, said.grant, now_unix_ms=now_unix_ms) is not None:
        return Refusal.WRONG_GRANT
    outside = record.group and said.groups is not None and record.group not in said.groups
    return Refusal.WRONG_GROUP if outside else None


def flaw_of(record: ApprovalRecord, grant: Grant, *, now_unix_ms: int) -> str | None:
    """Why a signed grant is not one for this request; None when it is. Names no part of the input."""
    gated = record.gated
    told = (
        ("scope", grant.scope, gated.scope),
        ("capability", grant.capability, gated.capability),
        ("data class", grant.data_class, gated.data_class),
        ("input", grant.input_sha256, gated.input_sha256),
        ("zones", sorted(set(grant.zones)), sorted(set(gated.zones))),
    )
    for what, granted, asked in told:
        if granted != asked:
            return f"it is for another {what}"
    if grant.expires_unix_ms <= now_unix_ms:
        return "it has expired"
    if grant.expires_unix_ms > now_unix_ms + LIFETIME_S_MAX * 1000:
        return f"it is good for longer than {LIFETIME_S_MAX} s"
    return None


def at_gate(record: ApprovalRecord, *, message: str, now_unix_ms: int) -> AtGate:
    """
    What a task that stands at its gate finds there.

    Args:
        record: As it was read last.
        message: The task's own message: its stream and sequence. What has used a grant is known by it.
        now_unix_ms: By this orchestrator's clock.
    """
    status, late = record.status, now_unix_ms >= record.usable_until_unix_ms
    if status == "pending" and now_unix_ms < record.expires_unix_ms:
        return Wait(record.expires_unix_ms)
    if status == "pending" or (status == "granted" and late):
        return Shut("expired", msgspec.structs.replace(record, status="expired", grant=None))
    if status == "granted":
        return Pass(msgspec.structs.replace(record, status="consumed", consumed_by=message))
    if status != "consumed":
        return Shut(status)
    if late:
        return Shut("expired")
    return Pass(record) if record.consumed_by == message else InUse()


def withdrawn(record: ApprovalRecord) -> ApprovalRecord | None:
    """The record of a request that nobody needs any more; None where somebody has decided it."""
    return msgspec.structs.replace(record, status="withdrawn") if record.status == "pending" else None
