"""A cascade on a real fleet: which route answers what, what it cost, and that restricted data stays at home."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, Final

import pytest
import pytest_asyncio

from flotilla.client import Fleet
from flotilla.contracts.subjects import Zone
from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.plain_client import BODIES
from flotilla.testkit.probe_client import PROBED, Scrape, probe_of
from flotilla.testkit.scripted_worker import Line, ScriptedWorker, failed, finished, scripted_worker

pytestmark = pytest.mark.asyncio(loop_scope="module")

POLICY: Final = """
format = 1

[capabilities.classify]
strategy = "cascade"
strategy_options = { confidence_min = 0.7 }
routes = [{ pool = "cheap" }, { pool = "dear" }]
"""
LABELS: Final = BODIES["classify"]["labels"]


class Cascade:
    """A fleet with a cheap route at home and a dear one in the cloud."""

    def __init__(self, fleet: RunningFleet, cheap: ScriptedWorker, dear: ScriptedWorker) -> None:
        self.fleet = fleet
        self.cheap = cheap
        self.dear = dear


def said(request: dict[str, Any], pool: str) -> list[Line]:
    """What a pool answers: the document says how sure the cheap one is, and whether the dear one fails."""
    words = request["input"]["document"].split()
    if pool == "dear" and "broken" in words:
        return [failed("refused")]
    confidence = float(words[0]) if pool == "cheap" else 0.9
    cost_usd = 0.25 if pool == "cheap" else 2.0
    return [finished({"label": LABELS[pool == "dear"], "confidence": confidence}, usage={"cost_usd": cost_usd})]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cascade(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cascade]:
    """
    One orchestrator, with the policy from its start on.
    """
    directory = tmp_path_factory.mktemp("cascade")
    policy = directory / "policy.toml"
    policy.write_text(POLICY)
    pools: tuple[tuple[Zone, str], ...] = (("local", "cheap"), ("cloud", "dear"))
    async with AsyncExitStack() as stack:
        env = PROBED | {"FLOTILLA_POLICY_FILE": str(policy)}
        fleet = await stack.enter_async_context(running_fleet(directory / "fleet", local=0, pools=pools, env=env))
        workers: list[ScriptedWorker] = []
        for zone, pool in pools:
            client = await fleet.connect(fleet.server.worker(zone, pool))
            worker = scripted_worker(
                client, lambda request, pool=pool: said(request, pool), zone=zone, pool=pool, replica=f"{pool}-w"
            )
            workers.append(await stack.enter_async_context(worker))
        await fleet.until_replicas({"cheap-w", "dear-w"})
        yield Cascade(fleet, *workers)


async def ask(cascade: Cascade, document: str, **headers: str) -> dict[str, Any]:
    client = await cascade.fleet.client()
    answer = await client.ask("classify", {"document": document, "labels": LABELS}, headers=headers, timeout_s=60.0)
    return answer.result


async def test_only_what_is_not_sure_enough_reaches_the_dear_route(cascade: Cascade):
    """
    Both attempts are in the result, with reasons, and paid for.
    """
    before = len(cascade.dear.requests)
    sure = await ask(cascade, "0.7 sure")
    asked_when_sure = len(cascade.dear.requests) - before
    unsure = await ask(cascade, "0.69 unsure")

    assert ("cheap", LABELS[0], 0.25, 0) == (
        sure["pool"],
        sure["output"]["label"],
        sure["usage"]["cost_usd"],
        asked_when_sure,
    )
    assert ("dear", LABELS[1], 2.25) == (unsure["pool"], unsure["output"]["label"], unsure["usage"]["cost_usd"])
    assert ["first of the cascade", "escalated: confidence 0.69 is below 0.7"] == [
        attempt["reason"] for attempt in unsure["attempts"]
    ]


async def test_every_attempt_of_a_cascade_is_counted_once(cascade: Cascade):
    """
    Also one whose answer was kept, whether it became the result or not; and the task as escalated.
    """
    probe = probe_of(cascade.fleet.orchestrators[0])
    tasks = ("0.1 unsure", "0.2 broken", "0.9 sure")
    before = await probe.scrape()
    for document in tasks:
        await ask(cascade, document)

    def grown(after: Scrape, name: str, **labels: str) -> float:
        return after.value(name, **labels) - before.value(name, **labels)

    after = await probe.until(lambda scrape: grown(scrape, "flotilla_tasks_total") >= len(tasks))
    assert 3 == grown(after, "flotilla_attempts_total", pool="cheap", outcome="ok")
    assert 1 == grown(after, "flotilla_attempts_total", pool="dear", outcome="ok")
    assert 5 == grown(after, "flotilla_attempts_total")
    assert 2 == grown(after, "flotilla_escalations_total", capability="classify")


async def test_a_failed_escalation_leaves_the_answer_at_hand(cascade: Cascade):
    """
    Of an asked and of a submitted task, which says of whom it is.
    """
    asked = await ask(cascade, "0.5 broken")
    async with Fleet.connect(cascade.fleet.url) as fleet:
        submitted = await fleet.submit("classify", {"document": "0.5 broken", "labels": LABELS})
        answer = await fleet.result(submitted.task, timeout_s=60.0)

    assert ("cheap", "cheap-w", 0.5) == (asked["pool"], asked["replica"], asked["output"]["confidence"])
    assert ["ok", "refused"] == [attempt["outcome"] for attempt in asked["attempts"]]
    assert asked["attempts"][0]["reason"].endswith("no route behind it answered")
    assert "cheap" == answer.pool


async def test_restricted_data_is_not_escalated_into_the_cloud(cascade: Cascade):
    """
    The local route is the last that may serve it, and is believed.
    """
    before = len(cascade.dear.requests)
    answer = await ask(cascade, "0.1 restricted", **{"Flotilla-Data-Class": "restricted"})

    assert ("ok", "cheap", 1) == (answer["status"], answer["pool"], len(answer["attempts"]))
    assert before == len(cascade.dear.requests)
