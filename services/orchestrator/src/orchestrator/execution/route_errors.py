"""What a course tells of its routes: reports of attempts, and the errors of a task that has none."""

import time
from typing import Final

from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorKind
from flotilla.contracts.results import AttemptReport
from flotilla.routing.types import Choice, Decision
from orchestrator.state.attempt import Attempt, Ended
from orchestrator.state.tasks import Task

LOOK_AGAIN_S: Final = 1.0


def report_of(choice: Choice, attempt: Attempt, outcome: str, message: str = "") -> AttemptReport:
    """One attempt, as the result tells of it."""
    return AttemptReport(
        pool=choice.route.pool,
        model=choice.route.model,
        outcome=outcome,
        latency_ms=attempt.elapsed_ms,
        reason=choice.reason,
        replica=attempt.replica,
        message=message,
    )


def is_timed(decision: Decision) -> bool:
    """Whether some route is only out until a known time."""
    return any(exclusion.until_unix_ms for exclusion in decision.excluded)


def until_s(decision: Decision) -> float:
    """Seconds until a route that is out for a time comes back, where that is known; else the usual look again."""
    known = [exclusion.until_unix_ms for exclusion in decision.excluded if exclusion.until_unix_ms]
    return max(0.05, min(known) / 1000 - time.time()) if known else LOOK_AGAIN_S


def not_now(task: Task, decision: Decision) -> TaskError:
    """No route at the moment: `no_capacity` when one is only out for a time, else `no_route`."""
    if not is_timed(decision):
        return no_route(task, decision)
    reasons = "; ".join(f"{exclusion.pool}: {exclusion.reason}" for exclusion in decision.excluded)
    return TaskError(
        ErrorKind.NO_CAPACITY,
        f"every route for {task.capability} is out for a time: {reasons}",
        details={"retry_after_s": round(until_s(decision), 3)},
    )


def every_route_failed(task: Task, kind: ErrorKind, *, attempts: int) -> TaskError:
    """No route is left that may serve the task."""
    last = task.attempts[-1]
    text = f"every route failed; the last one ({last.pool}): {last.outcome}"
    return TaskError(kind, text, details={"attempts": attempts})


def too_late(task: Task, *, allowed_s: float) -> TaskError:
    """The deadline has passed; says what kept the task from its answer, where an attempt failed."""
    text = f"no result within {round(allowed_s * 1000)} ms of acceptance"
    # The one that the deadline itself ended tells nothing new.
    failed = next((each for each in reversed(task.attempts) if each.outcome != Ended.DEADLINE.value), None)
    if failed is not None:
        text = f"{text}; before, {failed.pool} failed: {failed.outcome}"
    return TaskError(ErrorKind.DEADLINE_EXCEEDED, text)


def too_deadly(task: Task, deaths: int) -> TaskError:
    """Replicas die of it: one more would, too."""
    replicas = list(dict.fromkeys(attempt.replica for attempt in task.attempts if attempt.replica))
    text = (
        f"given up: {deaths} replicas died or hung while they had this task; look at their logs before it is sent again"
    )
    details = {"deaths": deaths, "replicas": replicas}
    return TaskError(ErrorKind.PROVIDER_FAILED, text, details=details, retryable=False)


def no_route(task: Task, decision: Decision) -> TaskError:
    """Nobody may or can do it; says why each was ruled out, and by which policy, where there is one."""
    excluded = [
        {"pool": exclusion.pool, "model": exclusion.model, "reason": exclusion.reason}
        for exclusion in decision.excluded
    ]
    reasons = "; ".join(f"{exclusion.pool}: {exclusion.reason}" for exclusion in decision.excluded)
    revision = decision.policy_revision
    policy = f", policy revision {revision}" if revision else ""
    text = f"no route for {task.capability} ({task.data_class} data{policy}): {reasons or decision.reason}"
    return TaskError(ErrorKind.NO_ROUTE, text, details={"excluded": excluded, "policy_revision": revision})
