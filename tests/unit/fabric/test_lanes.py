"""Lines of tasks that wait for a slot: who is called, by what, and in which order."""

import asyncio
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flotilla.fabric import lanes
from flotilla.fabric.lanes import Lane, Waiter


async def _stand(lane: Lane, waiter: Waiter, called: list[Waiter]) -> None:
    if await waiter.turn([lane], 60.0) is lane:
        called.append(waiter)


async def test_an_attempt_that_ended_calls_one_and_is_counted() -> None:
    """
    Each end is one try; and it tells a try that is under way that its refusal may be too old.
    """
    lane = Lane("p")
    waiters = [Waiter("normal", "default") for _ in range(3)]
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
    waiter = Waiter("normal", "default")
    called: list[Waiter] = []
    await _stand(lane, waiter, called)

    assert [waiter] == called
    assert 0 == lane.reasons


SCOPES = ("a", "b", "c")


@pytest.fixture(scope="module")
def _no_timer() -> Iterator[None]:
    """
    Nobody is called but for an attempt that ended, however slow the machine is.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lanes, "TIMER_S", 3_600.0)
        yield


class Queue:
    """A lane with tasks of several scopes, and who was called."""

    def __init__(self, weights: dict[str, int] | None = None) -> None:
        self.lane = Lane("p", weights or {})
        self.called: list[Waiter] = []
        self._standing: dict[Waiter, asyncio.Future[None]] = {}

    async def enter(self, *waiters: Waiter) -> None:
        """Have them stand in line."""
        for waiter in waiters:
            self._standing[waiter] = asyncio.ensure_future(_stand(self.lane, waiter, self.called))
        await asyncio.sleep(0)

    async def next(self, *, refused: bool = False) -> Waiter:
        """Who has the next turn; a refused one stands in line again."""
        before = len(self.called)
        self.lane.own_attempt_ended()
        while len(self.called) == before:
            await asyncio.sleep(0)
        waiter = self.called[-1]
        if refused:
            self.lane.refused()
            await self.enter(waiter)
        else:
            waiter.leave()
        return waiter

    async def close(self) -> None:
        """Have nobody stand in line any more."""
        for standing in self._standing.values():
            standing.cancel()
        await asyncio.gather(*self._standing.values(), return_exceptions=True)


@pytest.mark.usefixtures("_no_timer")
@given(
    st.dictionaries(st.sampled_from(SCOPES), st.integers(1, 5)),
    st.lists(st.integers(1, 40), min_size=3, max_size=3),
    st.lists(st.booleans(), max_size=60),
)
@settings(max_examples=40, deadline=None)
def test_scopes_take_turns_by_their_weights_whatever_their_lines_and_refusals(
    weights: dict[str, int], lengths: list[int], refusals: list[bool]
) -> None:
    """
    As long as scopes wait, each has its share of the turns that led to a slot, to within one turn of each; within a
    scope the order is that of arrival, and a task that was refused is the next of its scope.
    """

    async def turns() -> None:
        queue = Queue(weights)
        waiting = {scope: [Waiter("normal", scope) for _ in range(n)] for scope, n in zip(SCOPES, lengths, strict=True)}
        arriving = [waiter for line in waiting.values() for waiter in line]
        await queue.enter(*arriving)
        served = Counter[str]()
        refuse = iter(refusals)
        while any(waiting.values()):
            refused = next(refuse, False)
            waiter = await queue.next(refused=refused)
            assert waiter is waiting[waiter.scope][0]
            if refused:
                assert waiter is await queue.next()
            del waiting[waiter.scope][0]
            served[waiter.scope] += 1
            if all(waiting.values()):
                spent = [served[scope] / weights.get(scope, 1) for scope in SCOPES]
                assert max(spent) - min(spent) <= 1.0 + 1e-9
        await queue.close()

    asyncio.run(turns())


@pytest.mark.usefixtures("_no_timer")
async def test_a_scope_that_comes_to_a_long_line_has_the_next_turn_but_one_and_none_saved_up() -> None:
    """
    Another scope's line delays it by a turn at most; the turns that it did not want before are not made up for.
    """
    queue = Queue()
    await queue.enter(*(Waiter("high", "a") for _ in range(50)))
    for _ in range(20):
        await queue.next()
    await queue.enter(*(Waiter("high", "b") for _ in range(5)))

    order = "".join([(await queue.next()).scope for _ in range(12)])

    assert "b" in order[:2]
    assert order.count("b") == 5
    assert "bb" not in order
    await queue.close()


@pytest.mark.usefixtures("_no_timer")
async def test_interactive_tasks_go_before_durable_ones_of_any_scope() -> None:
    """
    Turns are taken within a priority; that one turn in eight goes to the lowest is as before.
    """
    queue = Queue()
    await queue.enter(*(Waiter("normal", "a") for _ in range(5)), *(Waiter("high", "b") for _ in range(5)))

    assert "bbbbb" == "".join([(await queue.next()).scope for _ in range(5)])
    await queue.close()
