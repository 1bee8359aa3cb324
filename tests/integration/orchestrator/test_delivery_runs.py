"""What becomes of a delivery: settled once, given back with a nak and its delay, kept by heartbeats, parked without room."""

import asyncio
import json
from typing import Any

import pytest

from flotilla.fabric.errors import FabricError
from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.orchestrator_here import (
    COUNTERSIGN,
    DOCUMENT,
    SteeredExecutor,
    running_orchestrator,
    signed,
    until,
)
from flotilla.testkit.plain_client import Heard, PlainClient, new_task
from orchestrator.execution.dependencies import NoRouteNowError
from orchestrator.state.attempt import OnPiece
from orchestrator.state.tasks import Task
from orchestrator.ways_in import delivery_rules, delivery_run, durable

ACKS = "$JS.ACK.>"
SECOND = 1_000_000_000


class Once:
    """Raises an error for the first run of each task, and signs the next."""

    def __init__(self, error: BaseException) -> None:
        self._error = error
        self._seen: set[str] = set()

    async def __call__(self, task: Task, _on_piece: OnPiece | None) -> Any:
        if task.id not in self._seen:
            self._seen.add(task.id)
            raise self._error
        return signed(task)


@pytest.mark.parametrize("error", [NoRouteNowError(), FabricError("away")], ids=["no route", "fabric"])
async def test_what_cannot_be_worked_on_now_is_given_back_with_a_delay(
    nats_server: RunningServer, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    """
    The nak says for how long, since a plain one is delivered again at once; then the task has its one result.
    """
    monkeypatch.setattr(delivery_run, "NAK_DELAY_S", 0.3)
    executor = SteeredExecutor(Once(error), capacity=1)
    async with running_orchestrator(nats_server, executor.of) as fleet:
        task = new_task()
        async with fleet.client.hearing("results.>") as results, fleet.admin.hearing(ACKS) as acks:
            await fleet.client.submit(COUNTERSIGN, DOCUMENT, task=task)
            result = await results.result(task)
            await fleet.admin.until_empty("TASKS_default")
        said = _said(acks)

    assert "ok" == result["status"]
    assert [task, task] == executor.ran
    assert [b'-NAK {"delay": %d}' % int(0.3 * SECOND), b"+ACK"] == said


async def test_a_run_that_crashes_is_a_failed_result(nats_server: RunningServer):
    """
    Run again it might crash every orchestrator: it is over, with a dead letter, and the message is acknowledged.
    """
    executor = SteeredExecutor(Once(ZeroDivisionError()), capacity=1)
    async with running_orchestrator(nats_server, executor.of) as fleet:
        task = new_task()
        async with fleet.client.hearing("results.>") as results, fleet.admin.hearing(ACKS) as acks:
            await fleet.client.submit(COUNTERSIGN, DOCUMENT, task=task)
            result = await results.result(task)
            await fleet.admin.until_empty("TASKS_default")
        said = _said(acks)
        dead = await fleet.client.api("dead")
        failed = fleet.ended(capability=COUNTERSIGN, path="durable", outcome="internal")

    assert "internal" == result["error"]["kind"]
    assert [task] == executor.ran
    assert [b"+ACK"] == said
    assert [task] == [entry["task"] for entry in dead["dead"]]
    assert 1 == failed


async def test_what_is_delivered_too_often_is_given_up(nats_server: RunningServer, monkeypatch: pytest.MonkeyPatch):
    """
    After DELIVERIES_MAX that ended without a result; the last one is not run at all.
    """
    monkeypatch.setattr(delivery_run, "NAK_DELAY_S", 0.01)
    monkeypatch.setattr(delivery_rules, "DELIVERIES_MAX", 3)

    async def never(_task: Task, _on_piece: OnPiece | None) -> Any:
        raise NoRouteNowError

    executor = SteeredExecutor(never, capacity=1)
    async with running_orchestrator(nats_server, executor.of) as fleet:
        task = new_task()
        async with fleet.client.hearing("results.>") as results:
            await fleet.client.submit(COUNTERSIGN, DOCUMENT, task=task)
            result = await results.result(task)
            await fleet.admin.until_empty("TASKS_default")

    assert "internal" == result["error"]["kind"]
    assert "3 deliveries" in result["error"]["message"]
    assert result["error"]["retryable"]
    assert [task] * 3 == executor.ran


async def test_all_that_is_held_is_kept_by_heartbeats(nats_server: RunningServer, monkeypatch: pytest.MonkeyPatch):
    """
    Each delivery, what is parked too: the server is told again and again that it is in progress.
    """
    monkeypatch.setattr(durable, "IN_PROGRESS_EVERY_S", 0.1)
    let_go = asyncio.Event()

    async def wait(task: Task, _on_piece: OnPiece | None) -> Any:
        if task.id.startswith("parked"):
            _park(task, begins=True)
        await let_go.wait()
        return signed(task)

    executor = SteeredExecutor(wait, capacity=2)
    async with running_orchestrator(nats_server, executor.of) as fleet:
        tasks = [new_task("parked"), new_task(), new_task()]
        async with fleet.admin.hearing(ACKS) as acks, fleet.client.hearing("results.>") as results:
            await fleet.client.submit_many(COUNTERSIGN, DOCUMENT, tasks)
            await until(lambda: len(executor.running) == len(tasks))
            await acks.until(lambda heard: min(_beats(heard).values()) >= 3 if len(_beats(heard)) == 3 else False)
            let_go.set()
            await results.until(lambda heard: set(heard.counts()) == set(tasks))
            await acks.until(lambda heard: _said(heard) == [b"+ACK"] * len(tasks))
            settled = len(acks.messages)
            await asyncio.sleep(0.5)
            after = len(acks.messages) - settled

    assert sorted(tasks) == sorted(executor.ran)
    assert 0 == after


async def test_what_waits_for_a_route_takes_no_room(nats_server: RunningServer):
    """
    With room for one at a time, one after the other is taken while those before it are parked; gone on, it counts again.
    """
    let_go = asyncio.Event()

    async def park(task: Task, _on_piece: OnPiece | None) -> Any:
        _park(task, begins=True)
        await let_go.wait()
        _park(task, begins=False)
        return signed(task)

    executor = SteeredExecutor(park, capacity=1)
    async with running_orchestrator(nats_server, executor.of) as fleet:
        tasks = [new_task() for _ in range(6)]
        async with fleet.client.hearing("results.>") as results:
            await fleet.client.submit_many(COUNTERSIGN, DOCUMENT, tasks)
            await until(lambda: len(executor.running) == len(tasks))
            let_go.set()
            await results.until(lambda heard: set(heard.counts()) == set(tasks))

    assert dict.fromkeys(tasks, 1) == results.counts()


async def test_when_too_many_are_parked_no_more_are_pulled(nats_server: RunningServer, monkeypatch: pytest.MonkeyPatch):
    """
    They stay in the stream, where another orchestrator may take them.
    """
    monkeypatch.setattr(durable, "PARKED_MAX", 2)
    let_go = asyncio.Event()

    async def park(task: Task, _on_piece: OnPiece | None) -> Any:
        _park(task, begins=True)
        await let_go.wait()
        return signed(task)

    executor = SteeredExecutor(park, capacity=1)
    async with running_orchestrator(nats_server, executor.of) as fleet:
        tasks = [new_task() for _ in range(8)]
        async with fleet.client.hearing("results.>") as results:
            await fleet.client.submit_many(COUNTERSIGN, DOCUMENT, tasks)
            await until(lambda: len(executor.running) >= 2)
            # Each of the three priorities may have asked for one before the second was parked.
            await asyncio.sleep(3 * durable.PULL_TICK_S)
            held = len(executor.running)
            let_go.set()
            await results.until(lambda heard: set(heard.counts()) == set(tasks))

    assert 2 <= held <= 5


async def test_who_leaves_gives_back_at_once(nats_server: RunningServer):
    """
    Parked ones without waiting for the grace to pass, running ones after it; nothing has a result, and all of it waits.
    """
    asked = asyncio.Event()

    async def hold(task: Task, _on_piece: OnPiece | None) -> Any:
        if task.id.startswith("parked"):
            _park(task, begins=True)
        asked.set()
        await asyncio.Event().wait()

    executor = SteeredExecutor(hold, capacity=1)
    async with running_orchestrator(nats_server, executor.of) as fleet:
        parked, running = new_task("parked"), new_task("running")
        async with fleet.admin.hearing(ACKS) as acks:
            await fleet.client.submit(COUNTERSIGN, DOCUMENT, task=parked)
            await until(lambda: parked in executor.running)
            await fleet.client.submit(COUNTERSIGN, DOCUMENT, task=running)
            await until(lambda: running in executor.running)
            await fleet.service.leave(0.2)
            await acks.until(lambda heard: _said(heard) == [b"-NAK", b"-NAK"])
            waiting = await fleet.admin.messages_in("TASKS_default")

    assert 2 == waiting
    assert not executor.running


async def test_a_delivery_that_was_settled_before_is_acknowledged_and_not_run(nats_server: RunningServer):
    """
    Its result was committed and its acknowledgement lost: what stands is what counts.
    """

    async def commit_and_fail(task: Task, _on_piece: OnPiece | None) -> Any:
        body = json.dumps({"task": task.id, "capability": COUNTERSIGN, "status": "ok", "output": {}}).encode()
        await admin.nc.request(f"commit.default.{COUNTERSIGN}.{task.id}", body, timeout=60)
        raise FabricError("away")

    executor = SteeredExecutor(commit_and_fail, capacity=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delivery_run, "NAK_DELAY_S", 0.05)
        async with running_orchestrator(nats_server, executor.of) as fleet:
            admin: PlainClient = fleet.admin
            task = new_task()
            async with fleet.admin.hearing(ACKS) as acks:
                await fleet.client.submit(COUNTERSIGN, DOCUMENT, task=task)
                await acks.until(lambda heard: b"+ACK" in _said(heard))
            stored = await fleet.client.api("result", {"task": task})
            dead = await fleet.client.api("dead")

    assert [task] == executor.ran
    assert {} == stored["output"]
    assert [] == dead["dead"]


def _park(task: Task, *, begins: bool) -> None:
    assert task.park is not None
    task.park(begins)


def _said(acks: Heard) -> list[bytes]:
    """What the server was told of deliveries, but for heartbeats."""
    return [message.data for message in acks.messages if message.data != b"+WPI"]


def _beats(acks: Heard) -> dict[str, int]:
    """Heartbeats by delivery."""
    beats: dict[str, int] = {}
    for message in acks.messages:
        if message.data == b"+WPI":
            beats[message.subject] = beats.get(message.subject, 0) + 1
    return beats
