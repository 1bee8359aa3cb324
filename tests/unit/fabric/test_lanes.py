"""Lines of tasks that wait for a slot: who is called, by what, and in which order."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flotilla.contracts.subjects import Priority
from flotilla.fabric import lanes
from flotilla.fabric.errors import LanesFullError
from flotilla.fabric.lanes import CHAINS_MAX, LOW_EVERY, SOON_S, Lane, Waiter
from flotilla.testkit.examples import examples


@pytest.fixture(scope="module")
def _no_timer() -> Iterator[None]:
    """
    Nobody is called but for an attempt that ended, however slow the machine is; from the first test on that wants it so.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lanes, "TIMER_S", 3_600.0)
        yield


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
    for _ in range(2):
        lane.own_attempt_ended()
        lane.slots_freed()

    assert before + 4 == lane.reasons


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


@pytest.mark.usefixtures("_no_timer")
async def test_who_met_replicas_that_were_leaving_is_called_soon_and_later_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    A replica that says so for ever is not asked for ever; the end of an attempt makes it soon again.
    """
    loop = asyncio.get_running_loop()
    after_s: list[float] = []
    calls: list[Callable[[], None]] = []

    def call_later(delay_s: float, call: Callable[[], None]) -> asyncio.Handle:
        after_s.append(delay_s)
        calls.append(call)
        return loop.call_soon(lambda: None)

    monkeypatch.setattr(loop, "call_later", call_later)
    lane = Lane("p")

    def refuse() -> None:
        lane.refused(misled=True)
        lane.refused(misled=True)
        calls.pop()()

    lane.refused()
    for _ in range(3):
        refuse()
    lane.own_attempt_ended()
    refuse()

    assert [1, 2, 4, 1] == [delay_s / SOON_S for delay_s in after_s]


SCOPES = ("a", "b", "c")


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

    @property
    def waiting(self) -> list[Waiter]:
        """Everybody that ever stood in line."""
        return list(self._standing)

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


async def test_when_many_met_replicas_that_were_leaving_one_tries_and_then_the_next() -> None:
    """
    All at once would have the server choose among them, whoever's turn it is.
    """
    queue = Queue()
    await queue.enter(*[Waiter("normal", "a") for _ in range(50)])
    for _ in range(50):
        queue.lane.refused(misled=True)
    async with asyncio.timeout(10):
        while not queue.called:
            await asyncio.sleep(0)

    assert 1 == len(queue.called)
    await queue.close()


@pytest.mark.usefixtures("_no_timer")
@given(
    st.dictionaries(st.sampled_from(SCOPES), st.integers(1, 5)),
    st.lists(st.integers(1, 40), min_size=3, max_size=3),
    st.lists(st.booleans(), max_size=60),
)
@settings(max_examples=examples(40), deadline=None)
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
async def test_a_line_that_was_empty_is_called_by_the_next_reason() -> None:
    """
    Each end of an attempt calls one, however short the line is.
    """
    lane = Lane("p")
    for number in range(1, 4):
        waiter = Waiter("normal", "default")
        called: list[Waiter] = []
        standing = asyncio.ensure_future(_stand(lane, waiter, called))
        await asyncio.sleep(0)
        lane.own_attempt_ended()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

        assert [waiter] == called, number
        await standing


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


@pytest.mark.usefixtures("_no_timer")
@pytest.mark.parametrize("refused", [False, True])
async def test_one_turn_in_eight_goes_to_the_lowest_priority_that_waits(*, refused: bool) -> None:
    """
    Low priority is never starved, however many of a higher one wait; a turn that came to nothing was one all the same.
    """
    queue = Queue()
    await queue.enter(*(Waiter("high", "a") for _ in range(3 * LOW_EVERY)), Waiter("normal", "a"), Waiter("low", "a"))
    usual = ["high"] * (LOW_EVERY - 1)

    assert usual == [(await queue.next()).priority for _ in usual]
    assert "low" == (await queue.next(refused=refused)).priority
    assert usual == [(await queue.next()).priority for _ in usual]
    assert ("low" if refused else "normal") == (await queue.next()).priority
    await queue.close()


@pytest.mark.parametrize(
    ("waiting", "arriving", "ahead"),
    [
        ([], "low", False),
        (["high"], "high", True),
        (["high"], "normal", True),
        (["high"], "low", True),
        (["normal"], "high", False),
        (["normal"], "normal", True),
        (["normal"], "low", True),
        (["low"], "high", False),
        (["low"], "normal", False),
        (["low"], "low", True),
    ],
)
async def test_a_task_that_arrives_goes_before_those_of_a_lower_priority_only(
    waiting: list[Priority], arriving: Priority, *, ahead: bool
) -> None:
    """
    Who comes later does not take the slot of who waits.
    """
    queue = Queue()
    await queue.enter(*(Waiter(priority, "a") for priority in waiting))

    assert ahead is queue.lane.is_ahead(arriving)
    await queue.close()
    for waiter in list(queue.waiting):
        waiter.leave()


@pytest.mark.usefixtures("_no_timer")
async def test_a_refused_task_keeps_its_place_in_every_line() -> None:
    """
    It stood in two; others came to both of them while it tried.
    """
    one, other = Lane("one"), Lane("other")
    called: list[str] = []

    async def stand(name: str, waiter: Waiter) -> None:
        if await waiter.turn([one, other], 60.0) is not None:
            called.append(name)

    first, second = Waiter("normal", "a"), Waiter("normal", "a")
    standing = [asyncio.ensure_future(stand("first", first))]
    await asyncio.sleep(0)
    one.own_attempt_ended()
    await standing[0]
    assert (0, 0) == (len(one), len(other))
    standing = [asyncio.ensure_future(stand("second", second)), asyncio.ensure_future(stand("first", first))]
    await asyncio.sleep(0)
    one.refused()
    other.own_attempt_ended()
    await standing[1]
    one.own_attempt_ended()
    await standing[0]

    assert ["first", "first", "second"] == called
    assert (0, 0) == (len(one), len(other))


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A chain goes on at once, and no timer calls anybody.
    """
    monkeypatch.setattr(lanes, "CHAIN_AFTER_S", 0.001)
    monkeypatch.setattr(lanes, "TIMER_S", 3_600.0)


async def _chains_over() -> None:
    """Whatever is due within CHAIN_AFTER_S is over: the loop calls who is due earlier first."""
    for _ in range(20):
        await asyncio.sleep(0.002)


@pytest.mark.usefixtures("_quick")
@pytest.mark.parametrize(
    ("reason", "tries"), [("ended", 1), ("freed", 8), ("freed 3", 8), ("refused", 1), ("refused 3", 3)]
)
async def test_tries_lead_to_more_only_on_a_reason_from_outside_and_until_one_is_refused(
    reason: str, tries: int
) -> None:
    """
    An attempt that ended freed one slot. A signal or a new replica may mean several; a refusal says that it does not.
    """
    queue = Queue()
    await queue.enter(*(Waiter("normal", "a") for _ in range(8)))
    match reason:
        case "ended":
            queue.lane.own_attempt_ended()
        case "freed" | "refused":
            queue.lane.slots_freed()
        case _:
            queue.lane.slots_freed(3)
    if reason.startswith("refused"):
        queue.lane.refused()
    await _chains_over()

    assert tries == len(queue.called)
    assert 8 - tries == len(queue.lane)
    await queue.close()


@pytest.mark.usefixtures("_quick")
async def test_a_refusal_ends_the_chains_that_began_before_it_and_no_other() -> None:
    """
    Each reason from outside is worth its own tries.
    """
    queue = Queue()
    await queue.enter(*(Waiter("normal", "a") for _ in range(10)))
    for _ in range(2):
        queue.lane.slots_freed()
        queue.lane.refused()
    await _chains_over()
    assert 2 == len(queue.called)

    queue.lane.slots_freed()
    queue.lane.refused()
    queue.lane.refused()
    queue.lane.slots_freed()
    await _chains_over()

    assert 10 == len(queue.called)
    await queue.close()


@pytest.mark.usefixtures("_quick")
async def test_chains_are_bounded_and_end_with_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A storm of signals is no storm of timers, and nothing is left of them when nobody waits.
    """
    monkeypatch.setattr(lanes, "CHAIN_AFTER_S", 3_600.0)
    queue = Queue()
    waiters = [Waiter("normal", "a") for _ in range(100)]
    await queue.enter(*waiters)
    for _ in range(3 * CHAINS_MAX):
        queue.lane.slots_freed()
        await asyncio.sleep(0)

    assert CHAINS_MAX == len(queue.lane._chains)  # pyright: ignore[reportPrivateUsage]
    assert 3 * CHAINS_MAX == len(queue.called)
    for waiter in waiters:
        waiter.leave()
    assert 0 == len(queue.lane)
    assert not queue.lane._chains  # pyright: ignore[reportPrivateUsage]
    assert queue.lane._timer is None  # pyright: ignore[reportPrivateUsage]
    await queue.close()


@pytest.mark.usefixtures("_no_timer")
async def test_a_permit_that_nobody_could_use_is_kept_for_the_next_in_line_until_a_refusal() -> None:
    """
    Of two slots that one waiter was told of, the second is tried by who comes back to the line; not after a refusal.
    """
    queue = Queue()
    waiters = [Waiter("normal", "a") for _ in range(2)]
    await queue.enter(*waiters)
    queue.lane.slots_freed()
    queue.lane.own_attempt_ended()
    await asyncio.sleep(0)
    assert waiters == queue.called

    idle = Waiter("normal", "a")
    assert queue.lane.enter(idle)
    queue.lane.own_attempt_ended()
    await queue.enter(Waiter("normal", "b"))
    await asyncio.sleep(0)
    assert 3 == len(queue.called)
    queue.lane.own_attempt_ended()
    queue.lane.own_attempt_ended()
    queue.lane.refused()
    await queue.enter(Waiter("normal", "b"))
    await asyncio.sleep(0)
    assert 3 == len(queue.called)
    queue.lane.forget(idle)
    await queue.close()


@pytest.mark.usefixtures("_no_timer")
async def test_who_runs_out_of_time_keeps_its_places_but_in_lines_that_are_none_of_its_routes_any_more() -> None:
    """
    It looks at the routes again, and goes on standing in line.
    """
    one, other = Lane("one"), Lane("other")
    waiter = Waiter("normal", "a")

    assert await waiter.turn([one, other], 0.0) is None
    assert (1, 1) == (len(one), len(other))
    assert await waiter.turn([other], 0.0) is None
    assert (0, 1) == (len(one), len(other))
    waiter.leave()
    assert 0 == len(other)


@pytest.mark.usefixtures("_no_timer")
async def test_a_full_line_takes_no_more_but_those_that_come_back_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Backpressure is for who comes new; a task that was refused has its place.
    """
    monkeypatch.setattr(lanes, "WAITING_MAX", 2)
    queue = Queue()
    first, second, third = (Waiter("normal", "a") for _ in range(3))
    await queue.enter(first, second)
    with pytest.raises(LanesFullError):
        await third.turn([queue.lane], 60.0)

    queue.lane.own_attempt_ended()
    await asyncio.sleep(0)
    assert [first] == queue.called
    assert await third.turn([queue.lane], 0.0) is None
    assert 2 == len(queue.lane)
    assert await first.turn([queue.lane], 0.0) is None
    assert 3 == len(queue.lane)
    for waiter in (first, second, third):
        waiter.leave()
    await queue.close()


@pytest.mark.usefixtures("_no_timer")
async def test_one_full_line_is_no_reason_not_to_stand_in_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A turn may come there.
    """
    monkeypatch.setattr(lanes, "WAITING_MAX", 1)
    full, empty = Lane("full"), Lane("empty")
    first, second = Waiter("normal", "a"), Waiter("normal", "a")
    await first.turn([full], 0.0)
    assert await second.turn([full, empty], 0.0) is None

    assert (1, 1) == (len(full), len(empty))
    first.leave()
    second.leave()


async def test_the_timer_calls_again_and_again_as_long_as_somebody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A signal that was lost costs a moment, not the wait.
    """
    monkeypatch.setattr(lanes, "TIMER_S", 0.001)
    monkeypatch.setattr(lanes, "TIMER_JITTER_S", 0.001)
    queue = Queue()
    waiter = Waiter("normal", "a")
    for tries in range(3):
        await queue.enter(waiter)
        async with asyncio.timeout(30.0):
            while len(queue.called) <= tries:
                await asyncio.sleep(0.001)
        queue.lane.refused()

    assert [waiter] * 3 == queue.called
    await queue.close()
