"""The ledger, and what is told of it, with a real server."""

import asyncio
import functools
import time
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
import pytest
import pytest_asyncio

from flotilla.contracts import subjects
from flotilla.contracts.api_spend import Spend, together
from flotilla.contracts.clock import unix_ms
from flotilla.contracts.headers import TaskOptions
from flotilla.fabric.connection import connected
from flotilla.fabric.inbox import Requests
from flotilla.fabric.stored import delete_message, next_message
from flotilla.routing.limit_rules import period_of
from flotilla.routing.policy_check import parse_policy
from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.orchestrator_here import RunningOrchestrator, running_orchestrator
from flotilla.testkit.plain_client import eventually, new_task
from orchestrator.api import spend_handlers
from orchestrator.economy.budget_standings import BudgetStandings
from orchestrator.economy.counters import Counters
from orchestrator.economy.spend import CAPABILITY, MODELS_PER_DAY_MAX, TASK, SpendLedger
from orchestrator.state.paid import Paid
from orchestrator.state.tasks import Task

pytestmark = pytest.mark.asyncio(loop_scope="module")

SMALL_USD: Final = 0.0000004
"""Less than half a micro-dollar."""


def paid_task(*, durable: bool = True, labels: dict[str, str] | None = None) -> Task:
    """A task of the default scope."""
    return Task(
        task_id=new_task("paid"),
        scope="default",
        capability="classify",
        priority="normal",
        data_class="internal",
        body=b"{}",
        options=TaskOptions(labels=labels or {}),
        accepted_unix_ms=unix_ms(),
        deadline_ms=60_000,
        durable=durable,
    )


@pytest_asyncio.fixture(loop_scope="module")
async def here(nats_server: RunningServer) -> AsyncIterator[RunningOrchestrator]:
    """
    An orchestrator without workers.
    """
    async with running_orchestrator(nats_server, lambda _pools, _reports: ()) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def ledgers(
    nats_server: RunningServer, here: RunningOrchestrator
) -> AsyncIterator[tuple[SpendLedger, SpendLedger]]:
    """
    Those of two more orchestrators.
    """
    del here  # it has made the streams
    async with connected(nats_server.orchestrator(), name="ledgers") as connection:
        requests = Requests(connection)
        await requests.start()
        counters = [Counters(connection, requests, name) for name in ("o8", "o9")]
        for each in counters:
            await each.start()
        yield SpendLedger(counters[0]), SpendLedger(counters[1])
        await asyncio.gather(*(each.stop() for each in counters))
        await requests.stop()


async def told(here: RunningOrchestrator, entries: int, **query: Any) -> dict[str, Any]:
    """What is told, once there are so many entries."""
    found: dict[str, Any] = {}

    async def all_there() -> bool:
        found.update(await here.client.api("spend", query))
        return found.get("entries") == entries

    await eventually(all_there)
    return found


async def test_a_durable_task_is_paid_for_once_whoever_ran_it(
    here: RunningOrchestrator, ledgers: tuple[SpendLedger, SpendLedger]
):
    """
    Two orchestrators ran it, since one froze; it has one result. An asked one is run as often as it is asked.
    """
    before = await here.client.api("spend")
    durable, asked = paid_task(labels={"team": "x"}), paid_task(durable=False)
    for ledger in ledgers:
        ledger.record(durable, [Paid("anthropic", "claude:1", 0.25), Paid("openai", "o1", 1.0)])
        ledger.record(asked, [Paid("anthropic", "claude:1", None)])
    found = await told(here, before["entries"] + 4, by=["pool", "model", "label.team"])

    assert before["usd_micros"] + 1_250_000 == found["usd_micros"]
    assert [(["openai", "o1", "x"], 1_000_000), (["anthropic", "claude:1", "x"], 250_000)] == [
        (line["key"], line["usd_micros"]) for line in found["lines"][:2]
    ]
    unpriced = next(line for line in found["lines"] if line["key"] == ["anthropic", "claude:1", ""])
    assert (0, 2, 2) == (unpriced["usd_micros"], unpriced["entries"], unpriced["unpriced"])


async def test_what_is_less_than_a_micro_dollar_is_not_lost(
    here: RunningOrchestrator, ledgers: tuple[SpendLedger, SpendLedger]
):
    """
    Ten thousand answers of a small model come to what they cost.
    """
    before = await here.client.api("spend")
    for _ in range(1_000):
        ledgers[0].record(paid_task(), [Paid("local", "small", SMALL_USD)])
    found = await told(here, before["entries"] + 1_000, by=["model"])

    assert 400 == next(line["usd_micros"] for line in found["lines"] if line["key"] == ["small"])


async def test_a_pool_that_names_ever_new_models_fills_no_ledger_with_names(
    here: RunningOrchestrator, ledgers: tuple[SpendLedger, SpendLedger]
):
    """
    Each would be a subject that nats-server keeps in memory; what it costs is written down all the same.
    """
    before = await here.client.api("spend")
    count = 2 * MODELS_PER_DAY_MAX
    for number in range(count):
        ledgers[0].record(paid_task(), [Paid("liar", f"m{number}", 0.000002), Paid("honest", "m", 0.000001)])
    found = await told(here, before["entries"] + 2 * count, by=["pool", "model"])

    by_liar = [line for line in found["lines"] if line["key"][0] == "liar"]
    assert MODELS_PER_DAY_MAX + 1 == len(by_liar)
    assert 2 * count == sum(line["usd_micros"] for line in by_liar)
    assert {"": MODELS_PER_DAY_MAX} == {line["key"][1]: line["entries"] for line in by_liar if line["entries"] > 1}
    assert [["honest", "m"]] == [line["key"] for line in found["lines"] if line["key"][0] == "honest"]


async def test_a_ledger_that_is_longer_than_an_answer_is_told_in_several_the_newest_day_first(
    here: RunningOrchestrator, ledgers: tuple[SpendLedger, SpendLedger], monkeypatch: pytest.MonkeyPatch
):
    """
    They add up to what one would say; so do the entries of a counter of which the oldest are gone.
    """
    del ledgers  # it has made the stream
    for day, count in (("2026-11-01", 5), ("2026-11-02", 7), ("2026-11-03", 2)):
        for number in range(count):
            counter = subjects.ledger("default", day, "paged", f"m{number % 2}")
            await here.requests.request(counter, headers={"Nats-Incr": "+10", TASK: "t", CAPABILITY: "classify"})
    oldest = await next_message(
        here.requests, "LEDGER_default", subjects.ledger("default", "2026-11-02", "paged", "m0")
    )
    assert oldest is not None
    await delete_message(here.requests, "LEDGER_default", oldest.sequence)
    query: dict[str, Any] = {"by": ["day", "model"], "since": "2026-11-01", "until": "2026-11-03"}
    whole = await here.client.api("spend", query)
    monkeypatch.setattr(spend_handlers, "ENTRIES_READ_MAX", 3)
    pages = [await here.client.api("spend", query)]
    while pages[-1].get("next"):
        assert len(pages) < 10
        pages.append(await here.client.api("spend", {**query, "after": pages[-1]["next"]}))
    later = await here.client.api("spend", {**query, "until": "9999-12-31", "by": ["pool"]})
    elsewhere = await here.client.api("spend", {**query, "after": {**pages[0]["next"], "scope": "acme"}})
    added = functools.reduce(together, (msgspec.convert(page, Spend) for page in pages))

    assert whole["complete"]
    assert ["paged"] == [line["key"][0] for line in later["lines"] if line["key"][0] == "paged"]
    assert (140, 13) == (whole["usd_micros"], whole["entries"])
    assert {"2026-11-03", "2026-11-02"} == {line["key"][0] for line in pages[0]["lines"]}
    assert (5, False) == (len(pages), pages[0]["complete"])
    assert msgspec.convert(whole, Spend) == added
    assert "$.after.scope" == elsewhere["error"]["details"]["path"]


@pytest.mark.parametrize(
    ("query", "path"),
    [({"by": ["colour"]}, "$.by"), ({"by": []}, "$.by"), ({"since": "yesterday"}, "$.since")],
)
async def test_a_question_that_is_none_says_where(here: RunningOrchestrator, query: dict[str, Any], path: str):
    """
    And what was expected there.
    """
    error = (await here.client.api("spend", query))["error"]
    assert ("bad_request", path) == (error["kind"], error["details"]["path"])


async def test_what_is_left_of_budgets_is_told_to_those_whom_it_concerns(here: RunningOrchestrator):
    """
    To who may change the policy all of them, to a tenant its own.
    """
    policy = "".join(
        f"[budgets.{name}]\nusd = 2.5\nper = 'day'\n{more}\n"
        for name, more in (("all", ""), ("mine", "scopes = ['default']"), ("others", "scopes = ['acme']"))
    )
    assert "error" not in await here.client.api(
        "policy", {"verb": "set", "toml": policy, "author": "test", "force": True}
    )
    day = period_of("day", time.time())
    await here.requests.request(subjects.budget_counter("all", day), headers={"Nats-Incr": "+700000"})

    async def told() -> bool:
        budgets = (await here.client.api("spend"))["budgets"]
        found = [(each["name"], each["period"], each["usd_micros"], each["used_usd_micros"]) for each in budgets]
        return found == [("all", day, 2_500_000, 700_000), *((name, day, 2_500_000, 0) for name in ("mine", "others"))]

    await eventually(told)
    document = parse_policy(policy)
    standings = BudgetStandings(here.requests, lambda: document)
    assert ["mine"] == [each.name for each in await standings.of("default")]
