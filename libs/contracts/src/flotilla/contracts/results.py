"""What a caller gets: the result of a task, its pieces, events and dead-letter records, and the PubAck's shape."""

from typing import Any, Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from flotilla.contracts.attempts import UNDECODABLE, Usage, safe_text
from flotilla.contracts.errors import DecodeFailedError
from flotilla.contracts.failures import ErrorBody
from flotilla.contracts.headers import DataClass
from flotilla.contracts.subjects import EventKind, Zone


class AttemptReport(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    One attempt, as the result tells of it.

    Attributes:
        outcome: `ok`, or the kind of failure, or `cancelled`.
        latency_ms: From sending the request to its last reply.
        reason: Why this route was chosen at this moment.
        message: Of a failure; safe text.
    """

    pool: str
    model: str
    outcome: str
    latency_ms: float
    reason: str
    replica: str = ""
    message: str = ""


class Result(Struct, frozen=True, kw_only=True):
    """
    The one committed result of a task; `status` is `ok` with `output`, or `failed` with `error`.

    Attributes:
        output: Valid against the capability's output schema.
        latency_ms: From acceptance by an orchestrator to the result.
        queued_ms: The part of it before the first attempt that found a slot.
        usage: Of all attempts together.
    """

    task: str
    capability: str
    status: str
    output: msgspec.Raw | UnsetType = UNSET
    error: ErrorBody | UnsetType = UNSET
    provider: str = ""
    model: str = ""
    zone: Zone | UnsetType = UNSET
    pool: str = ""
    replica: str = ""
    latency_ms: float = 0.0
    queued_ms: float = 0.0
    usage: Usage = Usage()
    attempts: list[AttemptReport] = []
    labels: dict[str, str] | UnsetType = UNSET


class PieceMessage(Struct, frozen=True, kw_only=True, tag="piece"):
    """A piece of a streamed answer, as the caller sees it; the message without a `type` that follows is the result."""

    seq: int
    text: str


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
    """

    task: str
    capability: str
    kind: EventKind
    at_unix_ms: int
    pool: str = ""
    model: str = ""
    replica: str = ""
    error: str = ""
    latency_ms: float = 0.0
    cost_usd: float | None = 0.0
    labels: dict[str, str] = {}


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

    task: str
    scope: str
    capability: str
    error: ErrorBody
    at_unix_ms: int
    subject: str
    headers: dict[str, str]
    body: bytes
    data_class: DataClass = "internal"
    attempts: list[AttemptReport] = []
    body_dropped_bytes: int | UnsetType = UNSET
    headers_dropped_bytes: int | UnsetType = UNSET


_encoder: Final = msgspec.json.Encoder()
encode: Final = _encoder.encode
_decode_result: Final = msgspec.json.Decoder(Result).decode
_decode_answer: Final[Any] = msgspec.json.Decoder(PieceMessage).decode
_decode_dead: Final = msgspec.json.Decoder(DeadRecord).decode
_decode_event: Final = msgspec.json.Decoder(Event).decode
_decode_error: Final = msgspec.json.Decoder(ErrorReply).decode
_PIECE_START: Final = b'{"type":"piece"'


def decode_answer(body: bytes) -> PieceMessage | Result | ErrorReply:
    """
    Decode a reply to `ask`: a piece, the result, or the error of a request that never became a task.

    Raises:
        DecodeFailedError: It is none of them.
    """
    try:
        if body.startswith(_PIECE_START):
            return _decode_answer(body)
        try:
            return _decode_result(body)
        except msgspec.ValidationError:
            return _decode_error(body)
    except UNDECODABLE as error:
        raise DecodeFailedError(f"answer: {safe_text(error)}") from error


def decode_result(body: bytes) -> Result:
    """
    Decode a committed result.

    Raises:
        DecodeFailedError: It is not one.
    """
    try:
        return _decode_result(body)
    except UNDECODABLE as error:
        raise DecodeFailedError(f"result: {safe_text(error)}") from error


def decode_event(body: bytes) -> Event:
    """
    Decode an event.

    Raises:
        DecodeFailedError: It is not one.
    """
    try:
        return _decode_event(body)
    except UNDECODABLE as error:
        raise DecodeFailedError(f"event: {safe_text(error)}") from error


def decode_dead(body: bytes) -> DeadRecord:
    """
    Decode a dead-letter record.

    Raises:
        DecodeFailedError: It is not one.
    """
    try:
        return _decode_dead(body)
    except UNDECODABLE as error:
        raise DecodeFailedError(f"dead record: {safe_text(error)}") from error
