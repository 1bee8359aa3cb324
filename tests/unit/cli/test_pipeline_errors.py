"""How a run of a pipeline that failed is told to people: which step, of what, and what to do next."""

import msgspec
import pytest

from flotilla.cli.console.exits import explain
from flotilla.client.answers import Answer
from flotilla.client.errors import TaskFailedError
from flotilla.contracts.failures import ErrorBody, ErrorKind
from flotilla.contracts.results import Result


def failed(kind: ErrorKind, inner: str = "", *, durable: bool) -> TaskFailedError:
    details = {"step": "send", **({"kind": inner} if inner else {})}
    body = ErrorBody(kind=kind, message="step send: it was not to be", retryable=False, details=details)
    digest = "0" * 64 if durable else msgspec.UNSET
    result = Result(task="a", capability="support-inbox", status="failed", error=body, input_sha256=digest)
    return TaskFailedError(body, Answer(result))


@pytest.mark.parametrize(
    ("inner", "durable", "hints"),
    [
        ("approval_required", False, ["`flotilla submit`"]),
        ("no_capacity", False, ["`flotilla submit`"]),
        ("provider_failed", True, ["every route was tried", "`flotilla dead retry`"]),
        ("internal", True, ["`flotilla dead retry`"]),
        ("a kind of a later version", False, []),
    ],
)
def test_a_step_that_failed_is_told_with_what_to_do_about_its_own_failure(
    inner: str, *, durable: bool, hints: list[str]
):
    """
    After the line that says which step it was.
    """
    first, *more = explain(failed(ErrorKind.STEP_FAILED, inner, durable=durable))

    assert "step send" in first
    assert len(hints) == len(more)
    assert all(hint in line for hint, line in zip(hints, more, strict=True))


@pytest.mark.parametrize("kind", [ErrorKind.APPROVAL_DENIED, ErrorKind.APPROVAL_EXPIRED])
def test_what_was_not_approved_was_not_sent(kind: ErrorKind):
    """
    Which is what whoever reads it wants to know first.
    """
    assert "nothing was sent" in explain(failed(kind, durable=True))[1]
