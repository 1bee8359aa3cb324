"""Reservations and rates of several orchestrators on one counter, with a real server."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import pytest

from flotilla.contracts import subjects
from flotilla.fabric.connection import connected
from flotilla.fabric.inbox import Requests
from flotilla.provisioning.streams import ensure
from flotilla.provisioning.topology import COUNTERS
from flotilla.routing import reservations
from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.orchestrator_here import until
from flotilla.testkit.plain_client import connect_plainly
from orchestrator.economy import counters as counters_module
from orchestrator.economy.allowances import Allowance
from orchestrator.economy.counters import Counters
from orchestrator.economy.errors import CountersAwayError, OverLimitError
from orchestrator.economy.rates import Rate

LIMIT: Final = 100


@asynccontextmanager
async def orchestrator_on(server: RunningServer, name: str) -> AsyncGenerator[Counters]:
    """The counters of one orchestrator."""
    async with connected(server.orchestrator(), name=name) as connection:
        requests = Requests(connection)
        await requests.start()
        counters = Counters(connection, requests, name)
        await counters.start()
        await connection.settle()
        try:
            yield counters
        finally:
            await counters.stop()
            await requests.stop()


async def make_stream(server: RunningServer) -> None:
    """As an orchestrator does when it starts."""
    async with connected(server.orchestrator(), name="streams") as connection:
        requests = Requests(connection)
        await requests.start()
        await ensure(requests, [COUNTERS])
        await requests.stop()


@pytest.fixture
async def two(nats_server: RunningServer) -> AsyncIterator[tuple[Counters, Counters]]:
    """
    Two orchestrators, and the stream.
    """
    async with AsyncExitStack() as stack:
        await make_stream(nats_server)
        first = await stack.enter_async_context(orchestrator_on(nats_server, "o1"))
        second = await stack.enter_async_context(orchestrator_on(nats_server, "o2"))
        yield first, second


def allowance(counters: Counters, name: str) -> Allowance:
    """A budget of LIMIT."""
    found = Allowance(counters, subjects.budget_counter(name, "2026-11-29"))
    found.is_now(LIMIT, f"budget {name} is spent", enforced=True)
    return found


async def test_what_is_admitted_by_all_never_exceeds_the_limit(two: tuple[Counters, Counters]):
    """
    Whoever asks, and however many at a time; what is over is taken back, and what was not used is free again.
    """
    mine, other = (allowance(counters, "race") for counters in two)
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
    two: tuple[Counters, Counters], monkeypatch: pytest.MonkeyPatch
):
    """
    Both who notice give it back, and it is counted once; the dead one turns up again and adds what it really used.
    """
    monkeypatch.setattr(reservations, "OWNER_SILENT_S", 0.5)
    monkeypatch.setattr(counters_module, "OWNER_SAYS_EVERY_S", 0.1)
    dead = allowance(two[0], "dead")
    heirs = [allowance(counters, "dead") for counters in two]
    two[0].owner = "frozen"  # pyright: ignore[reportAttributeAccessIssue]  # it says no more that it lives
    held = await dead.reserve(40, 60.0)
    two[0].owner = "o1-again"  # pyright: ignore[reportAttributeAccessIssue]
    for heir in heirs:
        await heir.begin()
    await until(lambda: all(heir.total == 0 for heir in heirs))

    held.end(7)
    await until(lambda: all(heir.total == 7 for heir in heirs))


async def test_without_its_stream_nothing_is_admitted(nats_server: RunningServer):
    """
    What cannot be counted is not spent.
    """
    async with orchestrator_on(nats_server, "o1") as counters:
        with pytest.raises(CountersAwayError):
            await allowance(counters, "away").reserve(1, 60.0)
        rate = Rate(counters, subjects.rate_counter("away", "requests"), "requests", 10, "none left")
        with pytest.raises(CountersAwayError):
            await rate.take(1)


async def test_what_was_spent_is_not_forgotten_with_the_stream(
    two: tuple[Counters, Counters], nats_server: RunningServer
):
    """
    Somebody deletes it: the first that is counted anew has what was known added to it, once.
    """
    mine, other = (allowance(counters, "lost") for counters in two)
    await other.begin()
    held = await mine.reserve(90, 60.0)
    held.end(70)
    await until(lambda: mine.total == other.total == 70)
    role = nats_server.admin()
    admin = await connect_plainly(nats_server.url, nkeys_seed=str(role.creds), inbox_prefix=role.inbox_prefix)
    await admin.stream("STREAM.DELETE", COUNTERS.name)
    await admin.nc.close()
    await make_stream(nats_server)
    await other.reserve(5, 60.0)

    await until(lambda: mine.total == other.total == 75)
    with pytest.raises(OverLimitError):
        await mine.reserve(30, 60.0)


async def test_a_rate_is_shared_and_known_to_one_that_starts(
    two: tuple[Counters, Counters], nats_server: RunningServer
):
    """
    Both together take no more than the limit; a third, started within the minute, finds nothing left.
    """
    subject = subjects.rate_counter("shared", "requests")
    rates = [Rate(counters, subject, "requests", LIMIT, "none left") for counters in two]
    outcomes = await asyncio.gather(*(rates[number % 2].take(1) for number in range(3 * LIMIT)), return_exceptions=True)
    taken = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]

    assert LIMIT * 0.9 <= len(taken) <= LIMIT
    async with orchestrator_on(nats_server, "o3") as third:
        rate = Rate(third, subject, "requests", LIMIT, "none left")
        late = await asyncio.gather(*(rate.take(1) for _ in range(LIMIT)), return_exceptions=True)
        assert len(taken) + sum(not isinstance(outcome, BaseException) for outcome in late) <= LIMIT


async def test_the_hot_path_of_a_rate_asks_nobody(two: tuple[Counters, Counters]):
    """
    A lease serves many attempts: far fewer requests than tokens.
    """
    subject = subjects.rate_counter("hot", "requests")
    rate = Rate(two[0], subject, "requests", 1_000_000, "none left")
    asked = 0
    add = two[0].add

    async def counted(*args: object, **more: object) -> int | None:
        nonlocal asked
        asked += 1
        return await add(*args, **more)  # pyright: ignore[reportArgumentType]

    two[0].add = counted  # pyright: ignore[reportAttributeAccessIssue]
    for _ in range(2_000):
        await rate.take(1)

    assert asked <= 200
