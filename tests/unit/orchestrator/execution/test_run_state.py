"""What a result tells of a run."""

import hashlib

import msgspec

from flotilla.contracts.attempts import Usage
from flotilla.contracts.failures import ErrorBody, ErrorKind
from flotilla.contracts.headers import TaskOptions
from flotilla.contracts.results import AttemptReport, Result
from flotilla.testkit.run_story import FINISHED, HERE, Story
from orchestrator.execution.run_state import RunState
from orchestrator.state.tasks import Task

DIGEST = hashlib.sha256(b"{}").hexdigest()


def run_with(labels: dict[str, str] | None = None) -> RunState:
    options = TaskOptions(labels=labels or {})
    task = Story().run.task
    return RunState(
        Task(
            task_id="t-1",
            scope=task.scope,
            capability="classify",
            priority="normal",
            data_class="internal",
            body=b"{}",
            options=options,
            accepted_unix_ms=task.accepted_unix_ms,
            deadline_ms=1000,
            durable=True,
        )
    )


def test_a_result_tells_who_served_the_task_and_what_it_took() -> None:
    """
    Times are in ms since acceptance.
    """
    run = run_with({"team": "a"})
    report = AttemptReport(pool="here", model="m", outcome="ok", latency_ms=2.0, reason="", replica="here-1")
    run.queued_ms = 1.23456
    run.report(report, FINISHED.usage)

    expected = Result(
        task="t-1",
        capability="classify",
        status="ok",
        output=FINISHED.output,
        provider="p",
        model="m",
        zone="local",
        pool="here",
        replica="here-1",
        latency_ms=6.543,
        queued_ms=1.235,
        usage=Usage(input_tokens=3),
        attempts=[report],
        labels={"team": "a"},
        input_sha256=DIGEST,
    )

    assert expected == run.ok(FINISHED, HERE, "here-1", run.task.accepted_at + 0.00654321)


def test_a_result_without_labels_has_none() -> None:
    """
    Nor the time in line of a task that never had to wait.
    """
    found = run_with().ok(FINISHED, HERE, "here-1", 0.0)

    assert msgspec.UNSET is found.labels
    assert 0.0 == found.queued_ms


def test_a_failure_tells_of_the_attempts() -> None:
    """
    They were paid for, and say what went wrong.
    """
    run = run_with()
    report = AttemptReport(pool="here", model="m", outcome="auth", latency_ms=2.0, reason="")
    run.queued_ms = 7.0
    run.report(report, FINISHED.usage)
    error = ErrorBody(kind=ErrorKind.PROVIDER_FAILED, message="no")

    found = run.failed(error)

    assert ("failed", error, [report], Usage(input_tokens=3), 7.0) == (
        found.status,
        found.error,
        found.attempts,
        found.usage,
        found.queued_ms,
    )


def test_a_task_that_never_had_a_slot_was_queued_all_the_time() -> None:
    """
    No attempt found a slot: all of its time was waiting.
    """
    found = run_with().failed(ErrorBody(kind=ErrorKind.NO_CAPACITY, message="no"))

    assert found.latency_ms == found.queued_ms
    assert [] == found.attempts
    assert Usage() == found.usage
