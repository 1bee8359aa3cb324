"""When an attempt of which nothing is heard is asked for, given up or forgotten, and what that says of its route."""

import pytest
from msgspec import Struct

from flotilla.contracts.attempts import Failed
from flotilla.contracts.failures import FailureKind
from orchestrator.execution.liveness_rules import (
    ACCEPTANCE_TIMEOUT_S,
    CHECK_AFTER_S,
    LIVENESS_TIMEOUT_S,
    QUIET_AFTER_S,
    Due,
    counts_against_route,
    due,
    end_at_timeout,
    end_of_unfound,
    is_to_be_found,
    is_witnessed,
    life_that_took,
)
from orchestrator.state.outcomes import Ended
from orchestrator.state.replica_states import SILENT_AFTER_S, Replica, ReplicaStates

SENT_S = 100.0
HEARD_S = 200.0
HAIR_S = 0.001
POOL = "here"
ONE, OTHER = Replica(POOL, "one"), Replica(POOL, "other")


class Watched(Struct):
    """An attempt as the watch sees it: sent at SENT_S, its timeout at 1,000 s of the loop's clock."""

    abandoned: bool = False
    gives_up_at: float = 1_000.0
    sent_at: float = SENT_S
    heard_at: float | None = None
    asked_at: float = -1.0


WORKING = Watched(heard_at=HEARD_S)
QUIET_AT_S = HEARD_S + QUIET_AFTER_S


@pytest.mark.parametrize(
    ("expected", "attempt", "now_s", "clock_s"),
    [
        (None, Watched(), 1_000.0 - HAIR_S, SENT_S),
        ("time_out", Watched(), 1_000.0, SENT_S),
        ("forget", Watched(abandoned=True), 1_000.0, SENT_S),
        (None, Watched(abandoned=True), 1_000.0 - HAIR_S, SENT_S + 999.0),
        (None, Watched(abandoned=True, heard_at=HEARD_S), 0.0, HEARD_S + 999.0),
        (None, Watched(), 0.0, SENT_S + ACCEPTANCE_TIMEOUT_S),
        ("not_accepted", Watched(), 0.0, SENT_S + ACCEPTANCE_TIMEOUT_S + HAIR_S),
        ("time_out", Watched(), 1_000.0, SENT_S + ACCEPTANCE_TIMEOUT_S + HAIR_S),
        (None, WORKING, 0.0, QUIET_AT_S),
        ("ask", WORKING, 0.0, QUIET_AT_S + HAIR_S),
        ("ask", Watched(heard_at=HEARD_S, asked_at=QUIET_AT_S - HAIR_S), 0.0, QUIET_AT_S + HAIR_S),
        (None, Watched(heard_at=HEARD_S, asked_at=QUIET_AT_S), 0.0, QUIET_AT_S + HAIR_S),
        ("ask", WORKING, 0.0, HEARD_S + LIVENESS_TIMEOUT_S),
        ("silent", WORKING, 0.0, HEARD_S + LIVENESS_TIMEOUT_S + HAIR_S),
        ("silent", Watched(heard_at=HEARD_S, asked_at=QUIET_AT_S), 0.0, HEARD_S + LIVENESS_TIMEOUT_S + HAIR_S),
    ],
)
def test_what_is_due(expected: Due | None, attempt: Watched, now_s: float, clock_s: float) -> None:
    """
    Timeouts go by the loop's clock, silences by the watch's; the replica is asked once for each silence.
    """
    assert expected == due(attempt, now_s=now_s, clock_s=clock_s)


@pytest.mark.parametrize(
    ("expected", "attempt", "clock_s"),
    [
        (False, Watched(sent_at=0.0), CHECK_AFTER_S),
        (False, Watched(), SENT_S + CHECK_AFTER_S - HAIR_S),
        (True, Watched(), SENT_S + CHECK_AFTER_S + HAIR_S),
        (False, Watched(heard_at=SENT_S), SENT_S + CHECK_AFTER_S + HAIR_S),
        (False, Watched(asked_at=SENT_S), SENT_S + CHECK_AFTER_S + HAIR_S),
        (True, Watched(asked_at=SENT_S - HAIR_S), SENT_S + CHECK_AFTER_S + HAIR_S),
        (False, Watched(abandoned=True), SENT_S + CHECK_AFTER_S + HAIR_S),
    ],
)
def test_which_attempts_all_replicas_are_asked_for(expected: bool, attempt: Watched, clock_s: float) -> None:  # noqa: FBT001
    """
    Those that nobody has accepted, once each, and none that nobody waits for.
    """
    assert expected == is_to_be_found(attempt, clock_s=clock_s)


@pytest.mark.parametrize(
    ("expected", "attempt", "since_s"),
    [
        (True, Watched(), SENT_S - HAIR_S),
        (False, Watched(), SENT_S),
        (True, WORKING, HEARD_S - HAIR_S),
        (False, WORKING, HEARD_S),
    ],
)
def test_what_was_silent_before_a_break_here_ended_proves_nothing(
    expected: bool,  # noqa: FBT001
    attempt: Watched,
    since_s: float,
) -> None:
    """
    The replica has to have spoken since then, or to have been sent the attempt.
    """
    assert expected == is_witnessed(attempt, since_s=since_s)


def test_an_attempt_that_no_replica_has_goes_on_at_once_and_one_that_may_be_held_is_lost() -> None:
    """
    The first found no slot; of the second a replica may have died.
    """
    lost = end_of_unfound("swallowed")

    assert Ended.BUSY is end_of_unfound("dropped")
    assert isinstance(lost, Failed)
    assert (FailureKind.LOST, "no other replica has it, and one has not answered for a while") == (
        lost.kind,
        lost.message,
    )


def test_whose_time_is_over() -> None:
    """
    The task's deadline is no failure of the route; its own timeout is one.
    """
    timed_out = end_at_timeout(gives_up_at=10.0, deadline_at=10.0 + HAIR_S)

    assert Ended.DEADLINE is end_at_timeout(gives_up_at=10.0, deadline_at=10.0)
    assert Ended.DEADLINE is end_at_timeout(gives_up_at=10.0 + HAIR_S, deadline_at=10.0)
    assert isinstance(timed_out, Failed)
    assert (FailureKind.TIMEOUT, "no answer within the route's timeout") == (timed_out.kind, timed_out.message)


def test_only_a_life_that_had_begun_can_have_taken_an_attempt() -> None:
    """
    A replica that was started again under its name has not got what the one before it had.
    """
    before, after, named_otherwise = (
        Replica(POOL, "one", 1_000),
        Replica(POOL, "one", 2_000),
        Replica(POOL, "other", 500),
    )

    assert before == life_that_took([named_otherwise, after, before], "one", sent_unix_ms=1_000)
    assert after == life_that_took([named_otherwise, after], "one", sent_unix_ms=2_000)
    assert life_that_took([named_otherwise, after], "one", sent_unix_ms=1_999) is None


def _counts(
    kind: FailureKind, states: ReplicaStates, *, heard: bool = False, suspects: frozenset[Replica] = frozenset()
) -> bool:
    return counts_against_route(
        Failed(kind=kind, message=""),
        heard=heard,
        suspects=suspects,
        states=states,
        pool=POOL,
        live=[ONE, OTHER],
        sent_s=SENT_S,
        clock_s=SENT_S + SILENT_AFTER_S,
    )


def test_a_replicas_death_counts_once_against_its_route() -> None:
    """
    However many attempts were lost with it; that of another one counts again.
    """
    states = ReplicaStates()
    states.asked(ONE, SENT_S)
    states.asked(OTHER, SENT_S)

    assert _counts(FailureKind.LOST, states, suspects=frozenset({ONE}))
    assert not _counts(FailureKind.LOST, states, suspects=frozenset({ONE}))
    assert not _counts(FailureKind.LOST, states, heard=True, suspects=frozenset({ONE}))
    assert _counts(FailureKind.LOST, states, suspects=frozenset({ONE, OTHER}))


@pytest.mark.parametrize(
    ("expected", "kind", "heard", "frozen_since_s"),
    [
        (True, FailureKind.LOST, False, None),
        (False, FailureKind.LOST, False, SENT_S - 1.0),
        (True, FailureKind.LOST, False, SENT_S),
        (True, FailureKind.LOST, True, SENT_S - 1.0),
        (True, FailureKind.TIMEOUT, False, SENT_S - 1.0),
    ],
)
def test_what_a_frozen_replica_swallows_counts_not_against_the_others(
    expected: bool,  # noqa: FBT001
    kind: FailureKind,
    heard: bool,  # noqa: FBT001
    frozen_since_s: float | None,
) -> None:
    """
    Only what nobody was heard of, and only where it had been frozen before.
    """
    states = ReplicaStates()
    if frozen_since_s is not None:
        states.asked(ONE, frozen_since_s)

    assert expected == _counts(kind, states, heard=heard)


def test_where_every_replica_was_frozen_the_route_is_to_blame() -> None:
    """
    Nobody is left whom the breaker could harm.
    """
    states = ReplicaStates()
    states.asked(ONE, SENT_S - 1.0)
    states.asked(OTHER, SENT_S - 1.0)

    assert _counts(FailureKind.LOST, states)
