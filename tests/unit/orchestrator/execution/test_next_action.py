"""What a run does next, as tables: what is so, what happens, what follows. Failed attempts have tables of their own."""

from collections.abc import Callable

import pytest

from flotilla.contracts.attempts import Usage
from flotilla.contracts.failures import ErrorKind
from flotilla.contracts.policy_rules import Rules
from flotilla.routing.types import Choice, Decision
from flotilla.testkit.run_story import (
    BOTH,
    DEADLINE_S,
    HERE,
    ONLY_HERE,
    THERE,
    TO_HERE,
    TO_THERE,
    Story,
    told,
)
from orchestrator.execution.next_action import DEADLINE_MARGIN_S, QUEUE_TIMEOUT_S, REROUTE_EVERY_S, RESENT_MAX
from orchestrator.execution.run_state import ATTEMPTS_REPORTED_MAX
from orchestrator.execution.run_steps import (
    Action,
    Backoff,
    Fail,
    FindRoutes,
    Finish,
    LinesFull,
    NotAlone,
    Park,
    Pause,
    Refresh,
    Send,
    WaitForSlot,
)
from orchestrator.state.outcomes import Ended

BEFORE_S = 1e-3
BOTH_POOLS = ("here", "there")


def test_the_usual_way_is_four_steps() -> None:
    """
    Nothing else is decided for a task whose first route has a slot and serves it.
    """
    story = Story()

    assert FindRoutes() == story.refreshed()
    assert Send(TO_HERE) == story.routed(BOTH)
    assert Finish() == story.finished()
    assert ["ok"] == [each.outcome for each in story.run.attempts]
    assert Usage(input_tokens=3) == story.run.usage


@pytest.mark.parametrize(
    ("total_timeout_s", "now_s", "cancelled", "follows"),
    [
        (None, 0.0, False, FindRoutes()),
        (None, 0.0, True, ErrorKind.CANCELLED),
        (None, DEADLINE_S - BEFORE_S, False, FindRoutes()),
        (None, DEADLINE_S, False, ErrorKind.DEADLINE_EXCEEDED),
        (60.0, 60.0 - BEFORE_S, False, FindRoutes()),
        (60.0, 60.0, False, ErrorKind.DEADLINE_EXCEEDED),
        (2 * DEADLINE_S, DEADLINE_S, False, ErrorKind.DEADLINE_EXCEEDED),
        (60.0, 61.0, True, ErrorKind.CANCELLED),
    ],
    ids=[
        "at the beginning",
        "cancelled",
        "a moment before the deadline",
        "the deadline",
        "a moment before the policy's total timeout",
        "the policy's total timeout",
        "a total timeout later than the deadline",
        "cancelled and too late",
    ],
)
@pytest.mark.parametrize("durable", [True, False])
def test_before_every_try_the_caller_and_the_clock_are_asked(
    total_timeout_s: float | None,
    now_s: float,
    follows: Action | ErrorKind,
    *,
    cancelled: bool,
    durable: bool,
) -> None:
    """
    Whatever the task has waited for.
    """
    story = Story(durable=durable, rules=Rules(total_timeout_s=total_timeout_s))
    story.now_s = now_s

    assert follows == told(story.refreshed(cancelled=cancelled))


def test_a_task_that_is_too_late_says_how_long_it_had_and_what_failed() -> None:
    """
    Not that the deadline ended its last attempt: that is what the error says already.
    """
    story = Story(rules=Rules(total_timeout_s=60.0))
    story.routed(BOTH)
    story.failed("auth", TO_THERE)
    story.ended(Ended.DEADLINE)
    story.now_s = 60.0

    action = story.refreshed()

    assert isinstance(action, Fail)
    assert "no result within 60000 ms of acceptance; before, there failed: auth" == action.error.message


def test_a_cancelled_task_says_who_ended_it() -> None:
    """
    No fault of the fleet.
    """
    action = Story().refreshed(cancelled=True)

    assert isinstance(action, Fail)
    assert "cancelled by the caller" == action.error.message


def refused(story: Story) -> Action:
    return story.refused()


def refused_stale(story: Story) -> Action:
    return story.refused(stale=True)


LAST_RESORT = Choice(route=THERE, reason="unhealthy", last_resort=True)
SECOND_MODEL = Choice(route=type(HERE)(zone="local", pool="here", model="n"), reason="")


@pytest.mark.parametrize(
    ("decision", "turn_of", "happens", "follows"),
    [
        (BOTH, None, [], Send(TO_HERE)),
        (BOTH, None, [refused], Send(TO_THERE)),
        (BOTH, None, [refused, refused], WaitForSlot(BOTH_POOLS, REROUTE_EVERY_S)),
        (BOTH, "there", [], Send(TO_THERE, has_turn=True)),
        (BOTH, "there", [refused], WaitForSlot(BOTH_POOLS, REROUTE_EVERY_S)),
        (BOTH, "gone", [], WaitForSlot(BOTH_POOLS, REROUTE_EVERY_S)),
        (BOTH, None, [refused_stale], Send(TO_HERE, has_turn=True)),
        (BOTH, None, [refused_stale, refused], Send(TO_THERE)),
        (BOTH, None, [refused_stale] * RESENT_MAX, Send(TO_HERE, has_turn=True, final=True)),
        (BOTH, None, [refused_stale] * (RESENT_MAX + 1), Send(TO_THERE)),
        (BOTH, None, [refused_stale] * (RESENT_MAX + 2), Send(TO_THERE, has_turn=True)),
        (Decision(routes=(TO_HERE, LAST_RESORT)), None, [refused], WaitForSlot(BOTH_POOLS, REROUTE_EVERY_S)),
        (Decision(routes=(LAST_RESORT, TO_HERE)), None, [], Send(TO_HERE)),
        (Decision(routes=(TO_HERE, SECOND_MODEL)), None, [refused, refused], WaitForSlot(("here",), REROUTE_EVERY_S)),
    ],
    ids=[
        "the first route goes first",
        "no slot: the next one",
        "no slot anywhere: in line for all of them",
        "a turn is for one pool",
        "a turn that came to nothing: back in line for all of them",
        "a turn of a pool that is no route any more",
        "a stale refusal: once more at once",
        "stale, then believed: the next one",
        "the last time at once, to be believed",
        "stale too often: the next one",
        "each route is sent to again so many times",
        "a last resort is not for a task that only found the others busy",
        "also when it stands first",
        "one line for two models of a pool",
    ],
)
def test_routes_are_tried_in_order_and_then_stood_in_line_for(
    decision: Decision, turn_of: str | None, happens: list[Callable[[Story], Action]], follows: Action
) -> None:
    """
    A refusal is no failure: nothing of it is remembered but that the task waits.
    """
    story = Story()
    story.refreshed(turn_of=turn_of)
    actions = [story.routed(decision), *(each(story) for each in happens)]

    assert follows == actions[-1]
    assert not story.run.attempts
    assert not story.run.failures


def test_a_last_resort_serves_a_task_that_failed_elsewhere() -> None:
    """
    Better than no route at all.
    """
    story = Story()
    decision = Decision(routes=(TO_HERE, LAST_RESORT))
    story.routed(decision)
    story.failed("auth")

    assert Send(LAST_RESORT) == story.routed(decision)


@pytest.mark.parametrize(
    ("durable", "rules", "waited_s", "follows"),
    [
        (False, Rules(), QUEUE_TIMEOUT_S - BEFORE_S, WaitForSlot(("here",), REROUTE_EVERY_S)),
        (False, Rules(), QUEUE_TIMEOUT_S, ErrorKind.NO_CAPACITY),
        (False, Rules(queue_timeout_s=2.0), 2.0, ErrorKind.NO_CAPACITY),
        (True, Rules(), 10 * QUEUE_TIMEOUT_S, WaitForSlot(("here",), REROUTE_EVERY_S)),
        (True, Rules(queue_timeout_s=2.0), 2.0, ErrorKind.NO_CAPACITY),
        (True, Rules(), DEADLINE_S - 0.25, WaitForSlot(("here",), 0.25)),
    ],
    ids=[
        "an asked task, shortly before the timeout",
        "an asked task",
        "an asked task with a timeout of its own",
        "a durable task waits on",
        "unless the policy has a timeout for it",
        "never beyond the deadline",
    ],
)
def test_a_task_waits_for_a_slot_until_its_queue_timeout(
    rules: Rules, waited_s: float, follows: Action | ErrorKind, *, durable: bool
) -> None:
    """
    The clock of it runs from the first refusal, however often the task had a turn since.
    """
    story = Story(durable=durable, rules=rules)
    story.routed(ONLY_HERE)
    assert isinstance(story.refused(), WaitForSlot)
    story.now_s = waited_s / 2
    story.refreshed(turn_of="here")
    story.routed(ONLY_HERE)
    assert isinstance(story.refused(), WaitForSlot)
    story.now_s = waited_s
    story.refreshed()
    story.routed(ONLY_HERE)

    action = story.refused()

    if isinstance(follows, WaitForSlot):
        assert isinstance(action, WaitForSlot)
        assert follows.pools == action.pools
        assert follows.up_to_s == pytest.approx(action.up_to_s)
    else:
        assert follows == told(action)


def test_a_slot_ends_the_wait_and_the_next_one_has_its_own_time() -> None:
    """
    An attempt that failed was none of the waiting.
    """
    story = Story(rules=Rules(queue_timeout_s=2.0))
    story.routed(ONLY_HERE)
    story.refused()
    story.now_s = 1.9
    story.failed("unavailable")
    story.routed(ONLY_HERE)
    story.now_s = 3.0

    assert isinstance(story.refused(), WaitForSlot)


def test_a_full_line_refuses_the_task() -> None:
    """
    Backpressure reaches the caller.
    """
    action = Story().event(LinesFull())

    assert isinstance(action, Fail)
    assert ErrorKind.NO_CAPACITY == action.error.kind
    assert action.error.retryable


@pytest.mark.parametrize(
    ("ended", "follows"), [(Ended.DEADLINE, Backoff(DEADLINE_MARGIN_S)), (Ended.CANCELLED, Refresh())]
)
def test_an_attempt_that_the_caller_or_the_clock_ended_is_no_failure(ended: Ended, follows: Action) -> None:
    """
    It is told of all the same; the deadline of the replica may be a moment ahead of the one here.
    """
    story = Story()
    story.routed(ONLY_HERE)

    assert follows == story.ended(ended)
    assert [ended.value] == [each.outcome for each in story.run.attempts]
    assert not story.run.failures


@pytest.mark.parametrize(
    ("durable", "follows"),
    [(False, Pause(0.5)), (True, Park(0.5))],
    ids=["an asked task waits", "a durable one is parked"],
)
def test_a_task_waits_while_another_suspicious_one_is_tried(durable: bool, follows: Action) -> None:  # noqa: FBT001
    """
    Out of every line.
    """
    assert follows == Story(durable=durable).event(NotAlone())


def test_the_first_and_the_last_attempts_are_reported() -> None:
    """
    A long trouble makes no long result.
    """
    story = Story(durable=True)
    for number in range(3 * ATTEMPTS_REPORTED_MAX):
        story.failed("unavailable" if number < ATTEMPTS_REPORTED_MAX else "rate_limited")

    outcomes = [each.outcome for each in story.run.attempts]

    half = ATTEMPTS_REPORTED_MAX // 2
    assert ["unavailable"] * half + ["rate_limited"] * half == outcomes
