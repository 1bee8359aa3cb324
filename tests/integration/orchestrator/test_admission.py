"""Limits and budgets, as attempts are admitted, with a real server: what they cost, and what holds in trouble."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Final

import msgspec
import pytest

from flotilla.contracts import subjects
from flotilla.contracts.attempts import Finished, Usage
from flotilla.contracts.limits import BudgetEntry, Period
from flotilla.contracts.policy import Policy
from flotilla.contracts.presence import ModelPrice
from flotilla.provisioning.streams import ensure
from flotilla.provisioning.topology import ledger_stream
from flotilla.routing.limit_rules import period_of
from flotilla.routing.policy_check import parse_policy
from flotilla.routing.rate_windows import WINDOW_S
from flotilla.routing.types import Choice, Decision, Route, TaskView
from flotilla.testkit.counting import Counting, counting_on, lose_counters, lose_stream, make_counters
from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.orchestrator_here import until
from flotilla.testkit.plain_client import eventually
from orchestrator.economy import admission, counters, rates
from orchestrator.economy.admission import Admission
from orchestrator.economy.budget_history import BudgetHistory
from orchestrator.economy.budget_standings import BudgetStandings
from orchestrator.economy.errors import OverLimitError
from orchestrator.economy.permits import Permit
from orchestrator.economy.rates import CLOCKS_DIFFER_S, Rate
from orchestrator.economy.spend import LABELS
from orchestrator.state.outcomes import Outcome

TASK: Final = TaskView(capability="classify", scope="default", data_class="internal")
ROUTE: Final = Route(zone="cloud", pool="away", model="m")
CLOCKS_APART_S: Final = 5.0
MIDNIGHT: Final = 1_798_761_600.0
"""The first second of 2027, by UTC."""
LIMIT: Final = 100
LEDGER: Final = ledger_stream("default")


@pytest.fixture
async def here(nats_server: RunningServer) -> AsyncIterator[Counting]:
    """
    One orchestrator, and the stream.
    """
    await make_counters(nats_server)
    async with counting_on(nats_server, "o1") as here:
        yield here


class Clock:
    """The module `time`, with another time on the wall."""

    def __init__(self, *, at_unix_s: float | None = None, ahead_s: float = 0.0) -> None:
        self._ahead_s = ahead_s if at_unix_s is None else at_unix_s - time.time()

    def time(self) -> float:
        return time.time() + self._ahead_s

    def monotonic(self) -> float:
        return time.monotonic()


async def admitted(admission: Admission, count: int) -> tuple[list[Permit], str]:
    """The permits of so many attempts, and what was said to the first that got none."""
    permits: list[Permit] = []
    for _ in range(count):
        try:
            permit = await admission.admit(TASK, ROUTE)
        except OverLimitError as over:
            return permits, over.why
        assert permit is not None
        permits.append(permit)
    return permits, ""


async def test_a_reservation_is_one_request_and_a_lease_none(here: Counting):
    """
    Once its counter is known: a budget asks once for each attempt, tokens of a rate come from blocks.
    """
    budget, rate = (
        parse_policy(text)
        for text in (
            "[budgets.b]\nusd = 1000\nper = 'day'\nreserve_usd = 0.01\n",
            "[limits.r]\nrequests_per_minute = 1000000\ntokens_per_minute = 100000000\n",
        )
    )
    for policy, attempts, most in ((budget, 50, 50), (rate, 2_000, 100)):
        admission = here.admission(lambda policy=policy: policy)
        await admitted(admission, 1)
        before = here.requests.asked
        await admitted(admission, attempts)

        assert here.requests.asked - before <= most


async def test_a_reservation_that_was_too_low_is_believed_once(here: Counting):
    """
    From the first attempt on that tells what it has cost, as much is reserved: the budget is exceeded by no more than what
    those under way then cost beyond their reservations.
    """
    policy = parse_policy("[budgets.low]\nusd = 1\nper = 'day'\nreserve_usd = 0.1\n")
    low = here.admission(lambda: policy)
    under_way = 3
    permits, why = await admitted(low, under_way)
    spent_usd = 0.0
    while permits:
        for permit in permits:
            permit.close(finished(0.3))
            spent_usd += 0.3
        permits, why = await admitted(low, 1)

    assert why.startswith("budget low: ")
    assert under_way * 0.3 == pytest.approx(spent_usd)


def finished(cost_usd: float) -> "asyncio.Future[Outcome]":
    """The outcome of an attempt that went well."""
    usage = Usage(input_tokens=1, output_tokens=1, cost_usd=cost_usd)
    future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    future.set_result(Finished(output=msgspec.Raw(b"{}"), provider="p", model="m", usage=usage))
    return future


async def test_without_their_counters_budgets_are_closed_and_say_so(here: Counting, nats_server: RunningServer):
    """
    Limits as the policy has it; what only reports goes on. When the stream is back, so are the attempts.
    """
    document = parse_policy("[budgets.team]\nusd = 1\nper = 'day'\nreserve_usd = 0.1\n")
    team = here.admission(lambda: document)
    await admitted(team, 1)
    await lose_counters(nats_server, made_again=False)
    permits, why = await admitted(team, 1)
    decision = team.decided(TASK, Decision(routes=(Choice(route=ROUTE, reason="first"),)))

    assert ([], "budget team: its counter cannot be reached") == (permits, why)
    assert ("budget", "team", "away") in here.over
    assert [None] == [each.left_usd_micros for each in await BudgetStandings(here.requests, lambda: document).of(None)]
    assert not decision.routes
    assert decision.excluded[0].reason.startswith(why)
    for text, why in (
        ("[budgets.b]\nusd = 1\nper = 'day'\nmode = 'report'\n", ""),
        ("[limits.l]\nrequests_per_minute = 5\nconcurrent_requests = 2\nwithout_counters = 'allow'\n", ""),
        ("[limits.l]\nrequests_per_minute = 5\n", "limit l: its counter cannot be reached"),
        ("[limits.l]\nconcurrent_requests = 5\n", "limit l: its counter cannot be reached"),
    ):
        policy = parse_policy(text)
        permits, said = await admitted(here.admission(lambda policy=policy: policy), 1)
        assert (why, not why) == (said, bool(permits))

    await make_counters(nats_server)
    got = 0

    async def all_are_admitted() -> bool:
        nonlocal got
        got += len((await admitted(team, 20))[0])
        return got >= 9

    # One was under way when the stream was lost, and is not forgotten; what failed meanwhile is counted and taken back.
    await eventually(all_are_admitted)
    assert 9 == got
    assert "budget team: 1.00 USD a day are spent or reserved" == (await admitted(team, 1))[1]


async def test_a_policy_that_lowers_a_limit_holds_from_the_next_attempt_on(here: Counting):
    """
    What is under way is not stopped, and counts; when there is room again, attempts go on.
    """
    document = Policy()
    admission = here.admission(lambda: document)

    def in_force(text: str) -> None:
        nonlocal document
        document = parse_policy(text)

    in_force("[budgets.b]\nusd = 1\nper = 'day'\nreserve_usd = 0.1\n")
    held, _ = await admitted(admission, 5)
    in_force("[budgets.b]\nusd = 0.4\nper = 'day'\nreserve_usd = 0.1\n")
    lowered, why = await admitted(admission, 5)
    for each in held[:3]:
        each.give_back()
    await until(lambda: _room(admission))
    again, _ = await admitted(admission, 5)
    assert (0, "budget b: 0.40 USD a day are spent or reserved", 2) == (len(lowered), why, len(again))

    in_force("[limits.slots]\nconcurrent_requests = 4\n")
    held, _ = await admitted(admission, 4)
    in_force("[limits.slots]\nconcurrent_requests = 2\n")
    lowered, why = await admitted(admission, 1)
    assert (4, 0, "limit slots: 2 attempts are under way") == (len(held), len(lowered), why)

    in_force("[limits.rate]\nrequests_per_minute = 60\n")
    held, _ = await admitted(admission, 30)
    in_force("[limits.rate]\nrequests_per_minute = 20\n")
    lowered, why = await admitted(admission, 1)
    assert (30, 0, "limit rate: 20 requests a minute are used") == (len(held), len(lowered), why)
    in_force("[limits.rate]\nrequests_per_minute = 200\n")
    raised, _ = await admitted(admission, 20)
    assert 20 == len(raised)


def _room(admission: Admission) -> bool:
    return bool(admission.decided(TASK, Decision(routes=(Choice(route=ROUTE, reason="first"),))).routes)


@pytest.mark.parametrize(
    ("passed_s", "ahead_s", "free"),
    [
        (57.0, CLOCKS_APART_S, 0),
        (57.0, -CLOCKS_APART_S, 0),
        (WINDOW_S + CLOCKS_DIFFER_S + CLOCKS_APART_S + 1, -CLOCKS_APART_S, LIMIT),
        (WINDOW_S + CLOCKS_DIFFER_S + CLOCKS_APART_S + 1, CLOCKS_APART_S, LIMIT),
    ],
)
async def test_a_rate_holds_for_one_that_starts_with_another_clock(
    nats_server: RunningServer, monkeypatch: pytest.MonkeyPatch, passed_s: float, ahead_s: float, free: int
):
    """
    Clocks that differ by five seconds: what was taken within the minute counts, whatever time it is there; after that, not.
    """
    await make_counters(nats_server)
    subject = subjects.rate_counter("clocks", "requests")
    async with counting_on(nats_server, "o1") as here:
        await Rate(here.counters, subject, "requests", LIMIT, "none left").take(LIMIT)
        clock = Clock(ahead_s=passed_s + ahead_s)
        monkeypatch.setattr(rates, "time", clock)
        monkeypatch.setattr(counters, "time", clock)
        late = Rate(here.counters, subject, "requests", LIMIT, "none left")
        taken = 0
        try:
            for _ in range(LIMIT):
                await late.take(1)
                taken += 1
        except OverLimitError:
            pass

    assert (taken >= free * 0.9) if free else (0 == taken)


async def test_a_budget_holds_over_a_midnight_that_clocks_tell_at_different_times(
    here: Counting, nats_server: RunningServer, monkeypatch: pytest.MonkeyPatch
):
    """
    Each attempt counts in the day that its orchestrator has: no day has more than its budget.
    """
    document = parse_policy("[budgets.b]\nusd = 1\nper = 'day'\nreserve_usd = 0.1\n")
    async with counting_on(nats_server, "o2") as other:
        slow, fast = here.admission(lambda: document), other.admission(lambda: document)
        found: dict[str, int] = {}
        for _ in range(15):
            for name, each, ahead_s in (("slow", slow, -CLOCKS_APART_S / 2), ("fast", fast, CLOCKS_APART_S / 2)):
                monkeypatch.setattr(admission, "time", Clock(at_unix_s=MIDNIGHT + ahead_s))
                permits, _ = await admitted(each, 1)
                found[name] = found.get(name, 0) + len(permits)
        totals = [
            (await here.counters.standing_of(subjects.budget_counter("b", day))).total
            for day in ("2026-12-31", "2027-01-01")
        ]

    assert {"slow": 10, "fast": 10} == found
    assert [1_000_000, 1_000_000] == totals


async def test_a_long_input_reserves_what_its_tokens_cost_where_the_price_is_known(here: Counting):
    """
    Before anything was seen of its route.
    """
    document = parse_policy("[budgets.priced]\nusd = 1.5\nper = 'day'\n")
    prices = {"m": ModelPrice(input_mtok_usd=1_000.0, output_tokens_max=1)}

    def price_of(route: Route) -> ModelPrice | None:
        return prices.get(route.model)

    admitting = here.admission(lambda: document, price_of=price_of)
    long = TaskView(capability="classify", scope="default", data_class="internal", input_bytes=4_000)
    await admitting.admit(long, ROUTE)
    with pytest.raises(OverLimitError):
        await admitting.admit(long, ROUTE)
    counter = subjects.budget_counter("priced", period_of("day", time.time()))
    await eventually(lambda: _stands_at(here, counter, 1_000_000))


async def spent_by_others(here: Counting, usd_micros: int, *, pool: str, labels: str = "{}", day: str = "") -> None:
    """A task's entry in the ledger."""
    counter = subjects.ledger("default", day or period_of("day", time.time()), pool, "m")
    await here.requests.request(counter, headers={"Nats-Incr": f"+{usd_micros}", LABELS: labels})


@pytest.mark.parametrize(
    ("more", "labels", "per", "counts"),
    [
        ("", {}, "day", 700_000),
        ("", {}, "month", 760_000),
        ("pools = ['away']\n", {}, "day", 640_000),
        ("labels = { team = 'x' }\n", {"team": "x"}, "day", 600_000),
        ("scopes = ['acme']\n", {}, "day", 0),
    ],
)
async def test_a_budget_that_comes_into_force_begins_with_what_was_spent_in_its_period(
    nats_server: RunningServer, more: str, labels: dict[str, str], per: Period, counts: int
):
    """
    By the ledger, and of what it is for alone; so does one that had left the policy, each time. Counted once by two
    orchestrators; what is already counted is not counted again.
    """
    await make_counters(nats_server)
    empty, with_it = Policy(), parse_policy(f"[budgets.back]\nusd = 1\nper = '{per}'\nreserve_usd = 0.000001\n{more}")
    in_force, revision = empty, 1
    async with counting_on(nats_server, "o1") as here, counting_on(nats_server, "o2") as other:
        await lose_counters(nats_server)
        await lose_stream(nats_server, LEDGER.name)
        await ensure(here.requests, [LEDGER])
        both = [
            each.admission(
                lambda: in_force, revision=lambda: revision, history=BudgetHistory(each.requests, ("default",))
            )
            for each in (here, other)
        ]
        task = TaskView(capability="classify", scope="default", data_class="internal", labels=labels)
        today, month = period_of("day", time.time()), period_of("month", time.time())
        other_day = next(day for day in (f"{month}-01", f"{month}-02") if day != today)
        await spent_by_others(here, 600_000, pool="away", labels='{"team": "x", "more": "y"}')
        await spent_by_others(here, 40_000, pool="away", labels="broken")
        await spent_by_others(here, 60_000, pool="near")
        await spent_by_others(here, 60_000, pool="away", day=other_day)
        await spent_by_others(here, 900_000, pool="away", day="2020-01-01")
        counter = subjects.budget_counter("back", period_of(per, time.time()))
        for turn in range(2):
            in_force, revision = with_it, revision + 1
            # As attempts come: the policy in force is looked at by each.
            permits = await asyncio.gather(*(each.admit(task, ROUTE) for each in both))
            for permit in permits:
                if permit is not None:
                    permit.give_back()
            expected = counts + (30_000 * turn if counts else 0)
            await eventually(partial(_stands_at, here, counter, expected), 20)
            in_force, revision = empty, revision + 1
            for each in both:
                await each.admit(task, ROUTE)
            await spent_by_others(here, 30_000, pool="away", labels='{"team": "x"}')


async def _stands_at(here: Counting, counter: str, usd_micros: int) -> bool:
    return (await here.counters.standing_of(counter)).total == usd_micros


class LateHistory(BudgetHistory):
    """Reads the ledgers after something else has happened."""

    before: Callable[[], Awaitable[None]]

    async def micros(self, budget: BudgetEntry, period: str) -> int:
        await self.before()
        return await super().micros(budget, period)


@pytest.mark.parametrize("spent_micros", [0, 200_000])
async def test_what_others_count_while_a_budget_comes_into_force_is_counted_once(
    nats_server: RunningServer, spent_micros: int
):
    """
    One orchestrator is at work under it already while another still adds up what was spent before.
    """
    await make_counters(nats_server)
    policy = parse_policy("[budgets.new]\nusd = 1\nper = 'day'\nreserve_usd = 0.1\n")
    counter = subjects.budget_counter("new", period_of("day", time.time()))
    async with counting_on(nats_server, "o1") as here, counting_on(nats_server, "o2") as other:
        await lose_counters(nats_server)
        await lose_stream(nats_server, LEDGER.name)
        await ensure(here.requests, [LEDGER])
        await spent_by_others(here, spent_micros, pool="away")
        history = LateHistory(other.requests, ("default",))
        early = here.admission(lambda: policy, history=BudgetHistory(here.requests, ("default",)))
        late = other.admission(lambda: policy, history=history)

        async def one_more() -> None:
            permits, _ = await admitted(early, 1)
            permits[0].close(finished(0.1))
            await spent_by_others(here, 100_000, pool="away")

        history.before = one_more
        permits, _ = await admitted(late, 1)
        permits[0].give_back()
        await eventually(partial(_stands_at, here, counter, spent_micros + 100_000), 20)
        permits, why = await admitted(late, 10)

    assert 9 - spent_micros // 100_000 == len(permits)
    assert why.startswith("budget new: ")


async def test_an_orchestrator_of_other_scopes_keeps_nobody_from_counting_what_was_spent(nats_server: RunningServer):
    """
    It looks into other ledgers, in which there is nothing.
    """
    await make_counters(nats_server)
    policy = parse_policy("[budgets.two]\nusd = 1\nper = 'day'\nreserve_usd = 0.1\n")
    async with counting_on(nats_server, "o1") as here, counting_on(nats_server, "o2") as other:
        await lose_counters(nats_server)
        await lose_stream(nats_server, LEDGER.name)
        await ensure(here.requests, [LEDGER])
        await spent_by_others(here, 700_000, pool="away")
        elsewhere = other.admission(lambda: policy, history=BudgetHistory(other.requests, ()))
        permits, _ = await admitted(elsewhere, 1)
        permits[0].give_back()
        counter = subjects.budget_counter("two", period_of("day", time.time()))
        await eventually(partial(_stands_at, here, counter, 0), 20)
        permits, why = await admitted(
            here.admission(lambda: policy, history=BudgetHistory(here.requests, ("default",))), 10
        )

    assert 3 == len(permits)
    assert why.startswith("budget two: ")
