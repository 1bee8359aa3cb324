"""What a caller gets: the result of a task, its pieces, events and dead-letter records, and the PubAck's shape."""

import hashlib
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from flotilla.contracts.attempts import Usage
from flotilla.contracts.decoding import UNDECODABLE, checked, safe_text
from flotilla.contracts.errors import DecodeFailedError
from flotilla.contracts.failures import ErrorBody
from flotilla.contracts.fields import (
    MS_MAX,
    CostUsd,
    Instance,
    Labels,
    MaybeInstance,
    MaybeName,
    ModelName,
    Name,
    Sequence,
    Sha256,
    Size,
    TaskId,
    Text,
    UnixMs,
    Word,
    is_bounded,
)
from flotilla.contracts.headers import DataClass
from flotilla.contracts.subjects import EventKind, Zone

REPORTS_MAX: Final = 10_000
SUBJECT_LENGTH_MAX: Final = 4_096
HEADERS_MAX: Final = 10_000

TookMs = Annotated[float, Meta(ge=-MS_MAX, le=MS_MAX)]
"""By two clocks of one host: it may come out a little below 0."""


HEDGE_REASON: Final = "hedge: "
"""Begins the reason of an attempt that was made beside one that took long."""


class AttemptReport(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    One attempt, as the result tells of it.

    Attributes:
        outcome: `ok`, or the kind of failure, or `cancelled`.
        latency_ms: From sending the request to its last reply.
        reason: Why this route was chosen at this moment.
        message: Of a failure; safe text.
    """

    pool: MaybeName
    model: ModelName
    outcome: Word
    latency_ms: TookMs
    reason: Text
    replica: MaybeInstance = ""
    message: Text = ""


STEPS_MAX: Final = 64
"""Of a pipeline."""
StepNames = Annotated[list[Word], Meta(max_length=STEPS_MAX)]


class StepReport(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    One step of a pipeline's run, as the result tells of it.

    Attributes:
        status: `succeeded`, `failed` or `skipped`; of a step that runs for each item, `failed` when one did.
        needs: The steps that had to end before it.
        tasks: How many it had: 1, or one for each item.
        failed: How many of them failed.
        kept: How many were not worked on, since an earlier run had their results.
        cached: How many were given the answer of another task (`Result.cached`).
        pool: Of its last task, as model and zone.
        latency_ms: From the first start to the last end.
        usage: Of all its tasks together.
        reason: Why its last task went there.
        error: The kind of its last failure.
    """

    name: Word
    capability: Name
    status: Word
    data_class: DataClass
    needs: StepNames = []
    tasks: Size = 1
    failed: Size = 0
    kept: Size = 0
    cached: Size = 0
    pool: MaybeName = ""
    model: ModelName = ""
    zone: Zone | UnsetType = UNSET
    latency_ms: TookMs = 0.0
    usage: Usage = Usage()
    reason: Text = ""
    error: Word = ""


class Result(Struct, frozen=True, kw_only=True):
    """
    The one committed result of a task; `status` is `ok` with `output`, or `failed` with `error`.

    Attributes:
        output: Valid against the capability's output schema.
        latency_ms: From acceptance by an orchestrator to the result.
        queued_ms: The part of it before the first attempt that found a slot.
        usage: Of all attempts together.
        steps: Of a pipeline's run, in the order of their first start.
        input_sha256: Of a durable task's input, so that a caller who uses an id twice sees which of two inputs it was.
        cached: True where the answer is another task's, of the same input: then nothing was asked of a model, and
            `provider`, `model`, `zone` and `pool` say who gave it to that task.
        original_task: That task's id.
        saved_usd: What the answer cost that task; unset where it is not known.
    """

    task: TaskId
    capability: Name
    status: Word
    output: msgspec.Raw | UnsetType = UNSET
    error: ErrorBody | UnsetType = UNSET
    provider: Word = ""
    model: ModelName = ""
    zone: Zone | UnsetType = UNSET
    pool: MaybeName = ""
    replica: MaybeInstance = ""
    latency_ms: TookMs = 0.0
    queued_ms: TookMs = 0.0
    usage: Usage = Usage()
    attempts: Annotated[list[AttemptReport], Meta(max_length=REPORTS_MAX)] = []
    labels: Labels | UnsetType = UNSET
    steps: Annotated[list[StepReport], Meta(max_length=REPORTS_MAX)] | UnsetType = UNSET
    input_sha256: Sha256 | UnsetType = UNSET
    cached: bool | UnsetType = UNSET
    original_task: TaskId | UnsetType = UNSET
    saved_usd: CostUsd | UnsetType = UNSET


class PieceMessage(Struct, frozen=True, kw_only=True, tag="piece"):
    """A piece of a streamed answer, as the caller sees it; the message without a `type` that follows is the result."""

    seq: Sequence
    text: str


class StepMessage(Struct, frozen=True, kw_only=True, omit_defaults=True, tag="step"):
    """
    A step of an asked run of a pipeline began, or a task of it ended; only for callers who want a stream.

    Attributes:
        step: Its name.
        status: Of a task that ended, whether it went well.
        index: Of the item, where the step runs for each.
        zone: Of a task that ended, as those that follow.
        latency_ms: From the task's start to its end.
        error: The kind of its failure.
    """

    step: Word
    capability: Name
    status: Literal["started", "succeeded", "failed"]
    index: Size | None = None
    pool: MaybeName = ""
    model: ModelName = ""
    zone: Zone | UnsetType = UNSET
    latency_ms: TookMs = 0.0
    error: Word = ""


class AcceptedMessage(Struct, frozen=True, kw_only=True, tag="accepted"):
    """The fleet has taken an `ask`, and its answer follows; only for callers who want to be told (`Flotilla-Accepted`)."""

    task: TaskId


class ErrorReply(Struct, frozen=True, kw_only=True):
    """The reply to a request that never became a task."""

    error: ErrorBody


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    A step in the life of a task.

    Attributes:
        at_unix_ms: By the orchestrator's clock.
        error: The kind of a failure.
        cost_usd: None where it is not known.
        step: Of a pipeline's run.
        needs: Of `step_started`, and where `kept` is true: the steps that had to end before it.
        kept: Of a step's end: it was not worked on now, since its result was there from before.
        cached: Of `finished`: the answer is another task's.
        data_class: Of `dispatched`: what a replica is given.
        outcome: Of a comparison with a shadow: `agreed`, `differed`, or `failed`.
    """

    task: TaskId
    capability: Name
    kind: EventKind
    at_unix_ms: UnixMs
    pool: MaybeName = ""
    model: ModelName = ""
    replica: MaybeInstance = ""
    error: Word = ""
    latency_ms: TookMs = 0.0
    cost_usd: CostUsd | None = 0.0
    labels: Labels = {}
    step: Word = ""
    needs: StepNames = []
    cached: bool = False
    outcome: Word = ""
    kept: bool = False
    data_class: DataClass | Literal[""] = ""


class DeadRecord(Struct, frozen=True, kw_only=True):
    """
    A task that could not be processed, why, and the original message.

    Attributes:
        subject: Where the task was published, in the FLEET account.
        headers: The original's, so that a retry is the same task; none where they could not be read.
        body: The original's bytes (base64 in JSON); empty where they would not fit into a message so.
        body_dropped_bytes: How many these were; unset where `body` has them.
        headers_dropped_bytes: How long the header block was that could not be read; unset where `headers` has it.
    """

    task: TaskId
    scope: Instance
    capability: Name
    error: ErrorBody
    at_unix_ms: UnixMs
    subject: Annotated[str, Meta(max_length=SUBJECT_LENGTH_MAX)]
    headers: Annotated[dict[str, str], Meta(max_length=HEADERS_MAX)]
    body: bytes
    data_class: DataClass = "internal"
    attempts: Annotated[list[AttemptReport], Meta(max_length=REPORTS_MAX)] = []
    body_dropped_bytes: Size | UnsetType = UNSET
    headers_dropped_bytes: Size | UnsetType = UNSET


_encoder: Final = msgspec.json.Encoder()
encode: Final = _encoder.encode
_decode_result: Final = msgspec.json.Decoder(Result).decode
_decode_answer: Final[Any] = msgspec.json.Decoder(PieceMessage).decode
_decode_step: Final = msgspec.json.Decoder(StepMessage).decode
_decode_accepted: Final = msgspec.json.Decoder(AcceptedMessage).decode
_decode_dead: Final = msgspec.json.Decoder(DeadRecord).decode
_decode_event: Final = msgspec.json.Decoder(Event).decode
_decode_error: Final = msgspec.json.Decoder(ErrorReply).decode
_WithError = TypeVar("_WithError", Result, ErrorReply, DeadRecord)
_PIECE_START: Final = b'{"type":"piece"'
_STEP_START: Final = b'{"type":"step"'


def input_digest(body: bytes) -> str:
    """What `input_sha256` is for an input: the SHA-256 of its bytes as they were sent, in hexadecimal."""
    return hashlib.sha256(body).hexdigest()


def decode_answer(body: bytes) -> PieceMessage | StepMessage | Result | ErrorReply:
    """
    Decode a reply to `ask`: a piece, word of a step, the result, or the error of a request that never became a task.

    Raises:
        DecodeFailedError: It is none of them.
    """
    try:
        if body.startswith(_PIECE_START):
            return _decode_answer(checked(body))
        if body.startswith(_STEP_START):
            return _decode_step(checked(body))
        try:
            return _bounded(_decode_result(checked(body)))
        except msgspec.ValidationError:
            return _bounded(_decode_error(body))
    except UNDECODABLE as error:
        raise DecodeFailedError(f"answer: {safe_text(error)}") from error


def decode_accepted(body: bytes) -> AcceptedMessage:
    """
    Decode the word that an `ask` was taken.

    Raises:
        DecodeFailedError: It is not that.
    """
    try:
        return _decode_accepted(checked(body))
    except UNDECODABLE as error:
        raise DecodeFailedError(f"acceptance: {safe_text(error)}") from error


def decode_result(body: bytes) -> Result:
    """
    Decode a committed result.

    Raises:
        DecodeFailedError: It is not one.
    """
    try:
        return _bounded(_decode_result(checked(body)))
    except UNDECODABLE as error:
        raise DecodeFailedError(f"result: {safe_text(error)}") from error


def decode_event(body: bytes) -> Event:
    """
    Decode an event.

    Raises:
        DecodeFailedError: It is not one.
    """
    try:
        return _decode_event(checked(body))
    except UNDECODABLE as error:
        raise DecodeFailedError(f"event: {safe_text(error)}") from error


def decode_dead(body: bytes) -> DeadRecord:
    """
    Decode a dead-letter record.

    Raises:
        DecodeFailedError: It is not one.
    """
    try:
        return _bounded(_decode_dead(checked(body)))
    except UNDECODABLE as error:
        raise DecodeFailedError(f"dead record: {safe_text(error)}") from error


def _bounded(message: _WithError) -> _WithError:
    """What stands in `details` has no fixed shape."""
    error = message.error
    if isinstance(error, ErrorBody) and error.details and not is_bounded(error.details):
        raise OverflowError
    return message
