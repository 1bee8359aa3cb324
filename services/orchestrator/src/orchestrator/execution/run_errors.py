"""The errors of tasks whose run came to no result. Pure: every one says what was tried and what to do."""

from typing import Final

from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorKind, FailureKind
from flotilla.routing.types import Decision
from orchestrator.execution.run_state import RunState
from orchestrator.state.outcomes import Ended
from orchestrator.state.tasks import Task

LOOK_AGAIN_S: Final = 1.0
RETRY_AFTER_S: Final = 1.0


def is_timed(decision: Decision) -> bool:
    """Whether some route is only out until a known time."""
    return any(exclusion.until_unix_ms for exclusion in decision.excluded)


def back_in_s(decision: Decision, unix_s: float) -> float:
    """Seconds until a route that is out for a time comes back, where that is known; else the usual look again."""
    known = [exclusion.until_unix_ms for exclusion in decision.excluded if exclusion.until_unix_ms]
    return max(0.05, min(known) / 1000 - unix_s) if known else LOOK_AGAIN_S


def not_now(task: Task, decision: Decision, unix_s: float) -> TaskError:
    """No route at the moment: `no_capacity` when one is only out for a time, else `no_route`."""
    if not is_timed(decision):
        return no_route(task, decision)
    return TaskError(
        ErrorKind.NO_CAPACITY,
        f"every route for {task.capability} is out for a time: {_reasons(decision)}",
        details={"retry_after_s": round(back_in_s(decision, unix_s), 3)},
    )


def gate_ahead(task: Task) -> TaskError:
    """Only routes are left for which a person has to approve it first; whoever asks waits for nobody."""
    text = (
        f"the policy has {task.capability} approved by a person first where it can go now: submit it as a durable task"
    )
    return TaskError(ErrorKind.APPROVAL_REQUIRED, text, details={"capability": task.capability})


def no_route(task: Task, decision: Decision) -> TaskError:
    """Nobody may or can do it; says why each was ruled out, and by which policy, where there is one."""
    excluded = [
        {"pool": exclusion.pool, "model": exclusion.model, "reason": exclusion.reason}
        for exclusion in decision.excluded
    ]
    revision = decision.policy_revision
    policy = f", policy revision {revision}" if revision else ""
    why = _reasons(decision) or decision.reason
    text = f"no route for {task.capability} ({task.data_class} data{policy}): {why}"
    return TaskError(ErrorKind.NO_ROUTE, text, details={"excluded": excluded, "policy_revision": revision})


def all_slots_busy(queue_timeout_s: float) -> TaskError:
    """It stood in line for as long as its policy allows."""
    text = f"every slot was busy for {queue_timeout_s:g} s"
    return TaskError(ErrorKind.NO_CAPACITY, text, details={"retry_after_s": RETRY_AFTER_S})


def lines_full() -> TaskError:
    """Backpressure: no line takes one more."""
    return TaskError(ErrorKind.NO_CAPACITY, "too many tasks wait already", details={"retry_after_s": RETRY_AFTER_S})


def stream_broke(pieces: int, kind: FailureKind) -> TaskError:
    """A caller who has had pieces of one answer gets no other answer behind them."""
    text = f"the stream broke after {pieces} pieces: {kind.value}"
    return TaskError(ErrorKind.PROVIDER_FAILED, text, details={"pieces": pieces})


def every_route_failed(run: RunState, kind: ErrorKind) -> TaskError:
    """No route is left that may serve the task."""
    last = run.attempts[-1]
    text = f"every route failed; the last one ({last.pool}): {last.outcome}"
    return TaskError(kind, text, details={"attempts": run.failures})


def too_late(run: RunState) -> TaskError:
    """The deadline has passed; says what kept the task from its answer, where an attempt failed."""
    allowed_s = run.deadline_at - run.task.accepted_at
    text = f"no result within {round(allowed_s * 1000)} ms of acceptance"
    # The one that the deadline itself ended tells nothing new.
    failed = next((each for each in reversed(run.attempts) if each.outcome != Ended.DEADLINE.value), None)
    if failed is not None:
        text = f"{text}; before, {failed.pool} failed: {failed.outcome}"
    return TaskError(ErrorKind.DEADLINE_EXCEEDED, text)


def too_deadly(run: RunState) -> TaskError:
    """Replicas die of it: one more would, too."""
    replicas = list(dict.fromkeys(attempt.replica for attempt in run.attempts if attempt.replica))
    text = (
        f"given up: {run.deaths} replicas died or hung while they had this task; look at their logs before it is sent"
        " again"
    )
    details = {"deaths": run.deaths, "replicas": replicas}
    return TaskError(ErrorKind.PROVIDER_FAILED, text, details=details, retryable=False)


def _reasons(decision: Decision) -> str:
    return "; ".join(f"{exclusion.pool}: {exclusion.reason}" for exclusion in decision.excluded)
