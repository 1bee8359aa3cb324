"""What becomes of a durable task's delivery at its beginning and its end, and what its dead letter keeps. Pure."""

from typing import Final, Literal

import msgspec

from flotilla.contracts.failures import ErrorBody, ErrorKind
from flotilla.contracts.headers import DataClass
from flotilla.contracts.results import DeadRecord, Result, encode
from orchestrator.state.tasks import Task

DELIVERIES_MAX: Final = 20

Next = Literal["settle", "leave", "give_up", "run"]


def may_have_a_result(*, deliveries: int, is_resumed: bool) -> bool:
    """Whether a result is looked for before a task is run: of a first delivery nobody can have committed one."""
    return deliveries > 1 or is_resumed


def next_of(*, has_result: bool, is_held: bool, deliveries: int) -> Next:
    """
    What is done with a delivery.

    Args:
        has_result: Its result is committed: whoever died before the acknowledgement has left the message.
        is_held: It is run here already, after an earlier delivery, and that one will settle it.
        deliveries: How often it was delivered, this time included.
    """
    if has_result:
        return "settle"
    if is_held:
        return "leave"
    return "give_up" if deliveries > DELIVERIES_MAX else "run"


def too_often() -> ErrorBody:
    """Why a task is given up that was delivered more than DELIVERIES_MAX times."""
    text = f"given up after {DELIVERIES_MAX} deliveries that ended without a result"
    return ErrorBody(kind=ErrorKind.INTERNAL, message=text, retryable=True)


def dead_letter_error(result: Result) -> ErrorBody | None:
    """Why a task's message becomes a dead letter; None where it does not: it went well, or its caller has cancelled it."""
    error = result.error
    return error if isinstance(error, ErrorBody) and error.kind is not ErrorKind.CANCELLED else None


def dead_letter_class(task: Task | None, *, sealed: bool) -> DataClass:
    """The class of a dead letter; what never became a task might have been restricted."""
    return "restricted" if task is None or sealed else task.data_class


def dead_letter_body(record: DeadRecord, size_bytes_max: int) -> bytes:
    """A record as it is published: without the message's body where both do not fit."""
    body = encode(record)
    if len(body) <= size_bytes_max:
        return body
    return encode(msgspec.structs.replace(record, body=b"", body_dropped_bytes=len(record.body)))
