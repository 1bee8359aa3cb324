"""Room that scopes share: what is reserved for one is never another's, and the whole is never more than there is."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorKind
from orchestrator.state.ask_quota import AsksInFlight
from orchestrator.state.shared_quota import Room

SCOPES = ("a", "b", "c")
steps = st.lists(st.tuples(st.sampled_from(SCOPES), st.integers(1, 9), st.booleans()), max_size=60)


@given(steps, st.integers(1, 40), st.floats(0.01, 1.0), st.integers(1, 3))
def test_room_is_never_exceeded_and_what_is_reserved_is_always_free(
    steps: list[tuple[str, int, bool]], total_max: int, share_max: float, scopes: int
):
    """
    Whatever is taken and given back: all together within the whole, each within its share, and each finds what is
    reserved for it however much the others hold.
    """
    names = SCOPES[:scopes]
    room = Room(names, total_max=total_max, share_max=share_max)
    reserve = (total_max - room.largest) // (scopes - 1) if scopes > 1 else total_max
    held = Counter[str]()
    for scope, amount, takes in steps:
        if scope not in names:
            continue
        if takes:
            taken = room.take(scope, amount)
            assert taken or held[scope] + amount > reserve
            held[scope] += amount * taken
        elif held[scope] >= amount:
            room.give_back(scope, amount)
            held[scope] -= amount
        assert held.total() <= total_max
        assert all(room.of(each) == held[each] <= room.largest for each in names)
    for scope, amount in held.items():
        room.give_back(scope, amount)
    assert all(_fill(Room(names, total_max=total_max, share_max=share_max), each) == room.largest for each in names)
    assert _fill(room, names[-1]) == room.largest


def test_one_scope_of_three_may_hold_half_and_the_others_share_the_rest():
    """
    The default share with numbers; a scope that is alone holds everything.
    """
    room = Room(SCOPES, total_max=100, share_max=0.5)

    assert [_fill(room, each) for each in SCOPES] == [50, 25, 25]
    assert _fill(Room(("a",), total_max=100, share_max=0.5), "a") == 100


def _fill(room: Room, scope: str) -> int:
    count = 0
    while room.take(scope):
        count += 1
    return count


def _asks(count: int, size: int) -> AsksInFlight:
    return AsksInFlight(
        count=Room(("a", "b"), total_max=count, share_max=0.5), size=Room(("a", "b"), total_max=size, share_max=0.5)
    )


@pytest.mark.parametrize(("count", "size"), [(4, 1_000), (100, 20)])
def test_an_ask_that_finds_no_room_is_told_when_to_come_back_and_takes_none(count: int, size: int):
    """
    By count or by bytes: the third of two scopes' shares is refused, the other scope is not, and leaving makes room.
    """
    asks = _asks(count, size)
    asks.enter("a", 5)
    asks.enter("a", 5)

    for _ in range(3):
        with pytest.raises(TaskError) as refused:
            asks.enter("a", 5)
        assert refused.value.kind is ErrorKind.NO_CAPACITY
        assert refused.value.body.retryable
        assert refused.value.body.details["retry_after_s"] > 0
    asks.enter("b", 5)
    asks.leave("a", 5)
    asks.enter("a", 5)


def test_an_ask_that_never_finds_room_is_too_large():
    """
    Waiting would not help it, so it is not told to wait.
    """
    with pytest.raises(TaskError) as refused:
        _asks(10, 20).enter("a", 11)

    assert refused.value.kind is ErrorKind.TOO_LARGE
    assert refused.value.body.details == {"limit_bytes": 10, "size_bytes": 11}
    assert not refused.value.body.retryable
