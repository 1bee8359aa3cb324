"""Consensus, the pure part: which routes are asked at the same time, and what their answers come to."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flotilla.contracts.errors import PolicyError
from flotilla.contracts.policy import RouteEntry
from flotilla.routing.candidates import Candidate
from flotilla.routing.consensus import ConsensusParameters, agreed_on, asked_together, flaw, is_undecided, plan
from flotilla.routing.health import RouteHealth
from flotilla.routing.policy_check import parse_policy
from flotilla.routing.types import Choice, Panel, PoolView, Route, TaskView

A, B, C = (Route(zone="local", pool=name, model="m") for name in "abc")
PANEL = Panel((A, B, C), 2, 2)
LISTED = tuple(Choice(route=route, reason="listed") for route in (A, B, C))
PROBE = Choice(route=C, reason="health probe", probe=True)
ILL = Choice(route=A, reason="ejected", last_resort=True)
keys = st.lists(st.none() | st.sampled_from("xyz"), max_size=5)


@pytest.mark.parametrize(
    ("choices", "asked"),
    [
        (LISTED, [A, B]),
        (LISTED[::-1], [A, B]),
        (LISTED[1:], [B, C]),
        (LISTED[:1], [A]),
        ((PROBE, *LISTED[:2]), [C, A]),
        ((*LISTED[1:], ILL), [B, C]),
        ((), []),
    ],
    ids=[
        "the first two of the policy",
        "wherever full ones stand in the decision",
        "the next where the first is out",
        "one alone",
        "a health probe has a place",
        "an ejected one has none",
        "nobody",
    ],
)
def test_the_first_routes_of_the_policy_are_asked(choices: tuple[Choice, ...], asked: list[Route]) -> None:
    """
    As many as there are.
    """
    assert asked == [choice.route for choice in asked_together(PANEL, choices)]


def test_each_says_with_how_many_it_was_asked() -> None:
    """
    A health probe says that it is one; one alone keeps the reason that it has.
    """
    assert ["one of 2 asked at the same time"] * 2 == [each.reason for each in asked_together(PANEL, LISTED)]
    assert "health probe" == asked_together(PANEL, (PROBE, *LISTED))[0].reason
    assert "listed" == asked_together(PANEL, LISTED[:1])[0].reason


@pytest.mark.parametrize(
    ("answers", "agree", "place"),
    [
        (["x", "x"], 2, 0),
        (["x", "y"], 2, None),
        ([None, "x"], 2, None),
        (["x", "y", "y"], 2, 1),
        (["x", None, "x"], 2, 0),
        (["x", "y", "y"], 3, None),
        (["y", "x", "x", "y", "x"], 2, 1),
        ([], 2, None),
        ([None, None], 2, None),
    ],
)
def test_what_enough_say_is_the_result(answers: list[str | None], agree: int, place: int | None) -> None:
    """
    The first in the policy's order of those that agree.
    """
    assert place == agreed_on(answers, agree)


@given(keys, st.integers(1, 3))
def test_an_answer_that_is_taken_has_so_many_behind_it(answers: list[str | None], agree: int) -> None:
    """
    And where none is taken, none has.
    """
    place = agreed_on(answers, agree)

    most = max((answers.count(each) for each in answers if each is not None), default=0)
    assert (place is not None) == (most >= agree)
    assert place is None or answers.count(answers[place]) == most


@given(keys, keys, st.integers(2, 3))
def test_nothing_is_given_up_that_could_still_agree(
    known: list[str | None], more: list[str | None], agree: int
) -> None:
    """
    Whatever the rest says.
    """
    if not is_undecided(known, agree, pending=len(more)):
        assert agreed_on([*known, *more], agree) is None or agreed_on(known, agree) is not None


@pytest.mark.parametrize(
    ("answers", "pending", "waits"),
    [
        ([None], 1, True),
        ([None, "x"], 1, True),
        (["x", None], 0, False),
        ([None, "x", None], 1, True),
        (["x", "y"], 0, False),
        ([None], 0, False),
        (["x", "x", None], 1, False),
        (["x", "x", "y", None], 1, False),
    ],
)
def test_a_first_answer_is_waited_for(answers: list[str | None], pending: int, *, waits: bool) -> None:
    """
    Also where no two can agree any more: it may be the last resort.
    """
    assert waits == is_undecided(answers, 2, pending=pending)


def test_nobody_is_waited_for_who_cannot_bring_an_agreement_beside_an_answer() -> None:
    """
    The routes behind are asked at once.
    """
    assert not is_undecided(["x", None], 3, pending=1)
    assert is_undecided([None], 3, pending=1)


def test_more_cannot_agree_than_are_asked() -> None:
    """
    The policy is refused, with the key.
    """
    with pytest.raises(PolicyError) as caught:
        parse_policy('[default]\nstrategy = "consensus"\nstrategy_options = { ask = 2, agree = 3 }')

    assert (
        "default.strategy_options.agree: 3 answers cannot agree where 2 are asked for (ask)",
    ) == caught.value.faults


@pytest.mark.parametrize(
    ("ask", "agree", "at_least"), [(2, 2, 2), (3, 2, 2), (2, 3, 2)], ids=["both", "two of three", "no more than asked"]
)
def test_a_decision_says_how_many_are_asked_and_how_many_must_agree(ask: int, agree: int, at_least: int) -> None:
    """
    With the order of the policy, in which the candidates come.
    """
    known, entry = RouteHealth(), RouteEntry(pool="a")
    view = PoolView(zone="local", pool="a", models={}, replicas=1, slots=1)
    candidates = [
        Candidate(place=place, route=route, entry=entry, pool=view, known=known, busy=0, free=1)
        for place, route in enumerate((A, B, C))
    ]
    parameters = ConsensusParameters(ask=ask, agree=agree, answer_anyway=False)

    order = plan(
        candidates, TaskView(scope="default", capability="c", data_class="public"), parameters, random.Random(1)
    )

    assert candidates == order.candidates
    assert Panel((A, B, C), ask, at_least, answer_anyway=False) == order.panel
    assert f"first of the {ask} that are asked at the same time" == order.first
    assert "asked with the first, or behind them" == order.behind


def test_as_many_may_have_to_agree_as_are_asked() -> None:
    """
    All of them.
    """
    assert "" == flaw(ConsensusParameters(ask=3, agree=3))
