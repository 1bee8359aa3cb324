"""Consensus on a real fleet: who is asked, whose answer counts, what it cost, and that restricted data stays at home."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, Final

import pytest
import pytest_asyncio

from flotilla.client import Fleet
from flotilla.client.errors import TaskFailedError
from flotilla.contracts.subjects import Zone
from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.patient_client import WAIT_S
from flotilla.testkit.plain_client import BODIES
from flotilla.testkit.probe_client import PROBED, probe_of
from flotilla.testkit.scripted_worker import Line, ScriptedWorker, failed, finished, scripted_worker

pytestmark = pytest.mark.asyncio(loop_scope="module")

POLICY: Final = """
format = 1

[capabilities.classify]
strategy = "consensus"
routes = [{ pool = "one" }, { pool = "two" }, { pool = "judge" }]

[capabilities.summarize]
strategy = "consensus"
strategy_options = { ask = 3, agree = 2, answer_anyway = false }
routes = [{ pool = "one" }, { pool = "two" }, { pool = "judge" }]
"""
LABELS: Final = BODIES["classify"]["labels"]
POOLS: Final[tuple[tuple[Zone, str], ...]] = (("local", "one"), ("local", "two"), ("cloud", "judge"))
COSTS_USD: Final = {"one": 0.25, "two": 0.5, "judge": 2.0}
TOGETHER: Final = "one of 2 asked at the same time"


class Panel:
    """A fleet with two routes at home and a third in the cloud."""

    def __init__(self, fleet: RunningFleet, workers: dict[str, ScriptedWorker]) -> None:
        self.fleet = fleet
        self.workers = workers

    def asked(self, document: str) -> list[str]:
        """The pools that were asked about a document."""
        return [
            pool
            for pool, worker in self.workers.items()
            if any(request["input"]["document"] == document for request in worker.requests)
        ]


def said(request: dict[str, Any], pool: str) -> list[Line]:
    """What a pool answers: the document has a word for each, by `POOLS`; the fourth only makes it another document."""
    words = request["input"]["document"].split()
    word = words[[name for _, name in POOLS].index(pool)]
    usage = {"cost_usd": COSTS_USD[pool]}
    match word:
        case "fails":
            return [failed("refused")]
        case "waits":
            return [{"type": "accepted"}, *[line for _ in range(600) for line in (0.5, {"type": "progress"})]]
        case _ if request["capability"] == "classify":
            return [finished({"label": LABELS[int(word)], "confidence": 0.5}, usage=usage)]
        case _:
            return [finished({"summary": word}, usage=usage)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def panel(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Panel]:
    """
    One orchestrator, with the policy from its start on.
    """
    directory = tmp_path_factory.mktemp("consensus")
    policy = directory / "policy.toml"
    policy.write_text(POLICY)
    async with AsyncExitStack() as stack:
        env = PROBED | {"FLOTILLA_POLICY_FILE": str(policy)}
        fleet = await stack.enter_async_context(running_fleet(directory / "fleet", local=0, pools=POOLS, env=env))
        workers: dict[str, ScriptedWorker] = {}
        for zone, pool in POOLS:
            client = await fleet.connect(fleet.server.worker(zone, pool))
            worker = scripted_worker(
                client, lambda request, pool=pool: said(request, pool), zone=zone, pool=pool, replica=f"{pool}-w"
            )
            workers[pool] = await stack.enter_async_context(worker)
        await fleet.until_replicas({f"{pool}-w" for _, pool in POOLS})
        yield Panel(fleet, workers)


async def ask(panel: Panel, document: str, *, capability: str = "classify", **headers: str) -> dict[str, Any]:
    client = await panel.fleet.client()
    body = {"document": document} | ({"labels": LABELS} if capability == "classify" else {})
    answer = await client.ask(capability, body, headers=headers, timeout_s=WAIT_S)
    return answer.result


async def until_cancelled(worker: ScriptedWorker, before: int) -> None:
    """Return when a worker was told to stop, after the first so many words to it."""
    async with asyncio.timeout(WAIT_S):
        while not any(each.get("type") == "cancel" for each in worker.controls[before:]):
            await asyncio.sleep(0.01)


async def test_two_that_agree_are_the_result_and_the_third_is_not_asked(panel: Panel):
    """
    Both attempts are in the result, with reasons, and paid for.
    """
    result = await ask(panel, "1 1 0 agree")

    assert ("ok", "one", LABELS[1], 0.75) == (
        result["status"],
        result["pool"],
        result["output"]["label"],
        result["usage"]["cost_usd"],
    )
    assert [("one", f"{TOGETHER}; agreed with others"), ("two", TOGETHER)] == [
        (each["pool"], each["reason"]) for each in result["attempts"]
    ]
    assert ["one", "two"] == panel.asked("1 1 0 agree")


async def test_where_they_disagree_the_route_behind_decides(panel: Panel):
    """
    Of an asked and of a submitted task; the metric counts both.
    """
    probe = probe_of(panel.fleet.orchestrators[0])
    before = (await probe.scrape()).value("flotilla_escalations_total", capability="classify")
    asked = await ask(panel, "0 1 1 asked")
    async with Fleet.connect(panel.fleet.url) as fleet:
        submitted = await fleet.submit("classify", {"document": "0 1 1 submitted", "labels": LABELS})
        answer = await fleet.result(submitted.task, timeout_s=WAIT_S)

    assert ("judge", LABELS[1], 2.75) == (asked["pool"], asked["output"]["label"], asked["usage"]["cost_usd"])
    assert [TOGETHER, TOGETHER, "escalated: no 2 of 2 answers agree"] == [each["reason"] for each in asked["attempts"]]
    assert ("judge", 3) == (answer.pool, len(answer.attempts))
    await probe.until(lambda scrape: scrape.value("flotilla_escalations_total", capability="classify") == before + 2)


async def test_a_route_that_fails_has_no_answer_and_the_first_answer_is_the_last_resort(panel: Panel):
    """
    Every attempt is on record.
    """
    decided = await ask(panel, "fails 1 0 decided")
    alone = await ask(panel, "fails 1 fails alone")

    assert ("judge", LABELS[0]) == (decided["pool"], decided["output"]["label"])
    assert ("two", LABELS[1]) == (alone["pool"], alone["output"]["label"])
    assert ["refused", "ok", "refused"] == [each["outcome"] for each in alone["attempts"]]
    assert alone["attempts"][1]["reason"].endswith("no route behind it answered")


async def test_whoever_is_not_waited_for_any_more_is_cancelled(panel: Panel):
    """
    Two of three agree: the third's worker is told to stop, and its attempt is on record.
    """
    judge = panel.workers["judge"]
    before = len(judge.controls)
    result = await ask(panel, "same Same waits third", capability="summarize")
    await until_cancelled(judge, before)

    assert ("one", "same") == (result["pool"], result["output"]["summary"])
    assert {"one": "ok", "two": "ok", "judge": "cancelled"} == {
        each["pool"]: each["outcome"] for each in result["attempts"]
    }
    assert (0.75, 1) == (result["usage"]["cost_usd"], result["usage"]["unpriced"])


async def test_without_agreement_and_without_an_answer_anyway_the_task_fails(panel: Panel):
    """
    Doubt about a result is a failure where the policy says so.
    """
    client = await panel.fleet.client()
    answer = await client.ask("summarize", {"document": "a b c differ"}, timeout_s=WAIT_S)

    assert "no_route" == answer.kind
    assert 3 == len(answer.result["attempts"])


async def test_a_cancelled_task_is_cancelled_at_all_its_routes(panel: Panel):
    """
    While both are being asked.
    """
    document = "waits waits 0 cancelled"
    async with Fleet.connect(panel.fleet.url) as fleet:
        submitted = await fleet.submit("classify", {"document": document, "labels": LABELS})
        async with asyncio.timeout(WAIT_S):
            while panel.asked(document) != ["one", "two"]:
                await asyncio.sleep(0.01)
        told = {pool: len(worker.controls) for pool, worker in panel.workers.items()}
        await fleet.cancel(submitted.task)
        with pytest.raises(TaskFailedError, match="cancelled by the caller"):
            await fleet.result(submitted.task, timeout_s=WAIT_S)

    # The caller and each worker have connections of their own: who hears of it first is open.
    for pool in ("one", "two"):
        await until_cancelled(panel.workers[pool], told[pool])
    assert not any(each.get("type") == "cancel" for each in panel.workers["judge"].controls[told["judge"] :])


async def test_a_stream_has_no_pieces_while_nothing_is_decided(panel: Panel):
    """
    The answer comes whole.
    """
    client = await panel.fleet.client()
    body = {"document": "same same other streamed"}
    answer = await client.ask("summarize", body, headers={"Flotilla-Stream": "true"}, timeout_s=WAIT_S)

    assert ("ok", "same") == (answer.result["status"], answer.result["output"]["summary"])
    assert [] == answer.pieces
    asked = [request for each in panel.workers.values() for request in each.requests if request["input"] == body]
    assert {False} == {request.get("stream", False) for request in asked}


async def test_restricted_data_is_asked_and_decided_at_home(panel: Panel):
    """
    Without agreement the first answer stands; the cloud hears nothing.
    """
    document = "0 1 1 restricted"
    result = await ask(panel, document, **{"Flotilla-Data-Class": "restricted"})

    assert ("ok", "one", 2) == (result["status"], result["pool"], len(result["attempts"]))
    assert ["one", "two"] == panel.asked(document)
