"""Limits, budgets and spend over two orchestrators, by callers of any language."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
import pytest_asyncio

from flotilla.client import Fleet
from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.plain_client import BODIES, Answer, PlainClient, eventually, new_task
from flotilla.testkit.probe_client import PROBED, probe_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLASSIFY: Final = BODIES["classify"]
PRICE_USD: Final = 0.0125
BUDGET_USD: Final = 1.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningFleet]:
    """
    Two orchestrators, and two pools whose work costs something.
    """
    directory = tmp_path_factory.mktemp("limits")
    price = {"FLOTILLA_PRICE_PER_CALL_USD": str(PRICE_USD)}
    async with running_fleet(
        directory, orchestrators=2, local=1, cloud=1, slots=16, worker_env=price, env=PROBED
    ) as fleet:
        yield fleet


async def in_force(fleet: RunningFleet, policy: str) -> None:
    """Set a policy, and wait until every orchestrator follows it."""
    async with Fleet.connect(fleet.url) as api:
        revision = (await api.policy.set(policy)).revision
        async with asyncio.timeout(60):
            in_a_row = 0
            while in_a_row < 12:
                followed = (await api.explain("classify")).policy_revision == revision
                in_a_row = in_a_row + 1 if followed else 0


async def asked(client: PlainClient, count: int, headers: dict[str, str] | None = None) -> list[Answer]:
    """So many asks at a time."""
    return await asyncio.gather(*(client.ask("classify", CLASSIFY, headers=headers) for _ in range(count)))


async def submit(client: PlainClient, tasks: list[str], headers: dict[str, str]) -> None:
    """So many durable tasks at a time."""
    await asyncio.gather(*(client.submit("classify", CLASSIFY, task=task, headers=headers) for task in tasks))


def kinds(answers: list[Answer]) -> dict[str, int]:
    found: dict[str, int] = {}
    for answer in answers:
        found[answer.kind or "ok"] = found.get(answer.kind or "ok", 0) + 1
    return found


async def unused(fleet: RunningFleet, limit: str) -> float:
    """Requests that its orchestrators have taken of a limit and did not use."""
    scrapes = [await probe_of(each).scrape() for each in fleet.orchestrators]
    return sum(scrape.value("flotilla_limit_unused_total", limit=limit, measure="requests") for scrape in scrapes)


async def test_a_rate_holds_over_all_orchestrators(fleet: RunningFleet):
    """
    Of 240 tasks a hundred are served in the minute; the others are told when to come again, and explain says why.
    """
    await in_force(fleet, "[limits.provider]\nrequests_per_minute = 100\n")
    client = await fleet.client()
    answers = [answer for _ in range(6) for answer in await asked(client, 40)]
    found = kinds(answers)
    attempts = sum(len(answer.result["attempts"]) for answer in answers)

    # What a machine without time does not use of a block within two seconds is lost, and counted when it is looked for.
    async def none_left() -> bool:
        await client.api("explain", {"capability": "classify"})
        return attempts + await unused(fleet, "provider") == 100

    await eventually(none_left)
    assert 0 < found["ok"] <= 100
    assert found["ok"] + found["no_capacity"] == 240
    error = next(answer.result["error"] for answer in answers if answer.kind)
    assert 0 < error["details"]["retry_after_s"] <= 62
    assert "limit provider: 100 requests a minute are used" in error["message"]
    explained = await client.api("explain", {"capability": "classify"})
    assert explained["routes"] == []
    assert {"local", "cloud"} == {each["pool"] for each in explained["excluded"] if "limit provider" in each["reason"]}


async def test_a_limit_that_is_raised_takes_effect_at_once(fleet: RunningFleet):
    """
    And one for others' tasks is none for these.
    """
    others = "[limits.acme]\nscopes = ['acme']\nrequests_per_minute = 1\n"
    await in_force(fleet, f"{others}[limits.low]\nrequests_per_minute = 10\n")
    client = await fleet.client()
    before = kinds(await asked(client, 30))["ok"]
    await in_force(fleet, f"{others}[limits.low]\nrequests_per_minute = 60\n")
    after = kinds(await asked(client, 90))["ok"]

    assert before <= 10
    assert 10 < before + after <= 60


async def test_over_a_limit_the_next_route_is_taken_and_the_result_says_why(fleet: RunningFleet):
    """
    Nobody waits where another pool has room.
    """
    await in_force(
        fleet,
        "[default]\nroutes = [{ pool = 'local' }, { pool = 'cloud' }]\n"
        "[limits.local]\npools = ['local']\nrequests_per_minute = 10\n",
    )
    answers = await asked(await fleet.client(), 40)
    reasons = [answer.result["attempts"][0]["reason"] for answer in answers if answer.result["pool"] == "cloud"]

    assert {"ok": 40} == kinds(answers)
    assert len(reasons) >= 30
    assert any("local is over: limit local: 10 requests a minute are used" in reason for reason in reasons)


async def test_a_budget_is_never_exceeded(fleet: RunningFleet):
    """
    A dollar buys eighty attempts, whoever sends them; a label says what counts.
    """
    await in_force(
        fleet,
        f"[budgets.team]\nusd = 1.0\nper = 'month'\nlabels = {{ team = 'x' }}\nreserve_usd = {PRICE_USD}\n",
    )
    client = await fleet.client()
    answers: list[Answer] = []

    # Reservations that would go beyond it are taken back: those at the same moment may be refused for them.
    async def is_spent() -> bool:
        answers.extend(await asked(client, 40, {"Flotilla-Label-team": "x"}))
        return kinds(answers)["ok"] >= 80

    await eventually(is_spent)
    after = await asked(client, 50, {"Flotilla-Label-team": "x"})
    others = await asked(client, 20)

    assert kinds(answers)["ok"] == 80
    assert {"no_capacity": 50} == kinds(after)
    assert {"ok": 20} == kinds(others)
    error = next(answer.result["error"] for answer in after)
    assert "budget team: 1.00 USD a month are spent or reserved" in error["message"]


async def test_attempts_at_a_time_are_bounded_and_all_are_served(fleet: RunningFleet):
    """
    Whoever finds no room waits for it.
    """
    await in_force(fleet, "[limits.few]\nconcurrent_requests = 3\n")
    assert {"ok": 60} == kinds(await asked(await fleet.client(), 60))


async def test_in_report_mode_nothing_is_refused(fleet: RunningFleet):
    """
    What would have been refused is only counted.
    """
    await in_force(
        fleet,
        "[limits.shadow]\nrequests_per_minute = 5\nmode = 'report'\n"
        f"[budgets.shadow]\nusd = 0.05\nper = 'day'\nreserve_usd = {PRICE_USD}\nmode = 'report'\n",
    )
    assert {"ok": 40} == kinds(await asked(await fleet.client(), 40))


async def test_a_budget_and_the_ledger_are_exact_while_an_orchestrator_and_a_worker_are_killed(fleet: RunningFleet):
    """
    Of more durable tasks than the budget has room for. The ledger adds up to the results to the micro-dollar, by label, pool
    and model, and has every task once. What the dead orchestrator had reserved comes back; what the attempts may have cost
    that were lost with the worker stays counted.
    """
    price = {"FLOTILLA_PRICE_PER_CALL_USD": str(PRICE_USD)}
    client = await fleet.client()
    # A pool at home costs something once its attempts have: until then what is lost there is counted as free.
    await in_force(fleet, "")
    assert {"ok": 40} == kinds(await asked(client, 40))
    # So slow that it has attempts in hand whenever it is killed.
    doomed = await fleet.start_worker("local", name="doomed", slots=16, latency_ms=60_000.0, env=price)
    # By label: a budget begins with what the ledger has, and the tests before have spent.
    await in_force(
        fleet, f"[budgets.all]\nusd = {BUDGET_USD}\nper = 'day'\nlabels = {{ run = 'k' }}\nreserve_usd = {PRICE_USD}\n"
    )
    headers = {"Flotilla-Label-run": "k", "Flotilla-Deadline-Ms": "12000"}
    async with Fleet.connect(fleet.url) as api:
        before = await api.spend(by=["pool"])
        async with client.hearing("results.>") as heard:
            tasks = [new_task("paid") for _ in range(120)]
            # Some of what is lost with the worker is lost to the orchestrator that lives, which alone can tell of it.
            fleet.orchestrators[0].freeze()
            await submit(client, tasks[:24], headers)
            await heard.until(lambda heard: len(heard.messages) > 0)
            fleet.orchestrators[0].thaw()
            await submit(client, tasks[24:], headers)
            await heard.until(lambda heard: len(heard.messages) > 20)
            fleet.orchestrators[0].kill()
            doomed.kill()
            results = [await heard.result(task) for task in tasks]
        paid = [round(result["usage"]["cost_usd"] * 1_000_000) for result in results if result["usage"]["cost_usd"]]
        cost = sum(paid)

        async def adds_up() -> bool:
            return (await api.spend(by=["pool"])).usd_micros == before.usd_micros + cost

        await eventually(adds_up)
        spend = await api.spend(by=["label.run", "model"])

    assert 20 < len(paid) <= BUDGET_USD / PRICE_USD
    run: dict[str, Any] = {line.key[0]: line for line in spend.lines}
    line = run["k"]
    # One entry for each task; where an attempt was lost with the worker, its cost is more than is known.
    lost = [result for result in results if result["usage"].get("unpriced")]
    entered = [result for result in results if result["usage"]["cost_usd"] or result["usage"].get("unpriced")]
    assert (["k", "noop-1"], cost, len(entered)) == (line.key, line.usd_micros, line.entries)
    assert 0 < line.unpriced == len(lost)
    assert [("all", BUDGET_USD * 1_000_000)] == [(each.name, each.usd_micros) for each in spend.budgets]
    admin = await fleet.admin()

    async def no_more_than_the_budget_is_counted() -> bool:
        return cost <= await total_of(admin, "counter.budget.all.>") <= BUDGET_USD * 1_000_000

    await eventually(no_more_than_the_budget_is_counted)


async def total_of(admin: PlainClient, counters: str) -> int:
    """What counters stand at together."""
    info = await admin.stream("STREAM.INFO", "COUNTERS", {"subjects_filter": counters})
    total = 0
    subjects: dict[str, int] = info["state"].get("subjects") or {}
    for subject in subjects:
        found = await admin.stream("STREAM.MSG.GET", "COUNTERS", {"last_by_subj": subject})
        total += int(json.loads(base64.b64decode(found["message"]["data"]))["val"])
    return total
