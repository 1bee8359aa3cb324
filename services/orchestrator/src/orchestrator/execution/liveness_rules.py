"""
What is done about an attempt in flight of which nothing is heard, and what that says of its route. Pure.

Silences are measured by the clock of the watch (`liveness.py`), which stands still while this process or its connection
does; the ends of timeouts by the loop's.
"""

from collections.abc import Collection, Iterable
from typing import Final, Literal, Protocol

from flotilla.contracts.attempts import Failed
from flotilla.contracts.failures import FailureKind
from orchestrator.execution.in_flight_checks import Finding
from orchestrator.state.outcomes import Ended
from orchestrator.state.replica_states import Replica, ReplicaStates

CHECK_AFTER_S: Final = 0.2
"""A replica that holds an attempt says so after at most 0.15 s."""
ACCEPTANCE_TIMEOUT_S: Final = 1.0
QUIET_AFTER_S: Final = 1.5
LIVENESS_TIMEOUT_S: Final = 3.0

Due = Literal["forget", "time_out", "not_accepted", "silent", "ask"]


class Watched(Protocol):
    """Of an attempt, what the watch goes by; see `Attempt`. All are seconds, `gives_up_at` by the loop's clock."""

    abandoned: bool
    gives_up_at: float
    sent_at: float
    heard_at: float | None
    asked_at: float


def due(attempt: Watched, *, now_s: float, clock_s: float) -> Due | None:
    """What is to be done about an attempt now: the worst that is true of it; None for nothing."""
    if now_s >= attempt.gives_up_at:
        return "forget" if attempt.abandoned else "time_out"
    if attempt.abandoned:
        return None
    if attempt.heard_at is None:
        return "not_accepted" if clock_s - attempt.sent_at > ACCEPTANCE_TIMEOUT_S else None
    if clock_s - attempt.heard_at > LIVENESS_TIMEOUT_S:
        return "silent"
    quiet_at = attempt.heard_at + QUIET_AFTER_S
    return "ask" if clock_s > quiet_at and attempt.asked_at < quiet_at else None


def last_sign_s(attempt: Watched) -> float:
    """When its replica was there for certain: when it last spoke, or the attempt was sent."""
    return attempt.sent_at if attempt.heard_at is None else attempt.heard_at


def is_witnessed(attempt: Watched, *, since_s: float) -> bool:
    """Whether the whole silence of an attempt was one of its replica, as far as is known: nothing here broke meanwhile."""
    return last_sign_s(attempt) > since_s


def is_to_be_found(attempt: Watched, *, clock_s: float) -> bool:
    """Whether every replica is asked for an attempt, once: none has said that it took it."""
    waits = attempt.heard_at is None and attempt.asked_at < attempt.sent_at and not attempt.abandoned
    return waits and clock_s - attempt.sent_at > CHECK_AFTER_S


def end_of_unfound(finding: Finding) -> Ended | Failed:
    """How an attempt ends that no replica has, as if one had said that it was leaving; or only one in trouble can have."""
    if finding == "dropped":
        return Ended.BUSY
    return Failed(kind=FailureKind.LOST, message="no other replica has it, and one has not answered for a while")


def end_at_timeout(*, gives_up_at: float, deadline_at: float) -> Ended | Failed:
    """How an attempt ends whose time is over: by the deadline of its task, or by a timeout of the route's."""
    if gives_up_at >= deadline_at:
        return Ended.DEADLINE
    return Failed(kind=FailureKind.TIMEOUT, message="no answer within the route's timeout")


def life_that_took(lives: Iterable[Replica], name: str, *, sent_unix_ms: int) -> Replica | None:
    """The life of a replica that can have taken an attempt: it was started before that was sent. None where it is gone."""
    return next((life for life in lives if life.name == name and life.started_unix_ms <= sent_unix_ms), None)


def counts_against_route(
    failed: Failed,
    *,
    heard: bool,
    suspects: frozenset[Replica],
    states: ReplicaStates,
    pool: str,
    live: Collection[Replica],
    sent_s: float,
    clock_s: float,
) -> bool:
    """
    Whether a failure says something of its route.

    One replica's death or freezing is one failure, however many attempts went with it. What a frozen one swallows
    after that, since it stays in its queue group until the server notices, is none while another replica is well:
    with it the breaker would open, and the tasks that the other one serves would have no route.
    """
    if suspects:
        return states.blame(suspects)
    if failed.kind is not FailureKind.LOST or heard:
        return True
    return not states.swallows_beside(pool, live, sent_s=sent_s, now_s=clock_s)
