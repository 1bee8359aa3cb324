"""What follows a failed attempt, and what a task without a route does; see the table in `contracts/failures.py`."""

import math
from typing import Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flotilla.contracts.attempts import Failed, Usage
from flotilla.contracts.failures import RULES, ErrorKind, FailureKind
from flotilla.routing.types import Choice, Decision, Exclusion
from flotilla.testkit.run_story import (
    BOTH,
    CLOSED,
    DEADLINE_S,
    FORBIDDEN,
    HERE,
    NOBODY,
    ONLY_HERE,
    TO_HERE,
    TO_THERE,
    Story,
    closed_for,
    told,
)
from orchestrator.execution.next_action import ended_as, next_action
from orchestrator.execution.retries import (
    ABSENT_PATIENCE_S,
    ASK_REST_S_MAX,
    ATTEMPTS_MAX,
    BACKOFF_S_MAX,
    LIMITED_PATIENCE_S,
    PARKED_LOOK_S,
    PROBES_SPENT_MAX,
    REOPENED_PATIENCE_S,
    REST_S_MAX,
    UNHEARD_IN_A_ROW_MAX,
)
from orchestrator.execution.run_steps import Action, Backoff, Fail, OverLimit, Park, Pause, Refresh, Send, ToGate
from orchestrator.state.outcomes import Ended

PROBE: Final = Choice(route=HERE, reason="probe", probe=True)
PASSING: Final = ["rate_limited", "unavailable", "timeout", "interrupted", "lost", "loading"]
FINAL: Final = ["refused", "invalid_output", "unknown_model", "not_releasable", "crashed", "auth", "too_large"]
UNCOUNTED: Final = [kind for kind in PASSING if not RULES[FailureKind(kind)].counts]


def over_a_limit_for(left_s: float) -> Decision:
    """No route but one for which a limit of the policy has no room."""
    excluded = tuple(msgspec.structs.replace(each, limited=True) for each in closed_for(left_s).excluded)
    return Decision(excluded=excluded)


def test_an_attempt_that_a_limit_refuses_is_decided_anew() -> None:
    """
    The decision then knows of it; nothing counts as tried.
    """
    story = Story()
    story.routed(ONLY_HERE)
    assert isinstance(next_action(story.run, OverLimit(), story.now_s), Refresh)
    assert story.run.attempts == []


def out_of_tries(story: Story, kind: str, choice: Choice = TO_HERE) -> Action:
    """Fail until the route has had its tries."""
    while isinstance(action := story.failed(kind, choice), Backoff):
        story.refreshed()
    return action


def tried_next(story: Story, decision: Decision) -> str:
    """The pool that is tried, of a decision."""
    action = story.routed(decision)
    return action.choice.route.pool if isinstance(action, Send) else ""


def test_every_kind_is_said_to_pass_or_to_be_final() -> None:
    """
    A new kind has to be thought about here.
    """
    assert {kind.value for kind in FailureKind} == {*PASSING, *FINAL, "bad_input", "not_found", "not_approved"}
    assert set(PASSING) == {kind.value for kind, rule in RULES.items() if rule.passes}


@pytest.mark.parametrize(
    ("kind", "backoffs_s"),
    [
        ("rate_limited", [0.5]),
        ("unavailable", [0.1]),
        ("timeout", []),
        ("refused", []),
        ("invalid_output", []),
        ("unknown_model", []),
        ("not_releasable", []),
        ("interrupted", [0.0, 0.0, 0.0]),
        ("crashed", [0.0]),
        ("auth", []),
        ("too_large", []),
        ("lost", [0.0, 0.0]),
        ("loading", []),
    ],
)
@pytest.mark.parametrize("durable", [True, False])
def test_backoff_comes_before_the_same_route_and_then_the_next_one_is_tried(
    kind: str, backoffs_s: list[float], *, durable: bool
) -> None:
    """
    So many more tries of the same route, each after its pause.
    """
    story = Story(durable=durable)
    for after_s in backoffs_s:
        assert Backoff(after_s) == story.failed(kind)
        story.refreshed()
        assert "here" == tried_next(story, BOTH)

    assert Refresh() == story.failed(kind)
    story.refreshed()
    assert "there" == tried_next(story, BOTH)


@pytest.mark.parametrize(("jitter", "after_s"), [(0.0, 0.375), (0.5, 0.5), (1.0, 0.625)])
def test_a_backoff_is_a_quarter_more_or_less(jitter: float, after_s: float) -> None:
    """
    Tasks that failed together are not tried together.
    """
    story = Story()
    story.run.jitter = lambda: jitter

    assert Backoff(after_s) == story.failed("rate_limited")


def test_the_attempts_of_a_task_are_bounded() -> None:
    """
    A server that hangs passes; a task that always takes too long must not take a slot until its deadline.
    """
    story = Story(durable=True)
    actions = [story.failed("timeout") for _ in range(ATTEMPTS_MAX)]

    assert [Refresh()] * (ATTEMPTS_MAX - 1) == actions[:-1]
    assert ErrorKind.PROVIDER_FAILED == told(actions[-1])


@pytest.mark.parametrize("kind", PASSING)
def test_a_durable_task_waits_for_a_route_whose_trouble_passes(kind: str) -> None:
    """
    Its only route is out: the task is parked, and tries it again, once a round.
    """
    story = Story(durable=True)

    assert Refresh() == out_of_tries(story, kind)
    assert Park(0.5) == story.routed(ONLY_HERE)
    assert "here" == tried_next(story, ONLY_HERE)
    assert Refresh() == story.failed(kind)
    assert Park(1.0) == story.routed(ONLY_HERE)


@pytest.mark.parametrize("kind", UNCOUNTED)
def test_a_long_outage_costs_a_durable_task_none_of_its_tries(kind: str) -> None:
    """
    It pauses longer from round to round, up to a bound, and gives up at its deadline only.
    """
    story = Story(durable=True)
    pauses: list[float] = []
    for _ in range(20 * ATTEMPTS_MAX):
        assert Refresh() == out_of_tries(story, kind)
        action = story.routed(ONLY_HERE)
        assert isinstance(action, Park)
        pauses.append(action.after_s)

    assert [0.5, 1.0, 2.0, 4.0, 8.0, REST_S_MAX, REST_S_MAX] == pauses[:7]
    assert REST_S_MAX == max(pauses)


@pytest.mark.parametrize("decision", [BOTH, CLOSED], ids=["open", "closed"])
@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("kind", FINAL)
def test_what_is_final_stays_final(kind: str, decision: Decision, *, durable: bool) -> None:
    """
    Every route has had its tries: the task fails, as what its failures have in common, and waits for none of them.
    """
    story = Story(durable=durable)
    out_of_tries(story, kind)
    assert "there" == tried_next(story, BOTH)
    out_of_tries(story, kind, TO_THERE)

    assert RULES[FailureKind(kind)].fails_as == told(story.routed(decision))


def test_failures_of_two_sorts_are_the_providers() -> None:
    """
    A task that was too large for one model only is not too large.
    """
    story = Story()
    story.failed("too_large")
    story.failed("auth", TO_THERE)

    action = story.routed(BOTH)

    assert isinstance(action, Fail)
    assert ErrorKind.PROVIDER_FAILED == action.error.kind
    assert "every route failed; the last one (there): auth" == action.error.message
    assert {"attempts": 2} == action.error.details


def test_a_final_failure_here_does_not_end_the_wait_for_another_route() -> None:
    """
    Only both together are every route.
    """
    story = Story(durable=True)
    out_of_tries(story, "unavailable")
    out_of_tries(story, "refused", TO_THERE)

    assert isinstance(story.routed(BOTH), Park)
    assert "here" == tried_next(story, BOTH)
    story.refused()
    assert ("here",) == tuple(choice.route.pool for choice in story.run.choices)


def test_only_the_route_that_failed_for_good_is_not_waited_for() -> None:
    """
    Another model of the pool, or another pool, may come back yet.
    """

    def out(*routes: tuple[str, str]) -> Decision:
        return Decision(
            excluded=tuple(Exclusion(pool=p, model=m, reason="breaker open", waits=True) for p, m in routes)
        )

    story = Story(durable=True)
    story.failed("auth")

    assert isinstance(story.routed(out(("there", "m"))), Park)
    assert isinstance(story.routed(out(("here", "n"))), Park)
    assert isinstance(story.routed(out(("here", "m"), ("there", "m"))), Park)
    assert ErrorKind.PROVIDER_FAILED == told(story.routed(out(("here", "m"))))


def test_a_durable_task_waits_for_a_pool_that_died_before_it_failed_there_for_good() -> None:
    """
    As one that was never tried does; an asked one has had its answer.
    """
    durable, asked = Story(durable=True), Story()
    for story in (durable, asked):
        story.failed("lost", heard=False)

    assert isinstance(durable.routed(NOBODY), Park)
    assert ErrorKind.PROVIDER_FAILED == told(asked.routed(NOBODY))


def test_one_final_failure_ends_a_durable_task_whose_other_routes_have_died() -> None:
    """
    Whichever of them it was.
    """
    story = Story(durable=True)
    story.failed("lost", heard=False)
    story.failed("auth", TO_THERE)

    assert ErrorKind.PROVIDER_FAILED == told(story.routed(NOBODY))


def test_what_a_person_approves_first_waits_for_that_and_an_asked_task_is_told_so() -> None:
    """
    Whoever asks waits for nobody.
    """
    ahead = Decision(at_gate=True)

    assert ToGate() == Story(durable=True).routed(ahead)
    asked = Story().routed(ahead)
    assert isinstance(asked, Fail)
    assert (ErrorKind.APPROVAL_REQUIRED, {"capability": "classify"}) == (asked.error.kind, asked.error.details)


def test_an_input_that_cannot_be_read_ends_the_task_at_once() -> None:
    """
    It is the caller's to mend; the worker's words say how.
    """
    action = Story(durable=True).failed("bad_input")

    assert isinstance(action, Fail)
    assert (ErrorKind.BAD_REQUEST, "said bad_input") == (action.error.kind, action.error.message)
    assert {"failure": "bad_input"} == action.error.details


@pytest.mark.parametrize("durable", [True, False])
def test_an_input_that_nobody_granted_ends_the_task_at_once(*, durable: bool) -> None:
    """
    What one worker keeps back must not go out through the next, nor wait until somebody lets it.
    """
    action = Story(durable=durable).failed("not_approved")

    assert isinstance(action, Fail)
    assert ErrorKind.APPROVAL_REQUIRED == action.error.kind
    assert not action.error.retryable


@pytest.mark.parametrize("kind", [kind for kind in PASSING if not RULES[FailureKind(kind)].passes_soon])
def test_an_asked_task_does_not_wait_out_an_outage(kind: str) -> None:
    """
    Its caller waits: every route was tried, and that is the answer.
    """
    story = Story()
    out_of_tries(story, kind)

    assert ErrorKind.PROVIDER_FAILED == told(story.routed(ONLY_HERE))


def test_an_asked_task_waits_for_a_model_that_is_being_loaded() -> None:
    """
    For as long as its deadline allows; another route goes first.
    """
    story = Story()
    for _ in range(5 * ATTEMPTS_MAX):
        assert Refresh() == story.failed("loading")
        assert "there" == tried_next(story, BOTH)
        action = story.routed(ONLY_HERE)
        assert isinstance(action, Pause)
        assert action.after_s <= ASK_REST_S_MAX


@pytest.mark.parametrize("kind", ["invalid_output", "auth", "unknown_model", "crashed", "timeout"])
def test_a_health_probe_that_fails_is_not_one_of_a_durable_tasks_attempts(kind: str) -> None:
    """
    It tries out a route for everybody; a task is spent on few of them all the same.
    """
    story = Story(durable=True)
    for spent in range(PROBES_SPENT_MAX):
        assert Refresh() == story.failed(kind, PROBE)
        assert (0, spent + 1) == (story.run.counted, story.run.probes_spent)
        assert Park(0.5 * 2**spent) == story.routed(ONLY_HERE)
        assert "here" == tried_next(story, ONLY_HERE)

    story.failed(kind, PROBE)
    assert 1 == story.run.counted


@pytest.mark.parametrize("kind", ["refused", "too_large"])
def test_a_health_probe_that_fails_for_the_tasks_own_reason_is_an_attempt(kind: str) -> None:
    """
    The route did what it could.
    """
    story = Story(durable=True)
    story.failed(kind, PROBE)

    assert 1 == story.run.counted
    assert isinstance(story.routed(ONLY_HERE), Fail)


def test_a_health_probe_that_fails_is_an_attempt_of_an_asked_task() -> None:
    """
    Its caller waits.
    """
    story = Story()
    story.failed("auth", PROBE)

    assert 1 == story.run.counted


@pytest.mark.parametrize(
    ("kind", "retry_after_s", "now_s", "follows", "closed_for_s"),
    [
        ("rate_limited", None, 0.0, Backoff(0.5), -math.inf),
        ("rate_limited", 2.5, 0.0, Refresh(), 2.5),
        ("rate_limited", BACKOFF_S_MAX, 0.0, Refresh(), BACKOFF_S_MAX),
        ("rate_limited", BACKOFF_S_MAX + 0.1, 0.0, Refresh(), -math.inf),
        ("rate_limited", 2.0, DEADLINE_S - 1.0, Refresh(), -math.inf),
        ("interrupted", 2.5, 0.0, Backoff(2.5), -math.inf),
        ("interrupted", 2.0, DEADLINE_S - 2.0, Refresh(), -math.inf),
    ],
    ids=[
        "no word of it: backoff",
        "the route is closed for so long",
        "up to a bound",
        "beyond it, the next route",
        "as also when it opens after the deadline",
        "a replica that leaves closes no route: the pause is this task's",
        "and is not made when the deadline comes first",
    ],
)
@pytest.mark.parametrize("durable", [True, False])
def test_retry_after_closes_the_route(
    kind: str, retry_after_s: float | None, now_s: float, follows: Action, closed_for_s: float, *, durable: bool
) -> None:
    """
    Another route may serve the task meanwhile: it does not sleep for the provider's sake.
    """
    story = Story(durable=durable)
    story.now_s = now_s

    assert follows == story.failed(kind, retry_after_s=retry_after_s)
    assert closed_for_s == pytest.approx(story.run.closed_until - story.run.task.accepted_at - now_s)


@pytest.mark.parametrize("durable", [True, False])
def test_a_route_on_which_no_replica_is_heard_is_left_after_some_tries_and_hoped_for_again(*, durable: bool) -> None:
    """
    Silences in a row send the task to the next route; when there is none, the silent one is taken up again, at once.
    """
    story = Story(durable=durable)
    for _ in range(UNHEARD_IN_A_ROW_MAX):
        assert "here" == tried_next(story, BOTH)
        assert Refresh() == story.failed("lost", heard=False)
    assert "there" == tried_next(story, BOTH)

    assert "here" == tried_next(story, ONLY_HERE)
    for _ in range(UNHEARD_IN_A_ROW_MAX):
        assert "here" == tried_next(story, BOTH)
        story.failed("lost", heard=False)
    assert "there" == tried_next(story, BOTH)
    assert 0 == story.run.counted


@pytest.mark.parametrize("durable", [True, False])
def test_a_route_that_swallowed_requests_and_was_closed_for_it_is_waited_for(*, durable: bool) -> None:
    """
    Silences open its breaker; that makes none of them the task's own failure.
    """
    story = Story(durable=durable)
    for _ in range(UNHEARD_IN_A_ROW_MAX):
        story.failed("lost", heard=False)

    assert isinstance(story.routed(CLOSED), Park if durable else Pause)


@pytest.mark.parametrize("kind", [*PASSING, *FINAL])
def test_a_stream_that_broke_is_not_begun_again(kind: str) -> None:
    """
    The caller has had pieces of one answer; no other one may follow them.
    """
    story = Story()
    story.run.pieces = 3

    action = story.failed(kind)

    assert isinstance(action, Fail)
    assert (ErrorKind.PROVIDER_FAILED, {"pieces": 3}) == (action.error.kind, action.error.details)
    assert f"the stream broke after 3 pieces: {kind}" == action.error.message


@pytest.mark.parametrize(
    ("decision", "waits_s"),
    [
        (NOBODY, PARKED_LOOK_S),
        (CLOSED, PARKED_LOOK_S),
        (closed_for(2.0), 2.0),
        (closed_for(60.0), PARKED_LOOK_S),
        (closed_for(-1.0), 0.05),
    ],
    ids=["no live pool", "breaker open", "rate limited", "rate limited for long", "open again just now"],
)
def test_a_durable_task_without_a_route_is_parked(decision: Decision, waits_s: float) -> None:
    """
    It looks again when the route is back, or every few seconds.
    """
    story = Story(durable=True)

    assert Park(waits_s) == story.routed(decision)


@pytest.mark.parametrize(
    ("decision", "now_s", "follows"),
    [
        (NOBODY, 0.0, Pause(1.0)),
        (NOBODY, ABSENT_PATIENCE_S - 0.5, Pause(0.5)),
        (NOBODY, ABSENT_PATIENCE_S, ErrorKind.NO_ROUTE),
        (CLOSED, ABSENT_PATIENCE_S, ErrorKind.NO_ROUTE),
        (closed_for(0.25), 0.0, Pause(0.25)),
        (closed_for(60.0), 0.0, Pause(ABSENT_PATIENCE_S)),
        (closed_for(60.0), ABSENT_PATIENCE_S, ErrorKind.NO_CAPACITY),
        (over_a_limit_for(0.25), 0.0, Pause(0.25)),
        (over_a_limit_for(0.25), LIMITED_PATIENCE_S - 1.0, Pause(0.25)),
        (over_a_limit_for(0.25), LIMITED_PATIENCE_S, ErrorKind.NO_CAPACITY),
        (over_a_limit_for(LIMITED_PATIENCE_S), 0.0, ErrorKind.NO_CAPACITY),
        (over_a_limit_for(60.0), 0.0, ErrorKind.NO_CAPACITY),
        (FORBIDDEN, 0.0, ErrorKind.NO_ROUTE),
    ],
    ids=[
        "no live pool",
        "no live pool for some time",
        "no live pool for too long",
        "breaker open for too long",
        "rate limited",
        "rate limited for long",
        "rate limited for too long",
        "over a limit",
        "over a limit for some time",
        "over a limit for too long",
        "over a limit for as long as it would wait",
        "over a limit for longer than it would wait",
        "not permitted",
    ],
)
def test_an_asked_task_has_a_little_patience_for_a_route(
    decision: Decision, now_s: float, follows: Action | ErrorKind
) -> None:
    """
    What comes back is worth a moment; what the policy or its data forbids is not.
    """
    story = Story()
    first = story.routed(decision)
    story.now_s = now_s
    action = told(story.routed(decision) if now_s else first)

    if isinstance(follows, Pause):
        assert isinstance(action, Pause)
        assert follows.after_s == pytest.approx(action.after_s)
    else:
        assert follows == action


def test_patience_begins_with_each_wait_and_never_goes_beyond_the_deadline() -> None:
    """
    The pause ends there; what is said then is that the task is too late.
    """
    story = Story()
    story.now_s = DEADLINE_S - 0.5
    action = story.routed(NOBODY)

    assert isinstance(action, Pause)
    assert 0.5 == pytest.approx(action.after_s)
    story.now_s = DEADLINE_S
    assert Refresh() == story.routed(NOBODY)


def test_an_asked_task_is_patient_until_the_route_that_a_provider_closed_is_open_again() -> None:
    """
    A Retry-After that it could have slept through itself is not why it fails.
    """
    story = Story()
    story.failed("rate_limited", retry_after_s=4.0)
    story.routed(closed_for(4.0))
    story.now_s = 4.0 + REOPENED_PATIENCE_S - 0.01
    assert isinstance(story.routed(closed_for(0.05)), Pause)
    story.now_s = 4.0 + REOPENED_PATIENCE_S

    assert ErrorKind.NO_CAPACITY == told(story.routed(closed_for(0.05)))


@pytest.mark.parametrize(("decision", "kind"), [(FORBIDDEN, ErrorKind.NO_ROUTE)])
@pytest.mark.parametrize("durable", [True, False])
def test_a_task_does_not_wait_for_what_is_forbidden(decision: Decision, kind: ErrorKind, *, durable: bool) -> None:
    """
    No waiting changes it.
    """
    assert kind == told(Story(durable=durable).routed(decision))


@pytest.mark.parametrize(
    ("kind", "left_s", "ends_as"),
    [("timeout", 0.125, Ended.DEADLINE), ("timeout", 0.25, None), ("timeout", 1.0, None), ("unavailable", 0.125, None)],
)
def test_a_timeout_that_a_replica_tells_of_just_before_the_deadline_is_the_deadline(
    kind: str, left_s: float, ends_as: Ended | None
) -> None:
    """
    No failure of its route: the caller gave it no more time.
    """
    story = Story()
    story.run.deadline_at = 1024.0
    failure = Failed(kind=FailureKind(kind), message="")

    assert (ends_as or failure) == ended_as(story.run, failure, 1024.0 - left_s)


def test_usage_of_failed_attempts_counts() -> None:
    """
    They were paid for.
    """
    story = Story()
    story.failed("auth")
    story.finished()
    story.finished()

    assert Usage(input_tokens=6) == story.run.usage


@given(
    st.lists(st.tuples(st.sampled_from(list(FailureKind)), st.sampled_from([TO_HERE, TO_THERE, PROBE]), st.booleans())),
    st.booleans(),
    st.floats(0.0, 1.0),
)
def test_whatever_happens_every_step_is_bounded(
    happened: list[tuple[FailureKind, Choice, bool]],
    durable: bool,  # noqa: FBT001  (hypothesis passes it by place)
    jitter: float,
) -> None:
    """
    No pause is endless, a route that has failed is not tried again in the same round but after its backoff, and no task
    has more attempts that count than ATTEMPTS_MAX.
    """
    story = Story(durable=durable)
    story.run.jitter = lambda: jitter
    for kind, choice, heard in happened:
        action = story.failed(kind.value, choice, heard=heard)
        match action:
            case Backoff(after_s=after_s):
                assert 0.0 <= after_s <= BACKOFF_S_MAX
            case Fail():
                assert not RULES[kind].next_route or story.run.counted >= ATTEMPTS_MAX
                return
            case _:
                tries = story.run.at(choice.route)
                assert tries.status != "open" or tries.unheard
        assert story.run.counted < ATTEMPTS_MAX
        waits = story.routed(NOBODY)
        if isinstance(waits, Park | Pause):
            assert 0.0 <= waits.after_s <= REST_S_MAX * 1.25
