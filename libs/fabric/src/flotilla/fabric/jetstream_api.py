"""
JetStream's API as nats-server speaks it: its subjects, its error codes, and the acknowledgement of a publish.

The only place that spells these out. Subjects are those of ADR-1 and `server/jetstream_api.go`; codes have the names that
`server/errors.json` gives them, without `JS`, and without the `Err` and `F` at the end.
"""

from enum import IntEnum
from typing import Any, Final

import msgspec
from msgspec import Struct

from flotilla.contracts.decoding import UNDECODABLE, safe_text
from flotilla.contracts.errors import DecodeFailedError

API: Final = "$JS.API"
ACKS: Final = "$JS.ACK.>"
"""What a consumer's messages are acknowledged on."""
MAX_DELIVERIES_ADVISORIES: Final = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>"

ACCOUNT_INFO: Final = f"{API}.INFO"
STREAM_NAMES: Final = f"{API}.STREAM.NAMES"
STREAM_LIST: Final = f"{API}.STREAM.LIST"

EXPECTED_STREAM: Final = "Nats-Expected-Stream"
"""A stream of another name takes no message that has it."""
EXPECTED_LAST_SEQUENCE: Final = "Nats-Expected-Last-Sequence"
EXPECTED_LAST_SUBJECT_SEQUENCE: Final = "Nats-Expected-Last-Subject-Sequence"
SCHEDULE: Final = "Nats-Schedule"
"""When a message is due (ADR-51), as `@at 2026-11-29T10:15:00Z`; a time that has passed is now."""
SCHEDULE_TARGET: Final = "Nats-Schedule-Target"
"""On which subject of the same stream it is delivered then."""


NOT_FOUND: Final = 404
UNAVAILABLE: Final = 503
"""The server's word for: not now."""


class ErrorCode(IntEnum):
    """
    JetStream's `err_code`: of those that it has, the ones that somebody here decides by.

    Attributes:
        STREAM_WRONG_LAST_SEQUENCE: The subject or stream holds something newer than what was expected.
        STREAM_WRONG_LAST_SEQUENCE_CONSTANT: A cluster's word for: another write to this subject is being agreed on, so
            the sequence cannot be told yet.
        STREAM_EXPECTED_LAST_SEQ_PER_SUBJECT_NOT_READY: A new leader's word for the same.
        STREAM_STORE_FAILED: There is no room for it; the description says by which bound.
    """

    CLUSTER_NO_PEERS = 10005
    STREAM_NAME_EXIST = 10058
    STREAM_NOT_FOUND = 10059
    STREAM_WRONG_LAST_SEQUENCE = 10071
    STREAM_STORE_FAILED = 10077
    STREAM_EXPECTED_LAST_SEQ_PER_SUBJECT_NOT_READY = 10163
    STREAM_WRONG_LAST_SEQUENCE_CONSTANT = 10164


WRITE_IN_FLIGHT: Final = frozenset(
    {ErrorCode.STREAM_WRONG_LAST_SEQUENCE_CONSTANT, ErrorCode.STREAM_EXPECTED_LAST_SEQ_PER_SUBJECT_NOT_READY}
)
"""The server cannot say yet what the subject holds: another write may be about to be stored there, or not."""
CONFLICTS: Final = WRITE_IN_FLIGHT | {ErrorCode.STREAM_WRONG_LAST_SEQUENCE}
"""Why a compare-and-set was refused: read again what the subject holds."""


class ApiError(Struct, frozen=True, kw_only=True):
    """
    Why the server refused.

    Attributes:
        code: Like an HTTP status, such as NOT_FOUND and UNAVAILABLE.
        err_code: One of many, see `ErrorCode`.
    """

    code: int = 0
    err_code: int = 0
    description: str = ""


class PubAck(Struct, frozen=True, kw_only=True):
    """
    What a stream answers to a publish.

    Attributes:
        seq: Of the message in the stream; of the first one when it is a duplicate.
        duplicate: A message with the same `Nats-Msg-Id` was stored within the window already.
        error: Set when nothing was stored.
        val: The total that a counter has come to, as text; "" where it is none, or a duplicate.
    """

    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    error: ApiError | None = None
    val: str = ""


_decode_ack: Final = msgspec.json.Decoder(PubAck).decode


def read_ack(body: bytes) -> PubAck:
    """
    The acknowledgement of a publish.

    Raises:
        DecodeFailedError: It is none: something else than a stream answers on the subject.
    """
    try:
        return _decode_ack(body)
    except UNDECODABLE as error:
        raise DecodeFailedError(f"acknowledgement: {safe_text(error)}") from error


def error_of(answer: dict[str, Any]) -> ApiError | None:
    """Why the server refused a request of the API; None when it did not."""
    error = answer.get("error")
    return None if error is None else msgspec.convert(error, ApiError)


def stream_info(stream: str) -> str:
    """Where a stream's configuration and state are asked for."""
    return f"{API}.STREAM.INFO.{stream}"


def stream_create(stream: str) -> str:
    """Where a stream is made."""
    return f"{API}.STREAM.CREATE.{stream}"


def stream_update(stream: str) -> str:
    """Where a stream's configuration is changed."""
    return f"{API}.STREAM.UPDATE.{stream}"


def stream_delete(stream: str) -> str:
    """Where a stream is deleted."""
    return f"{API}.STREAM.DELETE.{stream}"


def stream_purge(stream: str) -> str:
    """Where messages of a stream are deleted, all or those of a subject."""
    return f"{API}.STREAM.PURGE.{stream}"


def message_get(stream: str) -> str:
    """Where a stream's leader is asked for one message: it knows the last write."""
    return f"{API}.STREAM.MSG.GET.{stream}"


def message_delete(stream: str) -> str:
    """Where one message of a stream is deleted."""
    return f"{API}.STREAM.MSG.DELETE.{stream}"


def direct_get(stream: str) -> str:
    """Where any replica of a stream is asked for messages (ADR-31): it may lag behind the leader."""
    return f"{API}.DIRECT.GET.{stream}"


def consumer_durable_create(stream: str, consumer: str) -> str:
    """Where a durable consumer is made, or changed."""
    return f"{API}.CONSUMER.DURABLE.CREATE.{stream}.{consumer}"


def consumer_info(stream: str, consumer: str) -> str:
    """Where a consumer's configuration and state are asked for."""
    return f"{API}.CONSUMER.INFO.{stream}.{consumer}"


def consumer_next(stream: str, consumer: str) -> str:
    """Where a consumer is asked for its next messages (ADR-37)."""
    return f"{API}.CONSUMER.MSG.NEXT.{stream}.{consumer}"
