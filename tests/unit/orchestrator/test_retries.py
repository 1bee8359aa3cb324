"""What follows a failed attempt, as tables; see the table in `contracts/failures.py`."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flotilla.contracts.failures import RULES, ErrorKind, FailureKind
from flotilla.routing.types import Choice, Decision, Exclusion, Route
from orchestrator.execution.retries import (
    ASK_REST_S_MAX,
    ATTEMPTS_MAX,
    DEATHS_MAX,
    PROBES_SPENT_MAX,
    REST_S_MAX,
    SILENT_IN_A_ROW_MAX,
    GiveUp,
    LookAgain,
    NextRoute,
    NoRoute,
    Rest,
    RetryHere,
    Tries,
    WaitForRoute,
)
from orchestrator.state.replica_states import Replica, Standing

HERE: Final = Route(zone="local", pool="here", model="m")
THERE: Final = Route(zone="cloud", pool="there", model="m")
BOTH: Final = Decision(routes=(Choice(route=HERE, reason=""), Choice(route=THERE, reason="")))
ONLY_HERE: Final = Decision(routes=(Choice(route=HERE, reason=""),))
CLOSED: Final = Decision(excluded=(Exclusion(pool="here", model="m", reason="breaker open", waits=True),))
FORBIDDEN: Final = Decision(excluded=(Exclusion(pool="there", model="m", reason="restricted data"),))

PASSING: Final = ["rate_limited", "unavailable", "timeout", "interrupted", "lost", "loading"]
FINAL: Final = ["refused", "invalid_output", "unknown_model", "not_releasable", "crashed", "auth", "too_large"]
LEFT_S: Final = 3600.0


def tries(*, durable: bool) -> Tries:
    """Without jitter."""
    return Tries(durable=durable, luck=lambda: 0.5)


def failed(
    task: Tries, kind: str, *, route: Route = HERE, probe: bool = False, retry_after_s: float | None = None
) -> RetryHere | NextRoute | GiveUp:
    return task.failed(route, FailureKind(kind), probe=probe, retry_after_s=retry_after_s, left_s=LEFT_S)


def until_next_route(task: Tries, kind: str, *, route: Route = HERE) -> NextRoute | GiveUp:
    """Spend the tries that a route has."""
    while isinstance(step := failed(task, kind, route=route), RetryHere):
        pass
    return step


def test_every_kind_is_said_to_pass_or_to_be_final() -> None:
    """
    A new kind has to be thought about here.
    """
    assert {kind.value for kind in FailureKind} == {*PASSING, *FINAL, "bad_input"}
    assert set(PASSING) == {kind.value for kind, rule in RULES.items() if rule.passes}


@pytest.mark.parametrize("kind", PASSING)
def test_a_durable_task_waits_for_a_route_whose_trouble_passes(kind: str) -> None:
    """
    Its only route is out: it rests, and tries it again, once a round.
    """
    task = tries(durable=True)

    assert NextRoute(resting=True) == until_next_route(task, kind)
    assert not task.may_try(HERE)
    assert isinstance(task.without_route(ONLY_HERE), Rest)
    task.next_round()
    assert task.may_try(HERE)
    assert NextRoute(resting=True) == failed(task, kind)


@pytest.mark.parametrize("kind", [kind for kind in PASSING if not RULES[FailureKind(kind)].counts])
def test_a_long_outage_costs_a_durable_task_none_of_its_tries(kind: str) -> None:
    """
    It pauses longer from round to round, up to a bound, and gives up at its deadline only.
    """
    task = tries(durable=True)
    pauses: list[float] = []
    for _ in range(20 * ATTEMPTS_MAX):
        assert NextRoute(resting=True) == until_next_route(task, kind)
        rest = task.without_route(ONLY_HERE)
        assert isinstance(rest, Rest)
        pauses.append(rest.after_s)
        task.next_round()

    assert [0.5, 1.0, 2.0, 4.0, 8.0, REST_S_MAX, REST_S_MAX] == pauses[:7]
    assert REST_S_MAX == max(pauses)


def test_a_task_that_no_model_finishes_in_time_is_given_up_in_the_end() -> None:
    """
    A server that hangs passes; a task that always takes too long must not take a slot until its deadline.
    """
    task = tries(durable=True)
    steps = [failed(task, "timeout") for _ in range(ATTEMPTS_MAX)]

    assert [NextRoute(resting=True)] * (ATTEMPTS_MAX - 1) == steps[:-1]
    assert GiveUp(ErrorKind.PROVIDER_FAILED) == steps[-1]


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("kind", FINAL)
def test_what_is_final_stays_final(kind: str, *, durable: bool) -> None:
    """
    Every route has had its tries: the task fails, and waits for none of them, open or closed.
    """
    task = tries(durable=durable)

    assert NextRoute() == until_next_route(task, kind)
    assert task.may_try(THERE)
    assert NextRoute() == until_next_route(task, kind, route=THERE)
    assert isinstance(task.without_route(BOTH), GiveUp)
    assert isinstance(task.without_route(CLOSED), GiveUp)


def test_a_final_failure_here_does_not_end_the_wait_for_another_route() -> None:
    """
    Only both together are every route.
    """
    task = tries(durable=True)
    until_next_route(task, "unavailable")
    until_next_route(task, "refused", route=THERE)

    assert isinstance(task.without_route(BOTH), Rest)
    task.next_round()
    assert [True, False] == [task.may_try(HERE), task.may_try(THERE)]


def test_an_input_that_cannot_be_read_ends_the_task_at_once() -> None:
    """
    It is the caller's to mend.
    """
    assert GiveUp(ErrorKind.BAD_REQUEST) == failed(tries(durable=True), "bad_input")


@pytest.mark.parametrize("kind", ["rate_limited", "unavailable", "timeout", "interrupted", "lost"])
def test_an_asked_task_does_not_wait_out_an_outage(kind: str) -> None:
    """
    Its caller waits: every route was tried, and that is the answer.
    """
    task = tries(durable=False)

    assert NextRoute() == until_next_route(task, kind)
    assert GiveUp(ErrorKind.PROVIDER_FAILED) == task.without_route(ONLY_HERE)


def test_an_asked_task_waits_for_a_model_that_is_being_loaded() -> None:
    """
    For as long as its deadline allows; another route goes first.
    """
    task = tries(durable=False)
    for _ in range(5 * ATTEMPTS_MAX):
        assert NextRoute(resting=True) == failed(task, "loading")
        assert task.may_try(THERE)
        rest = task.without_route(ONLY_HERE)
        assert isinstance(rest, Rest)
        assert rest.after_s <= ASK_REST_S_MAX
        task.next_round()


@pytest.mark.parametrize("kind", ["invalid_output", "auth", "unknown_model", "crashed", "timeout"])
def test_a_probe_that_fails_is_not_one_of_a_durable_tasks_tries(kind: str) -> None:
    """
    It tries out a route for everybody; a task is spent on few of them all the same.
    """
    task = tries(durable=True)
    for _ in range(PROBES_SPENT_MAX):
        assert NextRoute(resting=True) == failed(task, kind, probe=True)
        assert isinstance(task.without_route(ONLY_HERE), Rest)
        task.next_round()

    if not RULES[FailureKind(kind)].passes:
        assert NextRoute() == failed(task, kind, probe=True)


@pytest.mark.parametrize("kind", ["refused", "too_large"])
def test_a_probe_that_fails_for_the_tasks_own_reason_is_a_try(kind: str) -> None:
    """
    The route did what it could.
    """
    assert NextRoute() == failed(tries(durable=True), kind, probe=True)


def test_a_short_pause_that_the_provider_asked_for_is_kept_and_a_long_one_sends_the_task_on() -> None:
    """
    The route is closed for all tasks meanwhile, so this one may look for another.
    """
    assert RetryHere(2.5, closed=True) == failed(tries(durable=False), "rate_limited", retry_after_s=2.5)
    assert NextRoute() == failed(tries(durable=False), "rate_limited", retry_after_s=60.0)
    assert NextRoute(resting=True) == failed(tries(durable=True), "rate_limited", retry_after_s=60.0)
    assert RetryHere(0.5) == failed(tries(durable=False), "rate_limited")


@pytest.mark.parametrize("durable", [True, False])
def test_routes_that_only_swallow_requests_are_hoped_for_again(*, durable: bool) -> None:
    """
    After some silences in a row the next route is tried; when there is none, they are taken up again.
    """
    task = tries(durable=durable)
    for _ in range(SILENT_IN_A_ROW_MAX):
        assert task.may_try(HERE)
        task.swallowed(HERE)

    assert not task.may_try(HERE)
    assert LookAgain() == task.without_route(ONLY_HERE)
    assert task.may_try(HERE)


@pytest.mark.parametrize("durable", [True, False])
def test_a_route_that_swallowed_requests_and_was_closed_for_it_is_waited_for(*, durable: bool) -> None:
    """
    Silences open its breaker; that makes none of them the task's own failure.
    """
    task = tries(durable=durable)
    for _ in range(SILENT_IN_A_ROW_MAX):
        task.swallowed(HERE)

    assert WaitForRoute() == task.without_route(CLOSED)


@pytest.mark.parametrize(
    ("decision", "follows"),
    [(CLOSED, WaitForRoute()), (Decision(reason="no live pool"), WaitForRoute()), (FORBIDDEN, NoRoute())],
)
@pytest.mark.parametrize("durable", [True, False])
def test_a_task_that_was_never_tried_waits_for_what_may_come(
    decision: Decision, follows: object, *, durable: bool
) -> None:
    """
    Not for what the policy or its data forbids.
    """
    assert follows == tries(durable=durable).without_route(decision)


@given(
    st.lists(st.tuples(st.sampled_from(list(FailureKind)), st.sampled_from([HERE, THERE]), st.booleans())),
    st.booleans(),
)
def test_whatever_happens_every_step_is_bounded(
    story: list[tuple[FailureKind, Route, bool]],
    durable: bool,  # noqa: FBT001  (hypothesis passes it by place)
) -> None:
    """
    A route that has failed is never tried again at once without a pause or a bound, and no pause is endless.
    """
    task = Tries(durable=durable)
    counted = 0
    for kind, route, probe in story:
        step = task.failed(route, kind, probe=probe, retry_after_s=None, left_s=LEFT_S)
        rule = RULES[kind]
        counted += rule.counts or not durable
        match step:
            case RetryHere(after_s=after_s):
                assert 0.0 <= after_s < LEFT_S
            case NextRoute():
                assert not task.may_try(route)
            case GiveUp():
                assert not rule.next_route or counted >= ATTEMPTS_MAX
        rest = task.without_route(Decision())
        if isinstance(rest, Rest):
            assert 0.0 < rest.after_s <= REST_S_MAX * 1.25
            task.next_round()


def struck(task: Tries, *names: str) -> None:
    task.lost_with(frozenset(Replica("p", name) for name in names))


def test_a_task_is_given_to_no_more_replicas_than_may_die_of_it() -> None:
    """
    It waits while it is not known whether those before have died, and is given up when they have.
    """
    task = tries(durable=True)
    standing: dict[str, Standing] = {}
    for name in ("one", "two", "three"):
        assert "none" == task.danger(lambda replica: standing[replica.name])
        struck(task, name)
        standing[name] = "silent"

    assert task.is_suspicious
    assert DEATHS_MAX - 1 == task.deaths_to_tell
    assert "wait" == task.danger(lambda replica: standing[replica.name])
    standing |= {"one": "gone", "two": "gone"}
    assert "wait" == task.danger(lambda replica: standing[replica.name])
    standing["three"] = "gone"
    assert "poison" == task.danger(lambda replica: standing[replica.name])
    assert 3 == task.deaths


def test_replicas_that_come_back_were_only_frozen() -> None:
    """
    Nothing is held against the task.
    """
    task = tries(durable=False)
    for name in ("one", "two", "three"):
        struck(task, name)

    assert "none" == task.danger(lambda _: "well")
    assert not task.is_suspicious


def test_one_loss_is_one_death_however_many_went_with_it() -> None:
    """
    A node that dies takes replicas along that never saw the task.
    """
    task = tries(durable=True)
    struck(task, "one", "two", "three", "four")

    assert "none" == task.danger(lambda _: "gone")
    assert 1 == task.deaths


def test_deaths_that_another_orchestrator_saw_count() -> None:
    """
    The task was delivered again.
    """
    task = Tries(durable=True, deaths=DEATHS_MAX)

    assert task.is_suspicious
    assert "poison" == task.danger(lambda _: "well")


def test_a_task_that_two_replicas_may_have_died_of_goes_alone() -> None:
    """
    A harmless one must not be with a deadly one for the third time.
    """
    task = tries(durable=True)
    struck(task, "one")
    assert not task.goes_alone
    struck(task, "two")
    assert task.goes_alone
