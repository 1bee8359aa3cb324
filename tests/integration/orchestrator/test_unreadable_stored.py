"""What stands in a stream and cannot be read is final: not done over, not written over, told, and in nobody's way."""

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.plain_client import BODIES, PlainClient, new_task
from flotilla.testkit.probe_client import PROBED, probe_of

CLASSIFY = BODIES["classify"]
GARBAGE = [
    b"",
    b"\xff\xfe",
    b"null",
    b"{}",
    b'{"task":"a.b"}',
    b'{"task":"t","capability":"classify","status":"ok","output":{"label":',
    b"[" * 100_000,
    b'{"task":"t","capability":"classify","status":"ok","error":{"kind":"of_a_later_version","message":""}}',
]


async def test_a_task_whose_stored_result_cannot_be_read_is_over(tmp_path: Path):
    """
    Delivered again, it is not run again: it has its result, whatever that is, and its input is among the dead.
    """
    async with running_fleet(tmp_path, local=0, env=PROBED) as fleet:
        client, admin = await fleet.client(), await fleet.admin()
        tasks = [new_task() for _ in GARBAGE]
        for task, body in zip(tasks, GARBAGE, strict=True):
            await admin.nc.request(f"commit.default.classify.{task}", body)
        await client.submit_many("classify", CLASSIFY, tasks)
        await _deliver_once_in_vain(admin, "classify", len(tasks))
        async with admin.hearing("infer.>") as attempts:
            await fleet.start_worker()
            await admin.until_empty("TASKS_default")
        stored = [await _stored(admin, task) for task in tasks]
        results = [await client.api("result", {"task": task}) for task in tasks]
        statuses = [await client.api("status", {"task": task}) for task in tasks]
        cancelled = await client.api("cancel", {"task": tasks[0]})
        dead = await client.api("dead")
        metrics = await probe_of(fleet.orchestrators[0]).scrape()
        said = _said(fleet)

    assert [] == attempts.messages
    assert GARBAGE == stored
    assert {("failed", "internal")} == {(result["status"], result["error"]["kind"]) for result in results}
    assert {("failed", "classify")} == {(status["state"], status["capability"]) for status in statuses}
    assert "over already" in cancelled["error"]["message"]
    assert set(tasks) == {entry["task"] for entry in dead["dead"]}
    assert metrics.value("flotilla_unreadable_stored_total", what="result") >= len(tasks)
    assert 1 == said


async def test_a_task_that_ran_beside_a_stored_result_that_cannot_be_read_does_not_replace_it(tmp_path: Path):
    """
    The first to be stored counts.
    """
    async with running_fleet(tmp_path) as fleet:
        client, admin = await fleet.client(), await fleet.admin()
        await admin.nc.request("commit.default.classify.t1", b"{}")
        async with client.hearing("results.>") as results:
            await client.submit("classify", CLASSIFY, task="t1")
            await admin.until_empty("TASKS_default")
        stored = await _stored(admin, "t1")

    assert [] == results.messages
    assert b"{}" == stored


async def test_dead_records_that_cannot_be_read_are_listed_among_the_others(tmp_path: Path):
    """
    With what their subjects say; they are shown and retried as what they are.
    """
    async with running_fleet(tmp_path, local=0, env=PROBED) as fleet:
        client, admin = await fleet.client(), await fleet.admin()
        tasks = [new_task() for _ in GARBAGE]
        for task, body in zip(tasks, GARBAGE, strict=True):
            await admin.nc.request(f"dead.default.classify.{task}", body)
        async with client.hearing("results.>") as results:
            await client.submit("classify", b"{}", task="honest")
            await results.result("honest")
        dead: dict[str, Any] = {}
        async with asyncio.timeout(60):
            while "honest" not in dead:
                dead = {entry["task"]: entry for entry in (await client.api("dead"))["dead"]}
        shown = await client.api("dead", {"verb": "show", "task": tasks[0]})
        retried = await client.api("dead", {"verb": "retry", "task": tasks[0]})
        metrics = await probe_of(fleet.orchestrators[0]).scrape()
        said = _said(fleet)

    assert {*tasks, "honest"} == set(dead)
    assert {task: len(body) for task, body in zip(tasks, GARBAGE, strict=True)} == {
        task: dead[task]["size_bytes"] for task in tasks
    }
    assert {("classify", "internal")} == {(dead[task]["capability"], dead[task]["error"]["kind"]) for task in tasks}
    assert ("internal", "internal") == (shown["error"]["kind"], retried["error"]["kind"])
    assert metrics.value("flotilla_unreadable_stored_total", what="dead_record") >= len(tasks)
    assert 1 == said


async def _deliver_once_in_vain(admin: PlainClient, capability: str, tasks: int) -> None:
    """Have the next delivery of each task be its second one, as after a crash."""
    name = f"{capability}_normal"
    config = {
        "durable_name": name,
        "filter_subject": f"scope.default.tasks.{capability}",
        "ack_policy": "explicit",
        "max_deliver": -1,
    }
    await admin.stream(
        "CONSUMER.DURABLE.CREATE.TASKS_default", name, {"stream_name": "TASKS_default", "config": config}
    )
    inbox = admin.nc.new_inbox()
    async with admin.hearing(inbox) as heard:
        await admin.nc.publish(f"$JS.API.CONSUMER.MSG.NEXT.TASKS_default.{name}", b"%d" % tasks, reply=inbox)
        await heard.until(lambda heard: len(heard.messages) == tasks)
        for message in heard.messages:
            await admin.nc.publish(message.reply, b"-NAK")


async def _stored(admin: PlainClient, task: str) -> bytes:
    answer = await admin.stream(
        "STREAM.MSG.GET", "RESULTS_default", {"last_by_subj": f"scope.default.results.*.{task}"}
    )
    return base64.b64decode(answer["message"].get("data", ""))


def _said(fleet: RunningFleet) -> int:
    lines = [json.loads(line) for line in fleet.orchestrators[0].log_text().splitlines() if line.startswith("{")]
    return sum(line.get("event") == "stored_unreadable" for line in lines)
