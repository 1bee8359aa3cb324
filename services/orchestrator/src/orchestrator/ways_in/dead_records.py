"""
Dead-letter records: what they keep of a message, and what of it is sent again when one is retried.

An orchestrator publishes a retry with its own rights, which are more than the caller had: nothing goes out that a task is
not understood by. Any other header is an order to the server (`Nats-Trace-Dest`, `Nats-Expected-*`) or nobody's business.
"""

from typing import Final

from msgspec import UNSET

from flotilla.contracts import subjects
from flotilla.contracts.clock import unix_ms
from flotilla.contracts.errors import BadRequestError
from flotilla.contracts.failures import ErrorBody
from flotilla.contracts.fields import TRACESTATE_LENGTH_MAX
from flotilla.contracts.header_block import read_block
from flotilla.contracts.headers import (
    LABEL_LENGTH_MAX,
    TASK_ID,
    TRACEPARENT,
    TRACESTATE,
    DataClass,
    is_ours,
    parse_headers,
)
from flotilla.contracts.redaction import LOCAL_CAPABILITIES
from flotilla.contracts.results import DeadRecord, Result
from flotilla.fabric.deliveries import Delivery
from flotilla.fabric.errors import MalformedHeaderError
from flotilla.fabric.stored import StoredMessage
from flotilla.fabric.subject_guard import header_block, is_readable

_CUT: Final = {TRACEPARENT: LABEL_LENGTH_MAX, TRACESTATE: TRACESTATE_LENGTH_MAX}
"""As much of them as a task is understood by, whatever its caller wrote."""


def dead_record(
    scope: str,
    message: Delivery | StoredMessage,
    result: Result,
    error: ErrorBody,
    data_class: DataClass,
    *,
    sealed: bool = False,
) -> DeadRecord:
    """
    The record of a message whose task failed.

    Of one that was to be redacted or restored it has the body in the sealed lane alone, whose dead letters nobody else reads.
    """
    kept = sealed or result.capability not in LOCAL_CAPABILITIES
    headers = _kept(message.raw_headers)
    return DeadRecord(
        task=result.task,
        scope=scope,
        capability=result.capability,
        error=error,
        at_unix_ms=unix_ms(),
        subject=message.subject,
        headers=headers or {},
        body=message.body if kept else b"",
        body_dropped_bytes=UNSET if kept else len(message.body),
        data_class=data_class,
        attempts=result.attempts,
        headers_dropped_bytes=len(message.raw_headers or b"") if headers is None else UNSET,
    )


def _kept(raw_headers: bytes | None) -> dict[str, str] | None:
    """The headers of a message by name; None when they cannot be read, or one that counts stands there twice."""
    try:
        headers = read_block(raw_headers)
    except BadRequestError:
        return None
    ours = [name.lower() for name, _ in headers if is_ours(name.lower())]
    return dict(headers) if len(set(ours)) == len(ours) else None


def headers_to_retry(record: DeadRecord) -> dict[str, str]:
    """
    The headers of a record that a retry carries, all but the task's id.

    Raises:
        BadRequestError: They would not make the same task: they could not be read, or cannot be sent.
    """
    if record.headers_dropped_bytes:
        raise BadRequestError(
            "the headers of the original could not be read, and are not in its record: submit the original again",
            path="headers",
            expected="headers that can be read",
        )
    parse_headers(record.headers)
    ours = {name: value for name, value in record.headers.items() if is_ours(name.lower())}
    for name, value in ours.items():
        length_max = _CUT.get(name.lower())
        sent = value if length_max is None else value[:length_max].rstrip(" ")
        if not _arrives_as_sent({name: sent}):
            raise BadRequestError(
                f"the header {name[:64]} of the original cannot be sent again: submit the original again",
                path=f"header {name[:64]}",
                expected="a name of letters, digits and hyphens, and a value without control characters",
            )
        ours[name] = sent
    return {name: value for name, value in ours.items() if name.lower() != TASK_ID.lower()}


def _arrives_as_sent(headers: dict[str, str]) -> bool:
    """Whether a block of these can be sent, and is read by whoever pulls the task as what it was."""
    try:
        return dict(read_block(header_block(headers))) == headers
    except (MalformedHeaderError, BadRequestError):
        return False


def subject_to_retry(record: DeadRecord, scope: str) -> str:
    """
    Where a retry is published.

    Raises:
        BadRequestError: Not into the task stream of the scope that asks.
    """
    prefix = subjects.tasks(scope, "")
    if not record.subject.startswith(prefix) or not is_readable(record.subject):
        raise BadRequestError(
            "the record names no task subject of this scope: submit the original again",
            path="subject",
            expected="tasks.<capability>[.high|.low]",
        )
    return record.subject
