"""What scopes share is never one scope's alone."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.turns import Turns
from orchestrator.state.shares import Shares

SCOPES = ("a", "b", "c")


@given(st.lists(st.tuples(st.sampled_from(SCOPES), st.integers(1, 5), st.booleans())))
def test_shares_stay_within_their_bounds_and_shut_nobody_out(steps: list[tuple[str, int, bool]]):
    """
    Whatever is taken and given back: no scope over its own bound, all together under twice theirs, and a scope below an
    equal share is never refused.
    """
    shares = Shares(total_max=12, per_scope_max=8)
    held = Counter[str]()
    for scope, amount, takes in steps:
        if takes:
            taken = shares.take(scope, amount)
            if held[scope] + amount <= 12 // len(SCOPES):
                assert taken
            held[scope] += amount * taken
        elif held[scope] >= amount:
            shares.give_back(scope, amount)
            held[scope] -= amount
        assert all(shares.of(each) == held[each] <= 8 for each in SCOPES)
        assert held.total() <= 24


async def _begin(turns: Turns, scope: str, order: list[str]) -> None:
    await turns.take(scope)
    order.append(scope)


async def test_a_scope_with_a_long_line_takes_turns_with_one_that_has_few():
    """
    The places that become free go to and fro between the scopes that wait.
    """
    turns, order = Turns(places=1, per_scope_max=1), list[str]()
    waiting = [asyncio.create_task(_begin(turns, "a", order)) for _ in range(50)]
    waiting += [asyncio.create_task(_begin(turns, "b", order)) for _ in range(2)]
    await asyncio.sleep(0)
    for _ in range(51):
        turns.give_back(order[-1])
        await asyncio.sleep(0)

    assert order[:5] == ["a", "a", "b", "a", "b"]
    assert Counter(order) == {"a": 50, "b": 2}
    await asyncio.gather(*waiting)


async def test_a_scope_never_holds_more_places_than_it_may():
    """
    The others stay free for those who come later.
    """
    turns, order = Turns(places=3, per_scope_max=2), list[str]()
    waiting = [asyncio.create_task(_begin(turns, "a", order)) for _ in range(5)]
    await asyncio.sleep(0)
    waiting.append(asyncio.create_task(_begin(turns, "b", order)))
    await asyncio.sleep(0)

    assert order == ["a", "a", "b"]
    for _ in range(3):
        turns.give_back("a")
        await asyncio.sleep(0)
    assert order == ["a", "a", "b", "a", "a", "a"]
    await asyncio.gather(*waiting)


@pytest.mark.parametrize("when", ["waiting", "given"])
async def test_who_is_cancelled_in_line_keeps_no_place(when: str):
    """
    Before its turn, or in the very moment of it.
    """
    turns, order = Turns(places=1, per_scope_max=1), list[str]()
    await turns.take("a")
    cancelled = asyncio.create_task(_begin(turns, "a", order))
    await asyncio.sleep(0)
    behind = asyncio.create_task(_begin(turns, "b", order))
    await asyncio.sleep(0)
    if when == "given":
        turns.give_back("a")
        cancelled.cancel()
    else:
        cancelled.cancel()
        await asyncio.sleep(0)
        turns.give_back("a")
    await asyncio.wait_for(behind, 1)

    assert order == ["b"]
    assert cancelled.cancelled()
