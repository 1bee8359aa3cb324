"""Which lines a task that waits for a slot stands in, when it looks again and its routes have changed."""

import asyncio
from collections.abc import Callable
from typing import Any

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


async def test_who_has_had_a_turn_or_left_leaves_no_timer_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Neither the waiter's own, nor those of a lane in which nobody waits any more.
    """
    loop = asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = []

    def call_later(delay_s: float, call: Callable[..., object], *given: Any) -> asyncio.TimerHandle:
        timers.append(loop.call_at(loop.time() + delay_s, call, *given))
        return timers[-1]

    monkeypatch.setattr(loop, "call_later", call_later)
    monkeypatch.setattr(lanes, "TIMER_S", 3_600.0)
    monkeypatch.setattr(lanes, "CHAIN_AFTER_S", 3_600.0)
    lane, waiter = Lane("p"), Waiter("normal", "default")
    turn = asyncio.ensure_future(waiter.turn([lane], 3_600.0))
    await asyncio.sleep(0)
    other = Waiter("low", "default")
    assert lane.enter(other)
    lane.slots_freed()
    assert lane is await turn
    other.leave()
    lane.forget(other)

    # Of the lane itself, of its turn, and of the tries that one reason leads to.
    assert 3 == len(timers)
    assert all(timer.cancelled() for timer in timers)


async def test_the_timer_of_a_lane_is_set_again_while_somebody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Whoever is refused at its first call comes to a second one.
    """
    monkeypatch.setattr(lanes, "TIMER_S", 0.001)
    monkeypatch.setattr(lanes, "TIMER_JITTER_S", 0.0)
    lane = Lane("p")
    waiters = [Waiter("normal", "default") for _ in range(2)]

    async def stand(waiter: Waiter) -> None:
        assert await waiter.turn([lane], 3_600.0) is lane
        lane.refused()

    async with asyncio.timeout(60.0):
        await asyncio.gather(*(stand(waiter) for waiter in waiters))

    assert 0 == len(lane)


async def test_who_met_replicas_that_were_leaving_is_called_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    With no attempt that ends and no timer of the lane.
    """
    monkeypatch.setattr(lanes, "TIMER_S", 3_600.0)
    lane, waiter = Lane("p"), Waiter("normal", "default")
    turn = asyncio.ensure_future(waiter.turn([lane], 3_600.0))
    await asyncio.sleep(0)
    lane.refused(misled=True)

    async with asyncio.timeout(60.0):
        assert lane is await turn
