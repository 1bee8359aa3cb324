"""A full stream of counters: what others count pushes out no total of a budget in force, with a real server."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Final

import msgspec
import pytest

from flotilla.contracts import subjects
from flotilla.contracts.policy import Policy
from flotilla.fabric.connection import connected
from flotilla.fabric.inbox import Requests
from flotilla.provisioning.streams import ensure
from flotilla.provisioning.topology import COUNTERS
from flotilla.routing.policy_check import parse_policy
from flotilla.routing.types import Route, TaskView
from flotilla.testkit.counting import Counting, counting_on, lose_counters
from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.orchestrator_here import until
from orchestrator.economy import admission, counters_in_force
from orchestrator.economy.allowances import Allowance
from orchestrator.economy.counters_in_force import CountersInForce
from orchestrator.economy.errors import OverLimitError

BYTES_MAX: Final = 32 * 1024
BUDGET: Final = "counter.budget.acme.2026-11"
NOW_UNIX_S: Final = 1_795_953_600.0
"""In November 2026."""
ROUTE: Final = Route(zone="cloud", pool="away", model="m")
POLICY: Final = parse_policy(
    """
format = 1
[budgets.acme]
usd = 1.0
per = "month"
scopes = ["acme"]
reserve_usd = 0.6
[limits.evil]
concurrent_requests = 50
scopes = ["evil"]
[limits.acme]
concurrent_requests = 50
scopes = ["acme"]
"""
)


class Clock:
    """The module `time`, in that month."""

    def time(self) -> float:
        """See the module."""
        return NOW_UNIX_S

    def monotonic(self) -> float:
        """See the module."""
        return time.monotonic()


@pytest.fixture
async def two(nats_server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Counting, Counting]]:
    """
    Two orchestrators, and a stream that a hundred attempts fill.
    """
    for module in (admission, counters_in_force):
        monkeypatch.setattr(module, "time", Clock())
    await lose_counters(nats_server, made_again=False)
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(connected(nats_server.orchestrator(), name="streams"))
        requests = Requests(connection)
        await requests.start()
        await ensure(requests, [msgspec.structs.replace(COUNTERS, max_bytes=BYTES_MAX)])
        first = await stack.enter_async_context(counting_on(nats_server, "o1"))
        second = await stack.enter_async_context(counting_on(nats_server, "o2"))
        yield first, second
        await requests.stop()


async def spend(here: Counting, scope: str, count: int) -> None:
    """So many attempts of a scope, of unknown cost."""
    admitting = here.admission(lambda: POLICY)
    for _ in range(count):
        permit = await admitting.admit(TaskView(capability="classify", scope=scope, data_class="internal"), ROUTE)
        assert permit is not None
        for held, unit in permit._held:  # pyright: ignore[reportPrivateUsage]
            held.end(held.amount if unit == "usd_micros" else 0)


async def flooded(here: Counting, keepers: list[CountersInForce], *, sequences: int) -> None:
    """Have another scope's attempts fill the stream several times over."""
    while (await here.counters.usage()).last_sequence < sequences:
        await spend(here, "evil", 10)
        for keeper in keepers:
            await keeper.look()


async def test_a_scopes_attempts_push_out_no_other_budget(two: tuple[Counting, Counting]):
    """
    A month's budget on which nobody draws keeps its total while others fill the stream; an orchestrator that starts then
    still refuses what is over. Each total is written again once, whoever looks.
    """
    keepers = [CountersInForce(here.counters, lambda: POLICY) for here in two]
    await spend(two[0], "acme", 1)
    assert 600_000 == (await two[1].counters.standing_of(BUDGET)).total
    await flooded(two[0], keepers, sequences=1_000)

    usage = await two[1].counters.usage()
    assert usage.size_bytes * 2 > BYTES_MAX
    assert usage.messages * 3 < usage.last_sequence
    stands = await two[1].counters.standing_of(BUDGET)
    assert 600_000 == stands.total
    assert 0 == (await two[1].counters.standing_of(subjects.held_counter("acme"))).total
    kept = await two[1].counters.history(BUDGET)
    assert len({count.headers["Nats-Msg-Id"] for count in kept}) == len(kept)
    with pytest.raises(OverLimitError):
        await spend(two[1], "acme", 1)


async def test_a_total_that_was_lost_is_put_back_by_who_knows_it(two: tuple[Counting, Counting]):
    """
    Nobody looked after it, and its messages went: an orchestrator that still runs does not take that for a budget anew.
    """
    known = Allowance(two[1].reservations, two[1].counters, BUDGET)
    known.is_now(1_000_000, "budget acme is spent", enforced=True)
    await known.begin()
    await spend(two[0], "acme", 1)
    await until(lambda: known.total == 600_000)
    await flooded(two[0], [], sequences=600)
    assert 0 == (await two[0].counters.standing_of(BUDGET)).sequence

    known.stream_fell()
    await known.begin()
    assert 600_000 == known.total == (await two[0].counters.standing_of(BUDGET)).total


@pytest.mark.parametrize("policy", [Policy(), parse_policy("format = 1\n[limits.a]\nrequests_per_minute = 5\n")])
async def test_without_budgets_nobody_is_asked(two: tuple[Counting, Counting], policy: Policy):
    """
    What needs no total kept costs no request.
    """
    asked = two[0].requests.asked
    await CountersInForce(two[0].counters, lambda: policy).look()

    assert asked == two[0].requests.asked
