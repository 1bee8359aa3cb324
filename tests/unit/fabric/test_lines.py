"""A line of waiting tasks: places by ticket within a scope, turns by weight between scopes."""

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flotilla.fabric.lines import Line


class Ticketed(NamedTuple):
    """Who stands in a line."""

    scope: str
    ticket: int


def line_of(*waiters: Ticketed, weights: dict[str, int] | None = None) -> Line[Ticketed]:
    line = Line[Ticketed](weights or {})
    for waiter in waiters:
        line.enter(waiter)
    return line


def a(ticket: int) -> Ticketed:
    return Ticketed("a", ticket)


def b(ticket: int) -> Ticketed:
    return Ticketed("b", ticket)


@given(st.permutations(range(6)))
def test_places_go_by_ticket_whoever_comes_when(tickets: list[int]) -> None:
    """
    A task that was refused comes back later than others, and stands where it stood.
    """
    line = line_of(*(a(ticket) for ticket in tickets))

    assert [a(ticket) for ticket in range(6)] == list(line.in_turn())
    assert 6 == len(line)


@pytest.mark.parametrize(
    ("others", "last"),
    [([], True), ([b(9)], True), ([a(4)], True), ([a(6)], False), ([a(4), a(6)], False), ([a(6), b(4)], False)],
)
def test_who_comes_behind_all_others_of_its_scope_is_the_last(others: list[Ticketed], *, last: bool) -> None:
    """
    A full line takes no more of those; one that comes back to its place is none.
    """
    assert last is line_of(*others).is_last(a(5))


@pytest.mark.parametrize("ticket", [1, 2, 3])
def test_who_leaves_is_not_in_the_line_any_more(ticket: int) -> None:
    """
    From the front, the middle or the end; the others keep their places.
    """
    line = line_of(a(1), a(2), a(3), b(4))

    assert line.forget(a(ticket))
    assert [waiter for waiter in (a(1), a(2), a(3), b(4)) if waiter != a(ticket)] == list(line.in_turn())
    assert 3 == len(line)


@pytest.mark.parametrize("stranger", [a(2), b(1)], ids=["of a scope that waits", "of one that does not"])
def test_who_is_not_there_cannot_leave(stranger: Ticketed) -> None:
    """
    Nothing is counted twice.
    """
    line = line_of(a(1))

    assert not line.forget(stranger)
    assert 1 == len(line)


def test_a_scope_that_nobody_waits_of_is_not_kept() -> None:
    """
    An empty line is empty.
    """
    line = line_of(a(1), b(2))
    line.forget(a(1))
    line.forget(b(2))

    assert [] == list(line.in_turn())
    assert 0 == len(line)


def test_the_scope_that_has_spent_least_goes_next_and_of_equals_who_came_first() -> None:
    """
    Each turn costs its scope one, whatever it did before.
    """
    line = line_of(b(1), a(2), b(3), a(4))

    assert [b(1), b(3), a(2), a(4)] == list(line.in_turn())
    line.spend("b")
    assert [a(2), a(4), b(1), b(3)] == list(line.in_turn())
    line.spend("a")
    assert [b(1), b(3), a(2), a(4)] == list(line.in_turn())


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 40))
def test_a_refunded_turn_was_none(weight_a: int, weight_b: int, turns: int) -> None:
    """
    The same scope is next as if it had not been taken, now and later.
    """
    line, other = (line_of(a(1), b(2), weights={"a": weight_a, "b": weight_b}) for _ in range(2))
    for turn in range(turns):
        scope = next(line.in_turn()).scope
        line.spend(scope)
        other.spend(scope)
        if turn % 3 == 0:
            refused = next(line.in_turn()).scope
            line.spend(refused)
            line.refund(refused)

        assert list(other.in_turn()) == list(line.in_turn())


@given(st.integers(1, 5), st.integers(1, 5))
def test_turns_are_shared_by_weight(weight_a: int, weight_b: int) -> None:
    """
    Of so many turns as both weights together each has its weight.
    """
    line = line_of(a(1), b(2), weights={"a": weight_a, "b": weight_b})
    turns: list[str] = []
    for _ in range(10 * (weight_a + weight_b)):
        turns.append(next(line.in_turn()).scope)
        line.spend(turns[-1])

    assert (10 * weight_a, 10 * weight_b) == (turns.count("a"), turns.count("b"))


def test_a_scope_without_a_weight_has_the_weight_one() -> None:
    """
    Also beside scopes that have one.
    """
    line = line_of(a(1), b(2), weights={"a": 3})
    turns: list[str] = []
    for _ in range(8):
        turns.append(next(line.in_turn()).scope)
        line.spend(turns[-1])

    assert (6, 2) == (turns.count("a"), turns.count("b"))


def test_a_scope_that_comes_later_has_saved_nothing_up() -> None:
    """
    It takes turns from now on, and so does one that comes back.
    """
    line = line_of(a(1))
    for _ in range(10):
        line.spend("a")
    line.enter(b(2))
    turns: list[str] = []
    for _ in range(4):
        turns.append(next(line.in_turn()).scope)
        line.spend(turns[-1])
    assert 2 == turns.count("b")

    line.forget(b(2))
    for _ in range(10):
        line.spend("a")
    line.enter(b(3))
    turns.clear()
    for _ in range(4):
        turns.append(next(line.in_turn()).scope)
        line.spend(turns[-1])
    assert 2 == turns.count("b")


def test_a_scope_that_leaves_and_comes_back_keeps_what_it_has_spent() -> None:
    """
    To leave the line is no way to the front.
    """
    line = line_of(a(1), b(2))
    for _ in range(3):
        line.spend("a")
    line.forget(a(1))
    line.enter(a(3))

    assert "b" == next(line.in_turn()).scope
    line.spend("b")
    assert "b" == next(line.in_turn()).scope


def test_a_scope_whose_line_was_empty_has_not_saved_up_its_turn() -> None:
    """
    It comes back owing it.
    """
    line = line_of(a(1))
    line.spend("a")
    line.forget(a(1))
    line.enter(b(3))
    line.enter(a(2))

    assert [b(3), a(2)] == list(line.in_turn())
