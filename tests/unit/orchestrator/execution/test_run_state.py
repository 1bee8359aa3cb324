"""What a result tells of a run."""

import hashlib

import msgspec
import pytest

from flotilla.contracts.attempts import Usage
from flotilla.contracts.failures import ErrorBody, ErrorKind, FailureKind
from flotilla.contracts.headers import TaskOptions
from flotilla.contracts.results import AttemptReport, Result
from flotilla.testkit.run_story import FINISHED, HERE, THERE, Story
from orchestrator.execution.run_state import RouteTries, RunState
from orchestrator.state.replica_states import Replica
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


def test_what_happened_in_a_part_of_the_run_happened_to_the_task() -> None:
    """
    Its attempts, what they cost, and what they say of routes.
    """
    run = Story().run
    run.at(HERE).failures = 1
    run.at(HERE).unheard = 2
    run.failures, run.counted, run.kinds = 1, 1, {FailureKind.LOST}
    part = Story().run
    part.at(HERE).failures = 2
    part.at(HERE).status = "resting"
    part.at(THERE).failures = 1
    part.at(THERE).unheard = 1
    part.failures, part.counted, part.kinds = 3, 2, {FailureKind.UNAVAILABLE}
    part.losses = [frozenset({Replica("here", "r1")})]

    run.take_in(part)

    assert {HERE: RouteTries(3, 0, "resting"), THERE: RouteTries(1, 1)} == run.routes
    assert (4, 3, {FailureKind.LOST, FailureKind.UNAVAILABLE}) == (run.failures, run.counted, run.kinds)
    assert part.losses == run.losses


@pytest.mark.parametrize(
    ("whole_ms", "part_ms", "queued_ms"),
    [(None, None, None), (None, 2.0, 2.0), (1.0, None, 1.0), (1.0, 2.0, 1.0), (2.0, 1.0, 1.0)],
)
def test_a_task_was_queued_until_the_first_part_of_its_run_had_a_slot(
    whole_ms: float | None, part_ms: float | None, queued_ms: float | None
) -> None:
    """
    The first by the clock.
    """
    run, part = Story().run, Story().run
    run.queued_ms, part.queued_ms = whole_ms, part_ms

    run.take_in(part)

    assert queued_ms == run.queued_ms


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
