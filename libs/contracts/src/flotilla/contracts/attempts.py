"""
What passes between an orchestrator and a worker: the request, and the replies on the attempt's private inbox.

Each is a tagged union of JSON objects with `type` first. Decoders ignore fields they do not know.
"""

from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from flotilla.contracts.decoding import UNDECODABLE, checked, safe_text
from flotilla.contracts.errors import DecodeFailedError
from flotilla.contracts.failures import FailureKind
from flotilla.contracts.fields import (
    COST_USD_MAX,
    MODEL_LENGTH_MAX,
    TOKENS_MAX,
    TRACESTATE_LENGTH_MAX,
    WORD_LENGTH_MAX,
    CostUsd,
    Instance,
    Ms,
    RetryAfterS,
    Sequence,
    Text,
    Tokens,
    UnixMs,
    are_words,
)
from flotilla.contracts.headers import APPROVAL_LENGTH_MAX, LABEL_LENGTH_MAX, DataClass
from flotilla.contracts.names import NAME_LENGTH_MAX
from flotilla.contracts.patterns import pattern
from flotilla.contracts.redaction import RedactionPolicy

ATTEMPTS_ASKED_MAX: Final = 1_000

# Of the two messages that every attempt has; what they may hold besides is looked up by `are_words`.
_Model = Annotated[str, Meta(max_length=MODEL_LENGTH_MAX)]
_Word = Annotated[str, Meta(max_length=WORD_LENGTH_MAX)]

AttemptId = Annotated[str, Meta(pattern=pattern(r"^[A-Za-z0-9_.-]{1,128}\Z", "1 to 128 of A-Z, a-z, 0-9, _, . and -"))]
AttemptIds = Annotated[list[AttemptId], Meta(max_length=ATTEMPTS_ASKED_MAX)]


UNPRICED_MAX: Final = 1_000_000
Unpriced = Annotated[int, Meta(ge=0, le=UNPRICED_MAX)]


class AttemptOptions(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    What travels with an attempt besides the task's input.

    Attributes:
        scope: Whose task it is, for the capabilities of `redaction` and beside a grant: both are good in one scope.
        redaction: The policy's, for `redact`; None where it says nothing. Workers cannot read the policy itself.
        approval: The caller's grant, as it came (`approvals.py`).
    """

    traceparent: Annotated[str, Meta(max_length=LABEL_LENGTH_MAX)] | None = None
    tracestate: Annotated[str, Meta(max_length=TRACESTATE_LENGTH_MAX)] | None = None
    scope: Annotated[str, Meta(max_length=NAME_LENGTH_MAX)] | None = None
    redaction: RedactionPolicy | None = None
    approval: Annotated[str, Meta(max_length=APPROVAL_LENGTH_MAX)] | None = None


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

    task: _Word
    attempt: _Word
    capability: _Word
    model: _Model
    input: msgspec.Raw
    options: AttemptOptions = AttemptOptions()
    deadline_unix_ms: UnixMs
    data_class: DataClass
    stream: bool = False


class Usage(Struct, frozen=True, kw_only=True):
    """
    What an answer consumed.

    Attributes:
        input_tokens: In the model's own tokens; zero for engines that do not count.
        cost_usd: By the public price list for the provider and model; zero for one's own hardware, None where it is
            not known: the model has no price there, or the provider did not say what it counted.
        unpriced: Attempts without an answer (broken off, cancelled, timed out, lost) for which a provider may charge, and
            nobody knows how much; `cost_usd` is without them.
    """

    input_tokens: Tokens = 0
    output_tokens: Tokens = 0
    cost_usd: CostUsd | None = 0.0
    unpriced: Unpriced | UnsetType = UNSET

    def __add__(self, other: "Usage") -> "Usage":
        # A sum beyond the bounds could not be read again.
        return Usage(
            input_tokens=min(TOKENS_MAX, self.input_tokens + other.input_tokens),
            output_tokens=min(TOKENS_MAX, self.output_tokens + other.output_tokens),
            cost_usd=None if self.cost_usd is None or other.cost_usd is None else _cost(self.cost_usd + other.cost_usd),
            unpriced=min(UNPRICED_MAX, (self.unpriced or 0) + (other.unpriced or 0)) or UNSET,
        )

    def without_answer(self) -> "Usage":
        """What an attempt that came to no answer consumed: what is known of it, and that its provider may charge more."""
        return msgspec.structs.replace(self, cost_usd=self.cost_usd or 0.0, unpriced=1)

    def bounded(self) -> "Usage":
        """The same, within what can be sent: a provider may say anything."""
        return Usage(
            input_tokens=max(0, min(TOKENS_MAX, self.input_tokens)),
            output_tokens=max(0, min(TOKENS_MAX, self.output_tokens)),
            cost_usd=None if self.cost_usd is None else _cost(self.cost_usd),
        )


def _cost(usd: float) -> float:
    return min(COST_USD_MAX, usd) if usd >= 0.0 else 0.0  # NaN is not


class Timings(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    Where a worker's time went.

    Attributes:
        provider_ms: In calls to the model, repair included.
        first_piece_ms: From the start of the work to its first piece; None when nothing was streamed.
    """

    provider_ms: Ms = 0.0
    first_piece_ms: Ms | None = None


class Busy(Struct, frozen=True, tag="busy"):
    """No slot is free here: the request came in the moment of leaving the queue group. Ask another."""


class Accepted(Struct, frozen=True, kw_only=True, tag="accepted"):
    """Work has begun and will take longer than a moment; `progress` follows every second."""

    replica: Instance


class Progress(Struct, frozen=True, tag="progress"):
    """The work goes on; the replica is alive."""


class Piece(Struct, frozen=True, kw_only=True, tag="piece"):
    """
    A piece of a streamed answer.

    Attributes:
        seq: Counts from 0 without gaps within the attempt.
    """

    seq: Sequence
    text: str


class Finished(Struct, frozen=True, kw_only=True, tag="finished"):
    """
    The worker's last word on an attempt that went well.

    Attributes:
        output: Valid against the capability's output schema; checked by the worker.
        provider: Who computed it: `ollama`, `openai`, `anthropic`, `embedded`, ...
        model: The model that the provider says it used.
        replica: Its name, or empty.
    """

    output: msgspec.Raw
    usage: Usage = Usage()
    provider: _Word
    model: _Model
    timings: Timings = Timings()
    replica: _Word = ""


class Failed(Struct, frozen=True, kw_only=True, tag="failed"):
    """
    The worker's last word on an attempt that failed.

    Attributes:
        message: Safe to show to the caller: no document text, no keys.
        retry_after_s: As the provider asked, in seconds.
        usage: Tokens that were spent all the same.
    """

    kind: FailureKind
    message: Text
    retry_after_s: RetryAfterS | None = None
    replica: _Word = ""
    usage: Usage = Usage()


WorkerReply = Busy | Accepted | Progress | Piece | Finished | Failed


class CancelAttempt(Struct, frozen=True, kw_only=True, tag="cancel"):
    """To one replica: stop this attempt, nobody waits for it."""

    attempt: AttemptId


class Drain(Struct, frozen=True, tag="drain"):
    """To one replica: finish what you hold, then leave."""


class InFlightCheck(Struct, frozen=True, kw_only=True, tag="roll_call"):
    """
    To every replica of a pool: which of these attempts do you hold? Answered with a `InFlightAnswer` on the reply subject.

    In a cluster of servers an attempt can be dropped without a word: it was on its way to a replica's node when the
    replica, full now, left its queue group there. When no replica holds it, it is known to be lost.
    """

    attempts: AttemptIds


ControlMessage = CancelAttempt | Drain | InFlightCheck


class InFlightAnswer(Struct, frozen=True, kw_only=True):
    """
    A replica's answer to an in-flight check.

    Attributes:
        attempts: Those of the ones asked for that it holds.
    """

    replica: Instance
    attempts: AttemptIds


class SlotFree(Struct, frozen=True, kw_only=True):
    """
    From a replica that was full: it has a free slot again.

    Attributes:
        attempt: The attempt whose end freed the slot; the orchestrator that made it knows already.
    """

    replica: Instance
    attempt: AttemptId


SLOT_FREE_BYTES_MAX: Final = 1024

_encoder: Final = msgspec.json.Encoder()
encode: Final = _encoder.encode
_decode_request: Final = msgspec.json.Decoder(InferRequest).decode
_decode_reply: Final[Callable[[bytes], WorkerReply]] = msgspec.json.Decoder(WorkerReply).decode  # pyright: ignore[reportAssignmentType]  # a union is no type to it
_decode_control: Final[Any] = msgspec.json.Decoder(ControlMessage).decode
_decode_slot_free: Final = msgspec.json.Decoder(SlotFree).decode
_decode_in_flight_answer: Final = msgspec.json.Decoder(InFlightAnswer).decode

BUSY: Final = encode(Busy())
PROGRESS: Final = encode(Progress())


def decode_request(body: bytes) -> InferRequest:
    """
    Decode an orchestrator's request.

    Raises:
        DecodeFailedError: It is not one.
    """
    try:
        request = _decode_request(checked(body))
    except UNDECODABLE as error:
        raise DecodeFailedError(f"infer request: {safe_text(error)}") from error
    if not (
        are_words(request.capability, request.model) and request.task.isprintable() and request.attempt.isprintable()
    ):
        raise DecodeFailedError("infer request: task, attempt, capability or model is not of the form")
    return request


def decode_reply(body: bytes) -> WorkerReply:
    """
    Decode a worker's reply.

    Raises:
        DecodeFailedError: It is not one; the dispatcher counts the attempt as crashed.
    """
    try:
        reply = _decode_reply(checked(body))
    except UNDECODABLE as error:
        raise DecodeFailedError(f"worker reply: {safe_text(error)}") from error
    if isinstance(reply, Finished) and not are_words(reply.replica, reply.provider, reply.model):
        raise DecodeFailedError("worker reply: replica, provider or model is not of the form")
    if isinstance(reply, Failed) and not are_words(reply.replica):
        raise DecodeFailedError("worker reply: replica is not of the form")
    return reply


def decode_control(body: bytes) -> ControlMessage:
    """
    Decode a control message to a replica.

    Raises:
        DecodeFailedError: It is not one.
    """
    try:
        return _decode_control(checked(body))
    except UNDECODABLE as error:
        raise DecodeFailedError(f"control message: {safe_text(error)}") from error


def decode_slot_free(body: bytes) -> SlotFree:
    """
    Decode a free-slot signal. Every orchestrator hears those of every pool, so one that is too long is not looked at.

    Raises:
        DecodeFailedError: It is not one.
    """
    if len(body) > SLOT_FREE_BYTES_MAX:
        raise DecodeFailedError(f"slot signal: more than {SLOT_FREE_BYTES_MAX} bytes")
    try:
        return _decode_slot_free(checked(body))
    except UNDECODABLE as error:
        raise DecodeFailedError(f"slot signal: {safe_text(error)}") from error


def decode_in_flight_answer(body: bytes) -> InFlightAnswer:
    """
    Decode an answer to an in-flight check.

    Raises:
        DecodeFailedError: It is not one.
    """
    try:
        return _decode_in_flight_answer(checked(body))
    except UNDECODABLE as error:
        raise DecodeFailedError(f"roll: {safe_text(error)}") from error
