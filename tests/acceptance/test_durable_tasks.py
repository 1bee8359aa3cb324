"""Durable tasks as any NATS client sees them: a PubAck, then one committed result."""

import asyncio
import hashlib
import json

import pytest

from flotilla.client import Fleet, TaskIdTakenError
from flotilla.testkit.fleet import RunningFleet
from flotilla.testkit.plain_client import BODIES, PlainClient, eventually, new_task

pytestmark = pytest.mark.asyncio(loop_scope="session")

CLASSIFY = BODIES["classify"]


async def test_a_bare_subject_and_body_are_a_whole_task(caller: PlainClient):
    """
    The PubAck's sequence tells where the one result arrives, and the result tells who made it and why.
    """
    async with caller.hearing("results.classify.>") as results:
        ack = await caller.submit("classify", CLASSIFY)
        task = f"seq-{ack['seq']}"
        result = await results.result(task)

    assert ack["stream"] == "TASKS_default"
    assert "duplicate" not in ack
    assert result["task"] == task
    assert result["status"] == "ok"
    assert result["output"] == {"label": "billing", "confidence": 1.0}
    assert (result["zone"], result["pool"], result["replica"]) == ("local", "local", "local-w1")
    assert [attempt["outcome"] for attempt in result["attempts"]] == ["ok"]
    assert result["attempts"][0]["reason"]


async def test_the_same_id_twice_is_one_task(caller: PlainClient):
    """
    The second publish is answered as a duplicate, and only one result is ever committed.
    """
    task = new_task()
    other = new_task()
    async with caller.hearing("results.classify.>") as results:
        first = await caller.submit("classify", CLASSIFY, task=task)
        second = await caller.submit("classify", CLASSIFY, task=task)
        await results.result(task)
        third = await caller.submit("classify", CLASSIFY, task=task)
        await caller.submit("classify", CLASSIFY, task=other)
        await results.result(other)

    assert "duplicate" not in first
    assert second["duplicate"] is True
    assert third["duplicate"] is True
    assert first["seq"] == second["seq"] == third["seq"]
    assert results.counts()[task] == 1


async def test_a_result_and_a_status_say_which_input_they_are_of(calm_fleet: RunningFleet, caller: PlainClient):
    """
    For a task that went well, one that was refused, and one that waits; a caller who reuses an id is told.
    """
    body = json.dumps(CLASSIFY).encode()
    bad = b'{"document": 7}'
    wants = {"Flotilla-Route": "nobody"}
    good, refused, waiting = new_task(), new_task(), new_task()
    async with caller.hearing("results.classify.>") as results:
        await caller.submit("classify", body, task=good)
        await caller.submit("classify", bad, task=refused)
        found = [(await results.result(task))["input_sha256"] for task in (good, refused)]
    await caller.submit("classify", body, task=waiting, headers=wants)
    statuses = [(await caller.api("status", {"task": task}))["input_sha256"] for task in (good, refused, waiting)]

    digests = [hashlib.sha256(each).hexdigest() for each in (body, bad, body)]
    assert digests[:2] == found
    assert digests == statuses
    async with Fleet.connect(calm_fleet.url) as fleet:
        for task in (good, waiting):
            with pytest.raises(TaskIdTakenError):
                await fleet.submit("classify", {**CLASSIFY, "document": "other"}, task_id=task)
        assert (await fleet.submit("classify", body, task_id=waiting)).duplicate
        assert await fleet.earlier_answer(waiting, body) is None
        await fleet.cancel(waiting)
        async with asyncio.timeout(60):
            while (earlier := await fleet.earlier_answer(waiting, body)) is None:
                await asyncio.sleep(0.02)
        assert earlier.result.input_sha256 == digests[0]


async def test_two_scopes_may_use_the_same_id(calm_fleet: RunningFleet, caller: PlainClient):
    """
    A tenant's id never swallows another's task, and each sees only its own result.
    """
    acme = await calm_fleet.client("acme")
    task = new_task()
    async with caller.hearing("results.>") as ours, acme.hearing("results.>") as theirs:
        ack_here = await caller.submit("classify", CLASSIFY, task=task)
        ack_there = await acme.submit("classify", {"document": "x", "labels": ["other"]}, task=task)
        here = await ours.result(task)
        there = await theirs.result(task)

    assert "duplicate" not in ack_here
    assert "duplicate" not in ack_there
    assert ack_there["stream"] == "TASKS_acme"
    assert here["output"]["label"] == "billing"
    assert there["output"]["label"] == "other"
    assert ours.counts()[task] == 1
    assert theirs.counts()[task] == 1


@pytest.mark.parametrize("given", ["has.dot", "has space", "x" * 65, "seq-7", "star*", "ümlaut"])
async def test_an_invalid_id_fails_under_its_sequence(caller: PlainClient, given: str):
    """
    What cannot stand in a subject, or looks like a derived id, is refused where the PubAck's holder will look.
    """
    async with caller.hearing("results.classify.>") as results:
        ack = await caller.submit("classify", CLASSIFY, task=given)
        result = await results.result(f"seq-{ack['seq']}")

    assert result["status"] == "failed"
    assert result["error"]["kind"] == "bad_request"
    assert result["error"]["details"]["path"] == "header Nats-Msg-Id"


async def test_labels_come_back_with_the_result_and_the_events(caller: PlainClient):
    """
    A caller's own labels travel with the task.
    """
    task = new_task()
    async with caller.hearing("events.classify.>") as events, caller.hearing("results.>") as results:
        await caller.submit("classify", CLASSIFY, task=task, headers={"Flotilla-Label-Batch": "night"})
        result = await results.result(task)
        await events.until(lambda heard: len(heard.about(task)) == 3)

    assert result["labels"] == {"Batch": "night"}
    assert [json.loads(event.data)["labels"] for event in events.about(task)] == [{"Batch": "night"}] * 3


async def test_every_one_of_a_thousand_tasks_gets_one_result(calm_fleet: RunningFleet, caller: PlainClient):
    """
    Two orchestrators share a backlog: none is lost, none answered twice, and nothing stays in the stream.
    """
    tasks = [new_task("many") for _ in range(1000)]
    async with caller.hearing("results.classify.>") as results:
        await caller.submit_many("classify", CLASSIFY, tasks, at_once=100)
        await results.until(lambda heard: len(heard.messages) >= len(tasks))
        await asyncio.sleep(0.2)

    assert dict.fromkeys(tasks, 1) == {task: results.counts().get(task) for task in tasks}
    admin = await calm_fleet.admin()
    # Acknowledged a moment after the results are committed.
    await eventually(lambda: _none_waits(admin, "classify"))


async def _none_waits(admin: PlainClient, capability: str) -> bool:
    return not await admin.messages_in("TASKS_default", f"scope.default.tasks.{capability}")
