"""What becomes of a delivery, and of the message of a task that failed."""

import msgspec
import pytest

from flotilla.contracts.failures import ErrorBody, ErrorKind
from flotilla.contracts.headers import NO_OPTIONS, DataClass
from flotilla.contracts.results import DeadRecord, Result, decode_dead, encode
from orchestrator.state.tasks import Task
from orchestrator.ways_in.delivery_rules import (
    DELIVERIES_MAX,
    Next,
    dead_letter_body,
    dead_letter_class,
    dead_letter_error,
    may_have_a_result,
    next_of,
    too_often,
)

FAILED = ErrorBody(kind=ErrorKind.INTERNAL, message="no")
RECORD = DeadRecord(
    task="t",
    scope="acme",
    capability="classify",
    error=FAILED,
    at_unix_ms=0,
    subject="scope.acme.tasks.classify",
    headers={},
    body=b'{"document": "of many words"}',
)


@pytest.mark.parametrize(
    ("expected", "deliveries", "is_resumed"), [(False, 1, False), (True, 2, False), (True, 1, True), (True, 2, True)]
)
def test_a_first_delivery_can_have_no_result(expected: bool, deliveries: int, is_resumed: bool) -> None:  # noqa: FBT001
    """
    It costs no request; what was suspended may have ended since.
    """
    assert expected == may_have_a_result(deliveries=deliveries, is_resumed=is_resumed)


@pytest.mark.parametrize(
    ("expected", "has_result", "is_held", "deliveries"),
    [
        ("run", False, False, 1),
        ("run", False, False, DELIVERIES_MAX),
        ("give_up", False, False, DELIVERIES_MAX + 1),
        ("leave", False, True, DELIVERIES_MAX + 1),
        ("leave", False, True, 2),
        ("settle", True, True, 2),
        ("settle", True, False, DELIVERIES_MAX + 1),
    ],
)
def test_what_is_done_with_a_delivery(expected: Next, has_result: bool, is_held: bool, deliveries: int) -> None:  # noqa: FBT001
    """
    A result that stands counts before all; what is being run here is not given up beside its own run.
    """
    assert expected == next_of(has_result=has_result, is_held=is_held, deliveries=deliveries)


def test_a_task_that_is_given_up_may_be_submitted_again() -> None:
    """
    Nothing is known against it but that no run of it came to an end.
    """
    text = f"given up after {DELIVERIES_MAX} deliveries that ended without a result"

    assert ErrorBody(kind=ErrorKind.INTERNAL, message=text, retryable=True) == too_often()


@pytest.mark.parametrize("kind", ErrorKind)
def test_what_was_cancelled_is_no_dead_letter_and_every_other_failure_is(kind: ErrorKind) -> None:
    """
    Nobody has asked for that one any more.
    """
    error = ErrorBody(kind=kind, message="no")
    failed = Result(task="t", capability="classify", status="failed", error=error)

    assert (None if kind is ErrorKind.CANCELLED else error) == dead_letter_error(failed)


def test_what_went_well_is_no_dead_letter() -> None:
    """
    Its message is only acknowledged.
    """
    assert dead_letter_error(Result(task="t", capability="classify", status="ok", output=msgspec.Raw(b"{}"))) is None


@pytest.mark.parametrize("data_class", ["public", "internal", "restricted"])
def test_a_dead_letter_has_the_class_of_its_task(data_class: DataClass) -> None:
    """
    What could not be read might have been restricted, and so is all of the sealed lane.
    """
    task = Task(
        task_id="t",
        scope="acme",
        capability="classify",
        priority="normal",
        data_class=data_class,
        body=b"{}",
        options=NO_OPTIONS,
        accepted_unix_ms=0,
        deadline_ms=1_000,
        durable=True,
    )

    assert data_class == dead_letter_class(task, sealed=False)
    assert "restricted" == dead_letter_class(task, sealed=True)
    assert "restricted" == dead_letter_class(None, sealed=False)


def test_a_dead_letter_that_does_not_fit_is_kept_without_its_body() -> None:
    """
    And says how long that was; one that just fits is whole.
    """
    whole = encode(RECORD)
    cut = decode_dead(dead_letter_body(RECORD, len(whole) - 1))

    assert whole == dead_letter_body(RECORD, len(whole))
    assert (b"", len(RECORD.body)) == (cut.body, cut.body_dropped_bytes)
    assert RECORD == msgspec.structs.replace(cut, body=RECORD.body, body_dropped_bytes=RECORD.body_dropped_bytes)
