"""A tenant that sends something on more subjects than can be listed: nobody lists them, and they end all the same."""

import json
from collections.abc import Sequence

import pytest

from flotilla.contracts.results import Result
from flotilla.fabric import stored
from flotilla.fabric.inbox import Requests
from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.orchestrator_here import COUNTERSIGN, DOCUMENT, SteeredExecutor, running_orchestrator, signed
from flotilla.testkit.plain_client import PlainClient, eventually, new_task
from orchestrator.api import task_handlers
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
    The patterns whose subjects were listed; bounds are made small instead of the stream long.
    """
    asked: list[str] = []
    monkeypatch.setattr(stored, "LISTED_MAX", LISTED)
    holding = stored.subjects_holding

    async def listing(requests: Requests, stream: str, pattern: str) -> dict[str, int]:
        found = await holding(requests, stream, pattern)
        if len(found) > LISTED:
            asked.append(pattern)
        return found

    for module in (stored, task_handlers):
        monkeypatch.setattr(module, "subjects_holding", listing)
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


async def _has_failed(client: PlainClient, task: str) -> bool:
    found = await client.api("result", {"task": task})
    return found.get("error", {}).get("kind") == "unknown_capability"


async def _is_empty(admin: PlainClient) -> bool:
    return await admin.messages_in("TASKS_default") == 0
