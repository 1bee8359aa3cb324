"""Tasks that were suspended, and are due: found where they are, and worked on where somebody can."""

import asyncio
from typing import Any

import msgspec
import pytest

from flotilla.contracts.clock import unix_ms
from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.orchestrator_here import (
    COUNTERSIGN,
    DOCUMENT,
    RunningOrchestrator,
    SteeredExecutor,
    running_orchestrator,
    signed,
    until,
)
from flotilla.testkit.plain_client import eventually, new_task
from orchestrator.approvals.suspensions import SuspendedTask
from orchestrator.state.attempt import OnPiece
from orchestrator.state.tasks import Task
from orchestrator.ways_in import resumed_tasks

STREAM = "SUSPENDED_default"


async def due(
    fleet: RunningOrchestrator, task: str, capability: str = COUNTERSIGN, *, left_s: int = 60, headers: str = ""
) -> None:
    """Have a task due that was suspended before, and has so long left."""
    kept = SuspendedTask(
        subject=f"scope.default.tasks.{capability}",
        sequence=1,
        stored_unix_ms=unix_ms(),
        raw_headers=f"NATS/1.0\r\nNats-Msg-Id: {task}\r\n{headers}\r\n".encode(),
        body=msgspec.json.encode(DOCUMENT),
        deadline_unix_ms=unix_ms() + left_s * 1000,
    )
    await fleet.admin.nc.request(f"suspended.default.due.{task}", msgspec.msgpack.encode(kept), timeout=60)


async def at_once(task: Task, _on_piece: OnPiece | None) -> Any:
    """Sign it."""
    return signed(task)


@pytest.fixture
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumed_tasks, "PUT_OFF_S", 0.2)
    monkeypatch.setattr(resumed_tasks, "PUT_OFF_JITTER_S", 0.0)


@pytest.mark.usefixtures("_soon")
async def test_what_nobody_can_work_on_now_waits_until_somebody_can(nats_server: RunningServer):
    """
    Put off and not refused, whether its capability has no capacity or is not known here; it is held by nobody meanwhile.
    """
    executor = SteeredExecutor(at_once, capacity=0)
    async with running_orchestrator(nats_server, executor.of) as fleet:
        tasks = [new_task() for _ in range(3)]
        unknown = new_task()
        async with fleet.client.hearing("results.>") as results, fleet.admin.hearing("$JS.ACK.>") as acks:
            for task in tasks:
                await due(fleet, task)
            await due(fleet, unknown, "elsewhere")
            await acks.until(lambda heard: [message.data for message in heard.messages].count(b"+ACK") >= 8)
            waiting = await fleet.admin.messages_in(STREAM)
            status = await fleet.client.api("status", {"task": unknown})
            early = list(results.messages)
            executor.limit = 1
            await results.until(lambda heard: set(heard.counts()) == set(tasks))
        left = await fleet.admin.messages_in(STREAM, f"suspended.default.*.{unknown}")

    assert 4 == waiting
    assert ("waiting", "elsewhere") == (status["state"], status["capability"])
    assert [] == early
    assert dict.fromkeys(tasks, 1) == results.counts()
    assert sorted(tasks) == sorted(executor.ran)
    assert {b"+ACK"} == {message.data for message in acks.messages}
    assert 1 == left


@pytest.mark.parametrize(
    ("capability", "kind"), [("summarize", "deadline_exceeded"), ("elsewhere", "unknown_capability")]
)
async def test_what_nobody_can_work_on_ends_when_its_time_is_over(
    nats_server: RunningServer, capability: str, kind: str
):
    """
    With its own error: a hang would tell nobody.
    """
    async with running_orchestrator(nats_server) as fleet:
        task = new_task()
        async with fleet.client.hearing("results.>") as results:
            await due(fleet, task, capability, left_s=-1, headers="Flotilla-Deadline-Ms: 1\r\n")
            result = await results.result(task)
            await fleet.admin.until_empty(STREAM)

    assert kind == result["error"]["kind"]


async def test_what_waits_for_a_route_takes_no_room_from_others_that_are_due(
    nats_server: RunningServer, monkeypatch: pytest.MonkeyPatch
):
    """
    With room for two at a time, all of six are taken while those before them are parked.
    """
    monkeypatch.setattr(resumed_tasks, "IN_HAND_MAX", 2)
    let_go = asyncio.Event()

    async def park(task: Task, _on_piece: OnPiece | None) -> Any:
        assert task.park is not None
        task.park(True)
        await let_go.wait()
        task.park(False)
        return signed(task)

    executor = SteeredExecutor(park, capacity=8)
    async with running_orchestrator(nats_server, executor.of) as fleet:
        tasks = [new_task() for _ in range(6)]
        async with fleet.client.hearing("results.>") as results:
            for task in tasks:
                await due(fleet, task)
            await until(lambda: len(executor.running) == len(tasks))
            let_go.set()
            await results.until(lambda heard: set(heard.counts()) == set(tasks))

    assert dict.fromkeys(tasks, 1) == results.counts()


async def test_a_task_that_is_due_and_in_nobodys_hands_is_found_and_cancelled(
    nats_server: RunningServer, monkeypatch: pytest.MonkeyPatch
):
    """
    As one that waits for its time: its message is not in the task stream.
    """
    monkeypatch.setattr(resumed_tasks, "IN_HAND_MAX", 0)
    executor = SteeredExecutor(at_once, capacity=1)
    async with running_orchestrator(nats_server, executor.of) as fleet:
        task = new_task()
        async with fleet.client.hearing("results.>") as results:
            await due(fleet, task)
            status = await fleet.client.api("status", {"task": task})
            cancelled = await fleet.client.api("cancel", {"task": task})
            result = await results.result(task)

        async def gone() -> bool:
            return await fleet.admin.messages_in(STREAM) == 0

        await eventually(gone)

    assert ("waiting", COUNTERSIGN) == (status["state"], status["capability"])
    assert "waiting" == cancelled["was"]
    assert "cancelled" == result["error"]["kind"]
    assert [] == executor.ran
