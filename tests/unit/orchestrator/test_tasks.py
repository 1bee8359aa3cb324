"""What is known of a task when it is over."""

import hashlib

import msgspec
import pytest

from flotilla.contracts.failures import ErrorBody, ErrorKind
from flotilla.contracts.headers import TaskOptions
from orchestrator.state.tasks import Task

BODY = b'{"document": "x"}'
CRASHED = ErrorBody(kind=ErrorKind.INTERNAL, message="see the log")


@pytest.mark.parametrize(
    ("durable", "digest"), [(True, hashlib.sha256(BODY).hexdigest()), (False, msgspec.UNSET)], ids=["durable", "asked"]
)
def test_a_failure_says_which_input_it_is_of_when_the_input_is_gone(durable: bool, digest: object):  # noqa: FBT001
    """
    Whatever ended the run: a caller who repeats the id with the same input is not told that it was another.
    """
    task = Task(
        task_id="t",
        scope="default",
        capability="classify",
        priority="normal",
        data_class="internal",
        body=BODY,
        options=TaskOptions(),
        accepted_unix_ms=0,
        deadline_ms=1000,
        durable=durable,
    )
    task.forget_input()

    result = task.failed(CRASHED)

    assert b"" == task.body
    assert digest == result.input_sha256
