"""
What passes between an orchestrator and a worker: the request, and the replies on the attempt's private inbox.

Each is a tagged union of JSON objects with `type` first. Decoders ignore fields they do not know.
"""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from flotilla.contracts.errors import DecodeFailedError
from flotilla.contracts.failures import FailureKind
from flotilla.contracts.headers import DataClass

MODEL_LENGTH_MAX: Final = 128
MESSAGE_LENGTH_MAX: Final = 500

ModelName = Annotated[str, Meta(max_length=MODEL_LENGTH_MAX)]
Tokens = Annotated[int, Meta(ge=0)]


class AttemptOptions(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What travels with an attempt besides the task's input."""

    traceparent: str | None = None
    tracestate: str | None = None


class InferRequest(Struct, frozen=True, kw_only=True, tag="infer"):
    """
    One attempt: run this input through this model.

    Attributes:
        task: For logs and traces; not unique to the attempt.
        attempt: Unique in the fleet; begins with the orchestrator's id.
        input: The capability's input, as the caller sent it.
        deadline_unix_ms: When nobody wants the answer any more, in ms since 1970 by the orchestrator's clock.
        stream: Whether pieces are wanted as they come.
    """

    task: str
    attempt: str
    capability: str
    model: ModelName
    input: msgspec.Raw
    options: AttemptOptions = AttemptOptions()
    deadline_unix_ms: int
    data_class: DataClass
    stream: bool = False


class Usage(Struct, frozen=True, kw_only=True):
    """
    What an answer consumed.

    Attributes:
        input_tokens: In the model's own tokens; zero for engines that do not count.
        cost_usd: By the public price list for the provider and model; zero for one's own hardware, None where it is
            not known: the model has no price there, or the provider did not say what it counted.
    """

    input_tokens: Tokens = 0
    output_tokens: Tokens = 0
    cost_usd: Annotated[float, Meta(ge=0)] | None = 0.0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cost_usd=None if self.cost_usd is None or other.cost_usd is None else self.cost_usd + other.cost_usd,
        )


class Timings(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    Where a worker's time went.

    Attributes:
        provider_ms: In calls to the model, repair included.
        first_piece_ms: From the start of the work to its first piece; None when nothing was streamed.
    """

    provider_ms: float = 0.0
    first_piece_ms: float | None = None


class Busy(Struct, frozen=True, tag="busy"):
    """No slot is free here: the request came in the moment of leaving the queue group. Ask another."""


class Accepted(Struct, frozen=True, kw_only=True, tag="accepted"):
    """Work has begun and will take longer than a moment; `progress` follows every second."""

    replica: str


class Progress(Struct, frozen=True, tag="progress"):
    """The work goes on; the replica is alive."""


class Piece(Struct, frozen=True, kw_only=True, tag="piece"):
    """
    A piece of a streamed answer.

    Attributes:
        seq: Counts from 0 without gaps within the attempt.
    """

    seq: int
    text: str


class Finished(Struct, frozen=True, kw_only=True, tag="finished"):
    """
    The worker's last word on an attempt that went well.

    Attributes:
        output: Valid against the capability's output schema; checked by the worker.
        provider: Who computed it: `ollama`, `openai`, `anthropic`, `embedded`, ...
        model: The model that the provider says it used.
    """

    output: msgspec.Raw
    usage: Usage = Usage()
    provider: str
    model: ModelName
    timings: Timings = Timings()
    replica: str = ""


class Failed(Struct, frozen=True, kw_only=True, tag="failed"):
    """
    The worker's last word on an attempt that failed.

    Attributes:
        message: Safe to show to the caller: no document text, no keys.
        retry_after_s: As the provider asked, in seconds.
        usage: Tokens that were spent all the same.
    """

    kind: FailureKind
    message: Annotated[str, Meta(max_length=MESSAGE_LENGTH_MAX)]
    retry_after_s: float | None = None
    replica: str = ""
    usage: Usage = Usage()


WorkerReply = Busy | Accepted | Progress | Piece | Finished | Failed


class CancelAttempt(Struct, frozen=True, kw_only=True, tag="cancel"):
    """To one replica: stop this attempt, nobody waits for it."""

    attempt: str


class Drain(Struct, frozen=True, tag="drain"):
    """To one replica: finish what you hold, then leave."""


class RollCall(Struct, frozen=True, kw_only=True, tag="roll_call"):
    """
    To every replica of a pool: which of these attempts do you hold? Answered with a `Roll` on the reply subject.

    In a cluster of servers an attempt can be dropped without a word: it was on its way to a replica's node when the
    replica, full now, left its queue group there. When no replica holds it, it is known to be lost.
    """

    attempts: list[str]


ControlMessage = CancelAttempt | Drain | RollCall


class Roll(Struct, frozen=True, kw_only=True):
    """
    A replica's answer to a roll call.

    Attributes:
        attempts: Those of the ones asked for that it holds.
    """

    replica: str
    attempts: list[str]


class SlotFree(Struct, frozen=True, kw_only=True):
    """
    From a replica that was full: it has a free slot again.

    Attributes:
        attempt: The attempt whose end freed the slot; the orchestrator that made it knows already.
    """

    replica: str
    attempt: str


_encoder: Final = msgspec.json.Encoder()
encode: Final = _encoder.encode
_decode_request: Final = msgspec.json.Decoder(InferRequest).decode
_decode_reply: Final[Any] = msgspec.json.Decoder(WorkerReply).decode
_decode_control: Final[Any] = msgspec.json.Decoder(ControlMessage).decode
_decode_slot_free: Final = msgspec.json.Decoder(SlotFree).decode
_decode_roll: Final = msgspec.json.Decoder(Roll).decode

UNDECODABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises on bytes that are not the message: three classes that share no base."""

BUSY: Final = encode(Busy())
PROGRESS: Final = encode(Progress())


def decode_request(body: bytes) -> InferRequest:
    """
    Decode an orchestrator's request.

    Raises:
        DecodeFailedError: It is not one.
    """
    try:
        return _decode_request(body)
    except UNDECODABLE as error:
        raise DecodeFailedError(f"infer request: {safe_text(error)}") from error


def decode_reply(body: bytes) -> WorkerReply:
    """
    Decode a worker's reply.

    Raises:
        DecodeFailedError: It is not one; the dispatcher counts the attempt as crashed.
    """
    try:
        return _decode_reply(body)
    except UNDECODABLE as error:
        raise DecodeFailedError(f"worker reply: {safe_text(error)}") from error


def decode_control(body: bytes) -> ControlMessage:
    """
    Decode a control message to a replica.

    Raises:
        DecodeFailedError: It is not one.
    """
    try:
        return _decode_control(body)
    except UNDECODABLE as error:
        raise DecodeFailedError(f"control message: {safe_text(error)}") from error


def decode_slot_free(body: bytes) -> SlotFree:
    """
    Decode a free-slot signal.

    Raises:
        DecodeFailedError: It is not one.
    """
    try:
        return _decode_slot_free(body)
    except UNDECODABLE as error:
        raise DecodeFailedError(f"slot signal: {safe_text(error)}") from error


def decode_roll(body: bytes) -> Roll:
    """
    Decode an answer to a roll call.

    Raises:
        DecodeFailedError: It is not one.
    """
    try:
        return _decode_roll(body)
    except UNDECODABLE as error:
        raise DecodeFailedError(f"roll: {safe_text(error)}") from error


def safe_text(error: BaseException) -> str:
    """
    The reason that bytes did not decode, without the bytes.

    msgspec's messages name the path and the types; those about enums and tags quote the value, which is the sender's
    text, so the quotation is cut.
    """
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    text = str(error)
    if text.startswith(("Invalid value", "Invalid enum value")):
        _, at, path = text.partition(" - at ")
        return f"value not allowed{at}{path}"
    return text[:MESSAGE_LENGTH_MAX]
