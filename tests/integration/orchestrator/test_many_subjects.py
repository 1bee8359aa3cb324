"""A tenant that sends something on more subjects than can be listed: nobody lists them, and they end all the same."""

import asyncio
import json
from collections.abc import Sequence

import pytest

from flotilla.contracts.results import Result
from flotilla.fabric import held_subjects, stream_usage
from flotilla.fabric.inbox import Requests
from flotilla.fabric.stream_usage import StreamUsage, usage_by_subject
from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.orchestrator_here import (
    COUNTERSIGN,
    DOCUMENT,
    SteeredExecutor,
    running_orchestrator,
    signed,
    until,
)
from flotilla.testkit.plain_client import PlainClient, eventually, new_task
from orchestrator.state.attempt import OnPiece
from orchestrator.state.tasks import Task
from orchestrator.ways_in import sweep

LISTED = 4
JUNK = 10
LONG = "x" * 2_000


async def sign(task: Task, _on_piece: OnPiece | None) -> Result:
    """At once."""
    return signed(task)


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """
    The patterns whose subjects were listed though it was known how many; bounds are made small instead of the stream long.
    """
    asked: list[str] = []
    subjects: dict[str, int] = {}
    monkeypatch.setattr(held_subjects, "LISTED_MAX", LISTED)

    async def held_by(requests: Requests, stream: str) -> StreamUsage:
        usage = await stream_usage.held_by(requests, stream)
        subjects[stream] = usage.subjects
        return usage

    async def listing(requests: Requests, stream: str, pattern: str) -> tuple[StreamUsage, dict[str, int]]:
        usage, found = await usage_by_subject(requests, stream, pattern)
        # Tasks that come between the count and the list are in the list.
        if len(found) > LISTED and subjects.get(stream, len(found)) > LISTED:
            asked.append(pattern)
        return usage, found

    async def counting(requests: Requests, stream: str, subject: str) -> dict[str, int]:
        return (await listing(requests, stream, subject))[1]

    monkeypatch.setattr(held_subjects, "held_by", held_by)
    monkeypatch.setattr(held_subjects, "usage_by_subject", listing)
    monkeypatch.setattr(held_subjects, "subjects_holding", counting)
    monkeypatch.setattr(sweep, "WALKED_MAX", JUNK // 2)
    return asked


async def test_tasks_on_more_subjects_than_are_listed_end_and_nobody_lists_them(
    nats_server: RunningServer, listed: Sequence[str]
):
    """
    A subject may have 4 KB, and a stream a hundred thousand of them: one message that holds all would take an orchestrator's
    memory. What is served is served and counted meanwhile.
    """
    executor = SteeredExecutor(sign, capacity=4)
    async with running_orchestrator(nats_server, executor.of) as here:
        client = here.client
        acks = [
            json.loads((await client.nc.request(f"tasks.j{number}-{LONG}", b"{}", timeout=60)).data)
            for number in range(JUNK)
        ]
        status = await client.api("status")
        async with client.hearing("results.>") as results:
            mine = new_task("mine")
            await client.submit(COUNTERSIGN, DOCUMENT, task=mine)
            assert (await results.result(mine))["status"] == "ok"
        for ack in acks:
            await eventually(lambda ack=ack: _has_failed(here.client, f"seq-{ack['seq']}"))
        await eventually(lambda: _is_empty(here.admin))

    assert "error" not in status
    assert [] == list(listed)


async def test_the_backlog_is_counted_while_tasks_are_on_more_subjects_than_are_listed(
    nats_server: RunningServer, listed: Sequence[str], monkeypatch: pytest.MonkeyPatch
):
    """
    A scaler goes by it. A few subjects are asked for in each sweep, and their turn comes again.
    """
    monkeypatch.setattr(sweep, "WALKED_MAX", 0)
    monkeypatch.setattr(sweep, "COUNTED_MAX", 2)
    monkeypatch.setattr(sweep, "EVERY_S", 0.05)
    signing = asyncio.Event()

    async def wait(task: Task, _on_piece: OnPiece | None) -> Result:
        await signing.wait()
        return signed(task)

    executor = SteeredExecutor(wait, capacity=4)
    async with running_orchestrator(nats_server, executor.of) as here:
        for number in range(LISTED + 1):
            await here.client.nc.request(f"tasks.j{number}", b"{}", timeout=60)
        labels = {"scope": "default", "capability": COUNTERSIGN}
        for number in range(3):
            await here.client.submit(COUNTERSIGN, DOCUMENT, task=f"t{number}")
        await here.client.submit(f"{COUNTERSIGN}.low", DOCUMENT, task="low")
        await until(lambda: here.backlog(**labels, priority="normal") == 3)
        await until(lambda: here.backlog(**labels, priority="low") == 1)
        signing.set()
        await until(lambda: here.backlog(**labels, priority="normal") == 0)

    assert [] == list(listed)


async def _has_failed(client: PlainClient, task: str) -> bool:
    found = await client.api("result", {"task": task})
    return found.get("error", {}).get("kind") == "unknown_capability"


async def _is_empty(admin: PlainClient) -> bool:
    return await admin.messages_in("TASKS_default") == 0
