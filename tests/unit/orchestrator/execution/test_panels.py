"""Consensus in a task's run: when several routes are asked at the same time, and what follows their answers."""

from typing import Final

import msgspec
import pytest

from flotilla.contracts.attempts import Usage
from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorKind, FailureKind
from flotilla.contracts.results import AttemptReport
from flotilla.routing.types import Choice, Decision, Escalation, Panel, Route
from flotilla.testkit.run_story import DEADLINE_S, FINISHED, HERE, THERE, TO_HERE, TO_THERE, Story, told
from orchestrator.execution.cascades import answers_anyway
from orchestrator.execution.next_action import REROUTE_EVERY_S
from orchestrator.execution.panels import TOO_FEW_LOOK_S, chosen_part, panel_due, without_vote
from orchestrator.execution.retries import ATTEMPTS_MAX
from orchestrator.execution.run_state import Part, PartEnded, RouteTries, RunState
from orchestrator.execution.run_steps import (
    AskPanel,
    Escalate,
    Fail,
    FindRoutes,
    Finish,
    PanelEnded,
    Park,
    Pause,
    Refresh,
    Send,
    WaitForSlot,
)
from orchestrator.state.replica_states import Replica

BEHIND: Final = Route(zone="cloud", pool="behind", model="m")
TO_BEHIND: Final = Choice(route=BEHIND, reason="third")
WHY: Final = "no 2 of 2 answers agree"


def consensus(*choices: Choice, ask: int = 2, agree: int = 2, answer_anyway: bool = True) -> Decision:
    """A decision of a consensus."""
    order = tuple(choice.route for choice in choices)
    return Decision(routes=choices, panel=Panel(order, ask, agree, answer_anyway=answer_anyway))


THREE: Final = consensus(TO_HERE, TO_THERE, TO_BEHIND)


def part(story: Story, choice: Choice, *, answers: bool = True, kind: str = "unavailable") -> PartEnded:
    """A part that answered, or failed as it says."""
    word = "ok" if answers else kind
    report = AttemptReport(pool=choice.route.pool, model="m", outcome=word, latency_ms=1.0, reason=choice.reason)
    state = RunState(story.run.task, attempts=[report], usage=Usage(input_tokens=3), part=Part(choice.route))
    if answers:
        return PartEnded(choice, state, FINISHED, "r1")
    state.failures = state.counted = 1
    state.kinds = {FailureKind(kind)}
    state.routes = {choice.route: RouteTries(failures=1, status="resting")}
    return PartEnded(choice, state, error=TaskError(ErrorKind.PROVIDER_FAILED, kind))


def asked(story: Story, decision: Decision = THREE) -> AskPanel:
    """What is asked at the same time."""
    action = story.routed(decision)
    assert isinstance(action, AskPanel)
    return action


def test_the_first_routes_are_asked_at_the_same_time() -> None:
    """
    With the reason; the third is behind.
    """
    ask = asked(Story())

    assert ([HERE, THERE], 2) == ([choice.route for choice in ask.choices], ask.consensus.agree)
    assert {"one of 2 asked at the same time"} == {choice.reason for choice in ask.choices}


def test_an_answer_that_others_agree_with_is_the_result_and_all_are_paid_for() -> None:
    """
    Every attempt is on record.
    """
    story = Story()
    ask = asked(story)
    ended = PanelEnded(tuple(part(story, choice) for choice in ask.choices), 0)

    assert Finish() == story.event(ended)
    assert Usage(input_tokens=6) == story.run.usage
    assert ["one of 2 asked at the same time; agreed with others", "one of 2 asked at the same time"] == [
        each.reason for each in story.run.attempts
    ]


def test_without_agreement_the_routes_behind_are_asked_with_the_reason() -> None:
    """
    None of those that disagreed is asked again; what is behind is believed.
    """
    story = Story()
    ask = asked(story)

    assert Escalate() == story.event(PanelEnded(tuple(part(story, choice) for choice in ask.choices), None))
    assert FindRoutes() == story.refreshed()
    send = story.routed(THREE)
    assert isinstance(send, Send)
    assert (BEHIND, f"escalated: {WHY}") == (send.choice.route, send.choice.reason)
    assert Finish() == story.finished(TO_BEHIND)


@pytest.mark.parametrize("answer_anyway", [True, False])
def test_with_nobody_behind_the_first_answer_is_the_result_or_none_is(*, answer_anyway: bool) -> None:
    """
    As the policy says.
    """
    story = Story()
    two = consensus(TO_HERE, TO_THERE, answer_anyway=answer_anyway)
    parts = tuple(part(story, choice) for choice in asked(story, two).choices)
    story.event(PanelEnded(parts, None))
    story.refreshed()
    action = story.routed(two)

    assert ErrorKind.NO_ROUTE == told(action)
    assert isinstance(action, Fail)
    assert answer_anyway == answers_anyway(story.run, action.error)
    assert "no route behind here answered: no 2 of 2 answers agree" == action.error.message
    assert parts[0] is chosen_part(PanelEnded(parts, None))
    assert parts[1] is chosen_part(PanelEnded(parts, 1))


def test_an_answer_alone_is_not_an_agreement() -> None:
    """
    The other route failed: the one behind decides.
    """
    story = Story()
    here, there = asked(story).choices

    ended = PanelEnded((part(story, here, answers=False), part(story, there)), None)
    assert Escalate() == story.event(ended)
    story.refreshed()
    send = story.routed(THREE)
    assert isinstance(send, Send)
    assert (BEHIND, "escalated: 1 of 2 routes answered, and 2 must agree") == (send.choice.route, send.choice.reason)


def test_the_reason_says_how_many_must_agree_not_how_many_were_asked() -> None:
    """
    Two of three; all of them where the decision had no panel any more.
    """
    for panel_kept, why in ((True, "no 2 of 3 answers agree"), (False, "no 3 of 3 answers agree")):
        story = Story()
        parts = tuple(
            part(story, choice) for choice in asked(story, consensus(TO_HERE, TO_THERE, TO_BEHIND, ask=3)).choices
        )
        if not panel_kept:
            story.run.panel = None
        story.event(PanelEnded(parts, None))

        assert story.run.kept is not None
        assert why == story.run.kept.why


def test_a_part_that_was_cancelled_has_no_vote_and_no_failure() -> None:
    """
    Nothing is known of its route.
    """
    run = PartStory().run
    run.attempts.append(AttemptReport(pool="here", model="m", outcome="cancelled", latency_ms=1.0, reason=""))

    error = without_vote(run)

    assert (ErrorKind.NO_ROUTE, "the route is out") == (error.kind, error.message)


def test_when_all_of_them_fail_what_is_behind_is_asked_alone() -> None:
    """
    And an asked task without anything behind fails as elsewhere.
    """
    story = Story()
    parts = tuple(part(story, choice, answers=False) for choice in asked(story).choices)

    assert chosen_part(PanelEnded(parts, None)) is None
    assert Refresh() == story.event(PanelEnded(parts, None))
    assert story.run.waiting_since is None
    story.refreshed()
    assert Send(TO_BEHIND) == story.routed(THREE)
    assert 2 == story.run.failures


def open_again(story: Story, choice: Choice) -> PartEnded:
    """A part that ended without an answer, and whose route may be tried."""
    ended = part(story, choice, answers=False)
    ended.state.routes = {choice.route: RouteTries(failures=1)}
    return ended


def test_no_route_of_them_is_asked_alone_while_one_is_behind() -> None:
    """
    Its answer would be the result, and nobody would have agreed with it.
    """
    story = Story()
    here, there = asked(story).choices

    story.event(PanelEnded((part(story, here, answers=False), open_again(story, there)), None))
    story.refreshed()

    assert Send(TO_BEHIND) == story.routed(THREE)


def test_with_nobody_behind_they_are_asked_together_again_after_a_pause() -> None:
    """
    Of an asked task too, and not without a pause.
    """
    story = Story()
    two = consensus(TO_HERE, TO_THERE)
    here, there = asked(story, two).choices
    story.event(PanelEnded((open_again(story, here), open_again(story, there)), None))
    story.refreshed()

    assert isinstance(story.routed(two), Pause)
    story.refreshed()
    assert [HERE, THERE] == [choice.route for choice in asked(story, two).choices]


def test_a_durable_task_asks_them_together_again_in_its_next_round() -> None:
    """
    What failed has had its pause; an answer that was kept meanwhile is not half of an agreement later.
    """
    story = Story(durable=True)
    two = consensus(TO_HERE, TO_THERE, answer_anyway=False)
    here, there = asked(story, two).choices
    story.event(PanelEnded((part(story, here), part(story, there, answers=False)), None))
    story.refreshed()

    assert isinstance(story.routed(two), Park)
    story.refreshed()
    assert [HERE, THERE] == [choice.route for choice in asked(story, two).choices]


def test_behind_a_panel_without_answers_no_second_one_is_asked() -> None:
    """
    However many routes are there.
    """
    story = Story()
    four = consensus(TO_HERE, TO_THERE, TO_BEHIND, Choice(route=Route(zone="cloud", pool="last", model="m"), reason=""))
    parts = tuple(part(story, choice, answers=False) for choice in asked(story, four).choices)

    assert isinstance(story.event(PanelEnded(parts, None)), Refresh)
    assert Send(TO_BEHIND) == story.routed(four)


def test_an_answer_that_a_cascade_kept_is_followed_by_no_panel() -> None:
    """
    The policy may have changed since: what is behind is still asked alone.
    """
    story = Story()
    escalation = Escalation((HERE, THERE, BEHIND), 0.8)
    story.routed(msgspec.structs.replace(THREE, panel=None, escalation=escalation))
    assert Escalate() == story.finished(output=b'{"confidence":0.1}')
    story.refreshed()

    send = story.routed(THREE)
    assert isinstance(send, Send)
    assert THERE == send.choice.route


def test_the_tasks_own_failure_is_asked_nowhere_else() -> None:
    """
    Whatever another route said, and its own before.
    """
    story = Story()
    here, there = asked(story).choices
    refused = part(story, here, answers=False, kind="not_approved")
    refused.state.kinds.add(FailureKind.TIMEOUT)

    action = story.event(PanelEnded((refused, part(story, there)), None))

    assert isinstance(action, Fail)
    assert "not_approved" == action.error.message


@pytest.mark.parametrize("is_open", [True, False])
def test_the_tries_of_a_task_are_bounded_over_all_routes(*, is_open: bool) -> None:
    """
    A panel's count as any others.
    """
    story = Story()
    story.run.counted = ATTEMPTS_MAX - 2
    parts = tuple(part(story, choice, answers=False) for choice in asked(story).choices)

    assert ErrorKind.PROVIDER_FAILED == told(story.event(PanelEnded(parts, None, is_open=is_open)))


@pytest.mark.parametrize("answer_anyway", [True, False])
@pytest.mark.parametrize("durable", [True, False])
def test_one_route_alone_answers_only_where_an_answer_without_agreement_may(
    *, durable: bool, answer_anyway: bool
) -> None:
    """
    Else a durable task waits for more of them, and an asked one is refused.
    """
    story = Story(durable=durable)
    action = story.routed(consensus(TO_HERE, answer_anyway=answer_anyway))

    if answer_anyway:
        assert Send(TO_HERE) == action
    elif durable:
        assert Park(TOO_FEW_LOOK_S) == action
    else:
        assert ErrorKind.NO_ROUTE == told(action)


@pytest.mark.parametrize(("there", "count"), [((TO_HERE,), "1 of its routes"), ((), "none of its routes")])
def test_a_task_that_is_refused_for_want_of_routes_says_how_many_there_are(
    there: tuple[Choice, ...], count: str
) -> None:
    """
    And how many answers must agree.
    """
    story = Story()
    panel = consensus(TO_HERE, TO_THERE, answer_anyway=False).panel
    assert panel is not None

    action = panel_due(story.run, panel, there)

    assert isinstance(action, Fail)
    assert f"2 answers must agree on classify, and {count} can be asked now" == action.error.message


def test_where_fewer_are_there_than_must_agree_those_must() -> None:
    """
    Three of three, and one is out.
    """
    assert 2 == asked(Story(), consensus(TO_HERE, TO_THERE, ask=3, agree=3)).consensus.agree


@pytest.mark.parametrize(
    ("deaths", "losses", "asks"), [(0, 0, 3), (1, 0, 2), (2, 0, 1), (0, 1, 2), (1, 1, 1), (0, 2, 1), (2, 1, 1)]
)
def test_no_more_replicas_have_a_task_at_a_time_than_may_still_die_of_it(deaths: int, losses: int, asks: int) -> None:
    """
    A deadly task costs three replicas under this strategy, too: the other routes are asked afterwards, and none alone is
    the result.
    """
    story = Story()
    story.run.deaths = deaths
    story.run.losses = [frozenset({Replica("here", str(number))}) for number in range(losses)]
    action = story.routed(consensus(TO_HERE, TO_THERE, TO_BEHIND, ask=3))

    assert asks == (len(action.choices) if isinstance(action, AskPanel) else 0)


def test_replicas_that_parts_lost_count_against_the_task() -> None:
    """
    As those of its own attempts do.
    """
    story = Story()
    here, there = asked(story).choices
    lost = part(story, here, answers=False, kind="lost")
    lost.state.losses = [frozenset({Replica("here", "r1")})]
    story.event(PanelEnded((lost, part(story, there, answers=False, kind="lost")), None))
    story.refreshed(standings={"r1": "gone"})

    assert 1 == story.run.deaths


def lost(story: Story, choice: Choice, name: str = "r1") -> PartEnded:
    """A part whose replica came into trouble with it."""
    ended = open_again(story, choice)
    ended.state.kinds = {FailureKind.LOST}
    ended.state.losses = [frozenset({Replica("here", name)})]
    return ended


def test_a_route_that_was_lost_is_asked_again_before_it_is_decided() -> None:
    """
    An answer alone decides nothing, and the route behind is not asked: the lost one may agree. It is paid for once.
    """
    story = Story()
    here, there = asked(story).choices
    answered = part(story, there)

    assert Refresh() == story.event(PanelEnded((lost(story, here), answered), None, is_open=True))
    assert FindRoutes() == story.refreshed(standings={"r1": "gone"})
    again = story.routed(THREE)
    assert isinstance(again, AskPanel)
    assert ([HERE], (answered,)) == ([choice.route for choice in again.choices], again.consensus.ended)
    assert Finish() == story.event(PanelEnded((part(story, here), answered), 0))
    assert (3, Usage(input_tokens=9)) == (len(story.run.attempts), story.run.usage)


def test_a_lost_route_that_is_out_has_no_answer_and_the_one_behind_is_asked() -> None:
    """
    With the reason.
    """
    story = Story()
    here, there = asked(story).choices
    story.event(PanelEnded((lost(story, here), part(story, there)), None, is_open=True))
    story.refreshed(standings={"r1": "gone"})
    without = msgspec.structs.replace(THREE, routes=(TO_THERE, TO_BEHIND))

    assert Escalate() == story.routed(without)
    story.refreshed()
    send = story.routed(without)
    assert isinstance(send, Send)
    assert (BEHIND, "escalated: 1 of 2 routes answered, and 2 must agree") == (send.choice.route, send.choice.reason)


@pytest.mark.parametrize("answer_anyway", [True, False])
def test_an_answer_is_kept_while_a_lost_route_is_asked_again(*, answer_anyway: bool) -> None:
    """
    Should the time run out meanwhile, it is the result where it may be without agreement.
    """
    story = Story()
    decision = consensus(TO_HERE, TO_THERE, answer_anyway=answer_anyway)
    here, there = asked(story, decision).choices
    story.event(PanelEnded((part(story, here), lost(story, there)), None, is_open=True))
    story.now_s = DEADLINE_S
    late = story.refreshed(standings={"r1": "gone"})

    assert isinstance(late, Fail)
    assert (ErrorKind.DEADLINE_EXCEEDED, answer_anyway) == (late.error.kind, answers_anyway(story.run, late.error))


def test_a_consensus_costs_no_more_replicas_than_any_other_task() -> None:
    """
    Both routes lose a replica to it, then one at a time is asked, and after the third it is given up.
    """
    story = Story()
    here, there = asked(story).choices
    story.event(PanelEnded((lost(story, here, "r1"), lost(story, there, "r2")), None, is_open=True))
    assert FindRoutes(alone=True) == story.refreshed(standings={"r1": "gone", "r2": "gone"})
    again = story.routed(THREE)
    assert isinstance(again, AskPanel)
    assert [HERE] == [choice.route for choice in again.choices]
    story.event(PanelEnded((lost(story, here, "r3"),), None, is_open=True))

    assert ErrorKind.PROVIDER_FAILED == told(story.refreshed(standings={"r3": "gone"}))


class PartStory(Story):
    """A part's run."""

    def __init__(self, *, once: bool = False, durable: bool = False) -> None:
        super().__init__(durable=durable)
        self.run.part = Part(HERE, once)


@pytest.mark.parametrize("durable", [True, False])
def test_a_part_asks_its_route_and_waits_for_no_other(*, durable: bool) -> None:
    """
    Where it is out, the part is over: the whole run knows what to do without it.
    """
    story = PartStory(durable=durable)

    assert Send(TO_HERE) == story.routed(THREE)
    assert WaitForSlot(("here",), REROUTE_EVERY_S) == story.refused()
    assert ErrorKind.NO_ROUTE == told(story.routed(Decision(routes=(TO_THERE,))))
    assert ErrorKind.NO_ROUTE == told(
        story.routed(Decision(routes=(msgspec.structs.replace(TO_HERE, last_resort=True),)))
    )


@pytest.mark.parametrize("durable", [True, False])
def test_a_part_ends_where_its_route_has_had_its_tries(*, durable: bool) -> None:
    """
    Also where a whole durable task would wait for what passes.
    """
    story = PartStory(durable=durable)
    story.routed(THREE)
    story.failed("timeout")
    story.refreshed()

    assert ErrorKind.PROVIDER_FAILED == told(story.routed(THREE))


def test_a_part_that_lost_a_replica_is_over() -> None:
    """
    Whether it died of the task is found out before the task goes to another.
    """
    story = PartStory()
    story.routed(THREE)
    story.failed("lost", suspects=("r1",))

    assert ErrorKind.PROVIDER_FAILED == told(story.refreshed(standings={"r1": "well"}))


def test_a_single_try_stands_in_no_line_and_is_not_repeated() -> None:
    """
    It is made beside another that goes on.
    """
    refused, failed = PartStory(once=True), PartStory(once=True)
    refused.routed(THREE)
    failed.routed(THREE)

    no_slot = refused.refused()
    assert isinstance(no_slot, Fail)
    assert (ErrorKind.NO_CAPACITY, "every slot was busy for 0 s") == (no_slot.error.kind, no_slot.error.message)
    assert ErrorKind.PROVIDER_FAILED == told(failed.failed("rate_limited"))


def test_a_part_whose_turn_came_for_another_pool_stands_in_line_again() -> None:
    """
    Until its deadline at most.
    """
    story = PartStory()
    story.now_s = DEADLINE_S - REROUTE_EVERY_S / 2
    story.refreshed(turn_of="there")

    action = story.routed(THREE)
    assert isinstance(action, WaitForSlot)
    assert pytest.approx(REROUTE_EVERY_S / 2) == action.up_to_s


def test_a_part_never_escalates() -> None:
    """
    What its answer is worth, the whole run decides.
    """
    story = PartStory()
    escalation = Escalation((HERE, THERE), 0.8)
    story.routed(msgspec.structs.replace(THREE, panel=None, escalation=escalation))

    assert Finish() == story.finished(output=b'{"label":"a","confidence":0.1}')
