"""Which lines a task that waits for a slot stands in, when it looks again and its routes have changed."""

import asyncio

import pytest

from flotilla.fabric import lanes
from flotilla.fabric.errors import LanesFullError
from flotilla.fabric.lanes import Lane, Waiter


async def test_a_line_that_was_left_is_stood_in_again_when_its_route_is_back() -> None:
    """
    Its next free slot is the task's.
    """
    here, there = Lane("here"), Lane("there")
    waiter = Waiter("normal", "default")
    assert await waiter.turn([here, there], 0.0) is None
    assert await waiter.turn([there], 0.0) is None
    assert (0, 1) == (len(here), len(there))

    turn = asyncio.ensure_future(waiter.turn([here, there], 60.0))
    await asyncio.sleep(0)
    assert (1, 1) == (len(here), len(there))
    here.own_attempt_ended()

    assert here is await turn
    assert (0, 0) == (len(here), len(there))


async def test_where_no_line_takes_one_more_the_task_is_told_how_many_stand_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    Though it stood in another line before.
    """
    monkeypatch.setattr(lanes, "WAITING_MAX", 1)
    full, other = Lane("full"), Lane("other")
    first, last = Waiter("normal", "default"), Waiter("normal", "default")
    await first.turn([full], 0.0)
    await last.turn([other], 0.0)

    with pytest.raises(LanesFullError) as refused:
        await last.turn([full], 0.0)

    assert 1 == refused.value.limit
    assert (1, 0) == (len(full), len(other))
    first.leave()
