"""Cascades: which answer is the result, which is asked for again and where, and what is left when that fails."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorKind
from flotilla.routing.types import Decision, Escalation
from flotilla.testkit.run_story import (
    BOTH,
    CLOSED,
    DEADLINE_S,
    HERE,
    ONLY_HERE,
    THERE,
    TO_HERE,
    TO_THERE,
    Story,
    told,
)
from orchestrator.execution.cascades import answers_anyway, confidence_of
from orchestrator.execution.run_steps import Escalate, Fail, FindRoutes, Finish, Send

UNSURE = b'{"label":"a","confidence":0.4}'
SURE = b'{"label":"a","confidence":0.8}'
WHY = "confidence 0.4 is below 0.8"


def cascade(decision: Decision, *, answer_anyway: bool = True) -> Decision:
    """A decision of a cascade from here to there."""
    escalation = Escalation((HERE, THERE), 0.8, answer_anyway=answer_anyway)
    return msgspec.structs.replace(decision, escalation=escalation)


def escalated(*, answer_anyway: bool = True, durable: bool = False) -> Story:
    """A run whose first answer was not sure enough."""
    story = Story(durable=durable)
    story.routed(cascade(BOTH, answer_anyway=answer_anyway))
    assert Escalate() == story.finished(output=UNSURE)
    assert FindRoutes() == story.refreshed()
    return story


@pytest.mark.parametrize(
    ("output", "follows"),
    [
        (UNSURE, Escalate()),
        (b'{"confidence":0}', Escalate()),
        (SURE, Finish()),
        (b'{"confidence":1}', Finish()),
        (b'{"summary":"s"}', Finish()),
        (b'{"confidence":null}', Finish()),
        (b'{"confidence":"low"}', Finish()),
        (b"[0.1]", Finish()),
    ],
)
def test_an_answer_below_the_threshold_is_asked_for_again(output: bytes, follows: Escalate | Finish) -> None:
    """
    At the threshold it is sure enough; what says nothing of its confidence is believed.
    """
    story = Story()
    story.routed(cascade(BOTH))

    assert follows == story.finished(output=output)


def test_without_a_cascade_nobody_looks_at_the_confidence() -> None:
    """
    The usual way has no further step.
    """
    story = Story()
    story.routed(BOTH)

    assert Finish() == story.finished(output=UNSURE)


def test_the_routes_behind_are_asked_with_the_reason_and_the_last_one_is_believed() -> None:
    """
    The route that was not sure is not asked again; both attempts are on record, and paid for.
    """
    story = escalated()

    send = story.routed(cascade(BOTH))
    assert isinstance(send, Send)
    assert (THERE, f"escalated: {WHY}") == (send.choice.route, send.choice.reason)
    assert Finish() == story.finished(TO_THERE, UNSURE)
    assert ["here", "there"] == [each.pool for each in story.run.attempts]
    assert 6 == story.run.usage.input_tokens


def test_a_task_that_began_behind_does_not_go_to_the_front() -> None:
    """
    The first route had no slot: the last one's answer is the result.
    """
    story = Story()
    story.routed(cascade(BOTH))
    story.refused()

    assert Finish() == story.finished(TO_THERE, UNSURE)


def test_a_streamed_answer_is_not_taken_back() -> None:
    """
    Its caller has read it.
    """
    story = Story()
    story.routed(cascade(BOTH))
    story.run.pieces = 1

    assert Finish() == story.finished(output=UNSURE)


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("decision", [ONLY_HERE, CLOSED, Decision(reason="no live pool")])
@pytest.mark.parametrize("answer_anyway", [True, False])
def test_without_a_route_behind_nothing_is_waited_for(
    decision: Decision, *, durable: bool, answer_anyway: bool
) -> None:
    """
    Also where the answer at hand may not be the result; the route that gave it is not tried again.
    """
    story = escalated(durable=durable, answer_anyway=answer_anyway)

    action = story.routed(cascade(decision, answer_anyway=answer_anyway))

    assert ErrorKind.NO_ROUTE == told(action)
    assert isinstance(action, Fail)
    assert f"no route behind here answered: {WHY}" == action.error.message
    assert answer_anyway == answers_anyway(story.run, action.error)


@pytest.mark.parametrize("kind", ["auth", "refused", "unavailable"])
def test_when_the_routes_behind_fail_the_answer_at_hand_says_why_it_is_the_result(kind: str) -> None:
    """
    Whether the failure is the task's own, the provider's, or passes.
    """
    story = escalated()
    story.routed(cascade(BOTH))
    action = story.failed(kind, TO_THERE)
    for _ in range(5):
        if isinstance(action, Fail):
            break
        story.refreshed()
        action = story.routed(cascade(BOTH))
        if isinstance(action, Send):
            assert THERE == action.choice.route
            action = story.failed(kind, TO_THERE)

    assert isinstance(action, Fail)
    assert answers_anyway(story.run, action.error)
    assert f"; {WHY}, and no route behind it answered" == story.run.attempts[0].reason
    assert {kind} == {each.outcome for each in story.run.attempts[1:]}


def test_at_the_deadline_the_answer_at_hand_is_the_result_and_not_of_a_cancelled_task() -> None:
    """
    It was there in time; whoever has cancelled wants none.
    """
    late = escalated()
    late.now_s = DEADLINE_S
    too_late = late.refreshed()
    cancelled = escalated()
    stopped = cancelled.refreshed(cancelled=True)

    assert isinstance(too_late, Fail)
    assert isinstance(stopped, Fail)
    assert answers_anyway(late.run, too_late.error)
    assert not answers_anyway(cancelled.run, stopped.error)
    assert ["ok"] == [each.outcome for each in cancelled.run.attempts]


def test_a_broken_stream_of_the_route_behind_is_not_continued_with_the_answer_at_hand() -> None:
    """
    The caller has read the beginning of another answer.
    """
    story = escalated()
    story.routed(cascade(BOTH))
    story.run.pieces = 2
    action = story.failed("unavailable", TO_THERE)

    assert isinstance(action, Fail)
    assert not answers_anyway(story.run, action.error)


def test_without_an_answer_at_hand_an_error_is_an_error() -> None:
    """
    The first route of a cascade failed, and so did the next.
    """
    story = Story()
    story.routed(cascade(BOTH))
    story.failed("auth")

    assert Send(TO_THERE) == (story.refreshed() and story.routed(cascade(BOTH)))
    assert not answers_anyway(story.run, TaskError(ErrorKind.NO_ROUTE, "none"))
    assert TO_HERE.route in story.run.routes


@given(st.binary(max_size=30))
def test_whatever_an_output_holds_its_confidence_is_a_number_or_none(output: bytes) -> None:
    """
    The worker may be somebody else's.
    """
    found = confidence_of(msgspec.Raw(output))

    assert found is None or isinstance(found, float)
