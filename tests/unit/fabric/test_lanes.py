"""Lines of tasks that wait for a slot: who is called, by what, and in which order."""

import asyncio

from flotilla.fabric.lanes import Lane, Waiter


async def _stand(lane: Lane, waiter: Waiter, called: list[Waiter]) -> None:
    if await waiter.turn([lane], 5.0) is lane:
        called.append(waiter)


async def test_an_attempt_that_ended_calls_one_and_is_counted() -> None:
    """
    Each end is one try; and it tells a try that is under way that its refusal may be too old.
    """
    lane = Lane("p")
    waiters = [Waiter("normal") for _ in range(3)]
    called: list[Waiter] = []
    standing = [asyncio.ensure_future(_stand(lane, waiter, called)) for waiter in waiters]
    await asyncio.sleep(0)
    before = lane.reasons
    lane.own_attempt_ended()
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert waiters[:1] == called
    assert before + 1 == lane.reasons
    for each in standing:
        each.cancel()


async def test_a_reason_counts_also_when_nobody_stands_in_line_yet() -> None:
    """
    Who is just being refused would stand in line without a call, and wait for the next.
    """
    lane = Lane("p")
    before = lane.reasons
    lane.own_attempt_ended()
    lane.slots_freed()

    assert before + 2 == lane.reasons


async def test_the_timer_is_no_reason() -> None:
    """
    It knows of no slot: no refusal is doubted for it.
    """
    lane = Lane("p")
    waiter = Waiter("normal")
    called: list[Waiter] = []
    await _stand(lane, waiter, called)

    assert [waiter] == called
    assert 0 == lane.reasons
