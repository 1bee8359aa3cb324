"""Reservations and rates of several orchestrators on one counter, with a real server."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Final

import pytest

from flotilla.contracts import subjects
from flotilla.fabric.counters import Standing
from flotilla.routing import reservations
from flotilla.testkit.counting import Counting, counting_on, lose_counters, make_counters
from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.orchestrator_here import until
from flotilla.testkit.plain_client import eventually
from orchestrator.economy import allowances
from orchestrator.economy import counters as counters_module
from orchestrator.economy import reservations as reservations_module
from orchestrator.economy.allowances import Allowance, Held
from orchestrator.economy.errors import CountersAwayError, OverLimitError
from orchestrator.economy.rates import Rate

LIMIT: Final = 100


@pytest.fixture
async def two(nats_server: RunningServer) -> AsyncIterator[tuple[Counting, Counting]]:
    """
    Two orchestrators, and the stream.
    """
    async with AsyncExitStack() as stack:
        await make_counters(nats_server)
        first = await stack.enter_async_context(counting_on(nats_server, "o1"))
        second = await stack.enter_async_context(counting_on(nats_server, "o2"))
        yield first, second


def allowance(here: Counting, name: str) -> Allowance:
    """A budget of LIMIT."""
    found = Allowance(here.reservations, here.counters, subjects.budget_counter(name, "2026-11-29"))
    found.is_now(LIMIT, f"budget {name} is spent", enforced=True)
    return found


async def test_what_is_admitted_by_all_never_exceeds_the_limit(two: tuple[Counting, Counting]):
    """
    Whoever asks, and however many at a time; what is over is taken back, and what was not used is free again.
    """
    mine, other = (allowance(here, "race") for here in two)
    outcomes = await asyncio.gather(
        *((mine if number % 2 else other).reserve(3, 60.0) for number in range(120)), return_exceptions=True
    )
    held = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    over = [outcome for outcome in outcomes if isinstance(outcome, OverLimitError)]

    assert LIMIT - 6 <= 3 * len(held) <= LIMIT
    assert len(held) + len(over) == 120
    for each in held:
        each.end(1)
    await until(lambda: mine.total == other.total == len(held))


async def test_what_a_dead_orchestrator_reserved_comes_back_once(
    two: tuple[Counting, Counting], monkeypatch: pytest.MonkeyPatch
):
    """
    Both who notice give it back, and it is counted once; the dead one turns up again and adds what it really used.
    """
    monkeypatch.setattr(reservations, "OWNER_SILENT_S", 0.5)
    monkeypatch.setattr(reservations_module, "OWNER_SAYS_EVERY_S", 0.1)
    dead = allowance(two[0], "dead")
    heirs = [allowance(here, "dead") for here in two]
    two[0].counters.owner = "frozen"  # pyright: ignore[reportAttributeAccessIssue]  # it says no more that it lives
    held = await dead.reserve(40, 60.0)
    two[0].counters.owner = "o1-again"  # pyright: ignore[reportAttributeAccessIssue]
    for heir in heirs:
        await heir.begin()
    await until(lambda: all(heir.total == 0 for heir in heirs))

    held.end(7)
    await until(lambda: all(heir.total == 7 for heir in heirs))


async def test_without_its_stream_nothing_is_admitted(nats_server: RunningServer):
    """
    What cannot be counted is not spent.
    """
    async with counting_on(nats_server, "o1") as here:
        with pytest.raises(CountersAwayError):
            await allowance(here, "away").reserve(1, 60.0)
        rate = Rate(here.counters, subjects.rate_counter("away", "requests"), "requests", 10, "none left")
        with pytest.raises(CountersAwayError):
            await rate.take(1)


async def test_what_was_spent_is_not_forgotten_with_the_stream(
    two: tuple[Counting, Counting], nats_server: RunningServer
):
    """
    Somebody deletes it: the first that is counted anew has what was known added to it, once.
    """
    mine, other = (allowance(here, "lost") for here in two)
    await other.begin()
    held = await mine.reserve(90, 60.0)
    held.end(70)
    await until(lambda: mine.total == other.total == 70)
    await lose_counters(nats_server)
    await other.reserve(5, 60.0)

    await until(lambda: mine.total == other.total == 75)
    with pytest.raises(OverLimitError):
        await mine.reserve(30, 60.0)


async def test_a_lost_stream_admits_nothing_beyond_what_was_known(
    two: tuple[Counting, Counting], nats_server: RunningServer
):
    """
    However many ask before it is put back; and it is put back once, though both know of it.
    """
    mine, other = (allowance(here, "lost-in-use") for here in two)
    await other.begin()
    held = await mine.reserve(70, 60.0)
    held.end(70)
    await until(lambda: mine.total == other.total == 70)
    await lose_counters(nats_server)
    outcomes = await asyncio.gather(
        *((mine if number % 2 else other).reserve(5, 60.0) for number in range(40)), return_exceptions=True
    )
    admitted = [each for each in outcomes if not isinstance(each, BaseException)]

    assert 0 < len(admitted) <= 6
    await until(lambda: mine.total == other.total == 70 + 5 * len(admitted))


async def test_a_message_that_was_missed_is_no_lost_stream(two: tuple[Counting, Counting]):
    """
    The total has fallen and begins at 0 again, in the same stream: nothing is put back.
    """
    mine, other = (allowance(here, "missed") for here in two)
    held = await mine.reserve(5, 60.0)
    await until(lambda: mine.total == 5)
    await deaf(two[0], mine, held)
    await other.reserve(3, 60.0)
    await until(lambda: mine.total == other.total == 3)
    await (await other.reserve(4, 60.0)).allowance.begin()

    await until(lambda: mine.total == other.total == 7)
    assert 7 == (await two[0].counters.standing_of(mine.subject)).total


async def test_a_counter_without_room_is_read_again(two: tuple[Counting, Counting], monkeypatch: pytest.MonkeyPatch):
    """
    Whoever missed that there is room again does not refuse for ever.
    """
    monkeypatch.setattr(allowances, "LOOK_S", 0.05)
    mine = allowance(two[0], "full")
    held = await mine.reserve(LIMIT, 60.0)
    await until(lambda: mine.total == LIMIT)
    await deaf(two[0], mine, held)

    await until(lambda: mine.has_room(LIMIT))
    await mine.reserve(LIMIT, 60.0)


async def deaf(here: Counting, allowance: Allowance, held: Held) -> None:
    """End a reservation of which its orchestrator does not hear."""
    here.counters.forget(allowance.subject)
    held.end(0)

    async def ended() -> bool:
        return (await here.counters.standing_of(allowance.subject)).total == 0

    await eventually(ended)
    here.counters.hear(allowance.subject, allowance)


async def test_many_that_begin_read_a_counter_once(two: tuple[Counting, Counting], monkeypatch: pytest.MonkeyPatch):
    """
    Those that come meanwhile wait for the one that reads.
    """
    read = two[0].counters.standing_of
    times = 0

    async def counted(subject: str) -> Standing:
        nonlocal times
        times += 1
        return await read(subject)

    monkeypatch.setattr(two[0].counters, "standing_of", counted)
    mine = allowance(two[0], "single")
    await asyncio.gather(*(mine.reserve(1, 60.0) for _ in range(50)))

    assert 1 == times


async def test_a_reservation_that_was_used_up_is_over(two: tuple[Counting, Counting]):
    """
    Its end adds nothing, and is an end all the same.
    """
    mine = allowance(two[0], "used-up")
    held = await mine.reserve(40, 60.0)
    await until(lambda: held.id in two[1].reservations.known)
    held.end(40)

    await until(lambda: held.id not in two[1].reservations.known)
    assert 40 == mine.total


async def test_what_was_reserved_hours_ago_comes_back_too(nats_server: RunningServer, monkeypatch: pytest.MonkeyPatch):
    """
    All orchestrators were away for a night. What had its end by then stays as it ended.
    """
    monkeypatch.setattr(reservations, "OWNER_SILENT_S", 0.5)
    monkeypatch.setattr(reservations_module, "OWNER_SAYS_EVERY_S", 0.1)
    await make_counters(nats_server)
    async with counting_on(nats_server, "night") as here:
        evening = allowance(here, "night")
        ended = await evening.reserve(7, 60.0)
        ended.end(7)
        await evening.reserve(40, 60.0)
    monkeypatch.setattr(counters_module, "time", Hours(2.0))
    async with counting_on(nats_server, "morning") as here:
        morning = allowance(here, "night")
        await morning.begin()
        assert 47 == morning.total
        await until(lambda: morning.total == 7)


class Hours:
    """The module `time`, so many hours ahead on the wall."""

    def __init__(self, ahead: float) -> None:
        self._ahead_s = ahead * 3600

    def time(self) -> float:
        return time.time() + self._ahead_s

    def monotonic(self) -> float:
        return time.monotonic()


async def test_what_could_not_be_sent_before_a_stop_is_told(nats_server: RunningServer):
    """
    Each increment, one by one.
    """
    lost: list[None] = []
    async with counting_on(nats_server, "o1") as here:
        here.counters.on_lost = lambda: lost.append(None)
        for number in range(3):
            here.counters.add_later("counter.budget.nowhere.2026-11-29", 1, f"unsent.{number}", {})

    assert 3 == len(lost)


async def test_a_rate_is_shared_and_known_to_one_that_starts(
    two: tuple[Counting, Counting], nats_server: RunningServer
):
    """
    Both together take no more than the limit; a third, started within the minute, finds nothing left.
    """
    subject = subjects.rate_counter("shared", "requests")
    rates = [Rate(here.counters, subject, "requests", LIMIT, "none left") for here in two]
    unused: list[int] = []
    for rate in rates:
        rate.leases.on_unused = unused.append
    outcomes = await asyncio.gather(*(rates[number % 2].take(1) for number in range(3 * LIMIT)), return_exceptions=True)
    taken = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    for rate in rates:
        rate.leases.drop()

    assert LIMIT == len(taken) + sum(unused)
    assert taken
    async with counting_on(nats_server, "o3") as third:
        rate = Rate(third.counters, subject, "requests", LIMIT, "none left")
        late = await asyncio.gather(*(rate.take(1) for _ in range(LIMIT)), return_exceptions=True)
        assert len(taken) + sum(not isinstance(outcome, BaseException) for outcome in late) <= LIMIT


async def test_the_hot_path_of_a_rate_asks_nobody(two: tuple[Counting, Counting]):
    """
    A lease serves many attempts: far fewer requests than tokens.
    """
    subject = subjects.rate_counter("hot", "requests")
    rate = Rate(two[0].counters, subject, "requests", 1_000_000, "none left")
    asked = 0
    add = two[0].counters.add

    async def counted(*args: object, **more: object) -> int | None:
        nonlocal asked
        asked += 1
        return await add(*args, **more)  # pyright: ignore[reportArgumentType]

    two[0].counters.add = counted  # pyright: ignore[reportAttributeAccessIssue]
    for _ in range(2_000):
        await rate.take(1)

    assert asked <= 200
