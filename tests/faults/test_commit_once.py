"""Execution is at least once; the result is committed exactly once, whoever tries."""

import asyncio
import json
from pathlib import Path

from flotilla.testkit.fleet import running_fleet
from flotilla.testkit.plain_client import BODIES, Json, PlainClient, eventually, new_task

CLASSIFY = BODIES["classify"]
ACK_WAIT_S = 10.0


async def test_a_task_that_two_orchestrators_work_on_has_one_result(tmp_path: Path):
    """
    One freezes with tasks in hand until they are delivered to the other; thawed, it cannot commit them again.
    """
    async with running_fleet(tmp_path, orchestrators=2, local=1, slots=8, latency_ms=400) as fleet:
        client, admin = await fleet.client(), await fleet.admin()
        tasks = [new_task("twice") for _ in range(40)]
        async with client.hearing("results.>") as results, admin.hearing("infer.local.>") as attempts:
            await client.submit_many("classify", CLASSIFY, tasks, at_once=40)
            await results.until(lambda heard: len(heard.messages) >= 8)
            # The one whose request has just gone out: whatever else it holds, it freezes with that task in hand.
            sent = len(attempts.messages)
            await attempts.until(lambda heard: len(heard.messages) > sent)
            busy = _by(attempts.bodies()[-1])
            frozen = next(each for each in fleet.orchestrators if each.name == busy)
            frozen.freeze()
            await results.until(lambda heard: len(heard.messages) == len(tasks), ACK_WAIT_S + 20)
            frozen.thaw()
            await admin.until_empty("TASKS_default", ACK_WAIT_S + 10)
            # What the thawed one still does with its stale deliveries is over when it answers again.
            await _answers(client, busy)
            await asyncio.sleep(0.5)
            stored = await admin.messages_in("RESULTS_default")

    orchestrators = {attempt: set[str]() for attempt in tasks}
    for request in attempts.bodies():
        orchestrators[request["task"]].add(_by(request))
    assert any(len(each) == 2 for each in orchestrators.values()), "no task was ever worked on by both"
    assert results.counts() == dict.fromkeys(tasks, 1)
    assert stored == len(tasks)


def _by(request: Json) -> str:
    """The orchestrator that sent it."""
    return request["attempt"].split(".")[0]


async def test_a_result_that_stands_already_is_not_replaced(tmp_path: Path):
    """
    A task delivered again after its result was committed is acknowledged without being worked on.
    """
    async with running_fleet(tmp_path, orchestrators=1) as fleet:
        client, admin = await fleet.client(), await fleet.admin()
        planted = {
            "task": "t1",
            "capability": "classify",
            "status": "ok",
            "output": {"label": "planted", "confidence": 1},
        }
        await admin.nc.request("commit.default.classify.t1", json.dumps(planted).encode())
        async with client.hearing("results.>") as results:
            await client.submit("classify", CLASSIFY, task="t1")
            await admin.until_empty("TASKS_default", ACK_WAIT_S + 10)
            again = await client.api("result", {"task": "t1"})

    assert results.messages == []
    assert again["output"]["label"] == "planted"


async def test_long_work_is_not_delivered_twice(tmp_path: Path):
    """
    Work longer than the consumer's ack wait is kept by heartbeats: it is done once.
    """
    async with running_fleet(tmp_path, orchestrators=2, latency_ms=(ACK_WAIT_S + 2) * 1000) as fleet:
        client, admin = await fleet.client(), await fleet.admin()
        async with client.hearing("results.>") as results, admin.hearing("infer.local.>") as attempts:
            await client.submit("classify", CLASSIFY, task="long")
            result = await results.result("long", ACK_WAIT_S + 8)

    assert result["status"] == "ok"
    assert len(attempts.messages) == 1
    assert len(result["attempts"]) == 1


async def _answers(client: PlainClient, name: str) -> None:
    async def answers() -> bool:
        return (await client.api("status"))["orchestrator"] == name

    await eventually(answers, every_s=0.02)
