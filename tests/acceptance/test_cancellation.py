"""Cancelling stops the provider's call and frees its slot, whatever way the task came and wherever it stands."""

import asyncio
import time
from pathlib import Path

import pytest

from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.plain_client import BODIES, Answer, Heard, PlainClient, new_task

pytestmark = pytest.mark.asyncio(loop_scope="session")

REASON = BODIES["reason"]
AT_ONCE_S = 30.0
"""Takes a second at most; one that is not stopped takes two minutes, and the machine may be busy."""
SLOTS = 2


async def test_a_running_interactive_task_stops_at_once(caller: PlainClient):
    """
    Its caller hears `cancelled`, and the slot is free for the next.
    """
    task, asking = await _running_ask(caller)

    began = time.monotonic()
    cancelled = await caller.api("cancel", {"task": task})
    answer = await asking

    assert cancelled == {"task": task, "was": "running"}
    assert answer.kind == "cancelled"
    assert answer.headers["Nats-Service-Error-Code"] == "499"
    assert time.monotonic() - began < AT_ONCE_S
    assert answer.result["attempts"][-1]["outcome"] == "cancelled"
    await _every_slot_is_free(caller)


async def test_a_running_durable_task_stops_at_once(caller: PlainClient):
    """
    Its result is committed as `cancelled`, and the slot is free for the next.
    """
    task = new_task()
    async with caller.hearing("results.reason.>") as results:
        await caller.submit("reason", REASON, task=task)
        status = await caller.until_status(task, "running")
        began = time.monotonic()
        cancelled = await caller.api("cancel", {"task": task})
        result = await results.result(task)
        took_s = time.monotonic() - began

    assert status["replica"] == "slow-w1"
    assert cancelled == {"task": task, "was": "running"}
    assert result["error"]["kind"] == "cancelled"
    assert took_s < AT_ONCE_S
    assert (await caller.api("status", {"task": task}))["state"] == "failed"
    await _every_slot_is_free(caller)


async def test_tasks_that_wait_for_a_slot_are_cancelled_too(caller: PlainClient):
    """
    Durable or interactive, one that had not begun ends at once and never runs.
    """
    holders = [await _running_ask(caller) for _ in range(SLOTS)]
    durable, interactive = new_task("d"), new_task("i")
    async with caller.hearing("results.reason.>") as results, caller.hearing("events.reason.dispatched") as begun:
        await caller.submit("reason", REASON, task=durable)
        asking = asyncio.ensure_future(caller.ask("reason", REASON, headers={"Nats-Msg-Id": interactive}))
        await caller.until_status(interactive, "waiting")

        assert (await caller.api("cancel", {"task": durable}))["was"] == "waiting"
        assert (await caller.api("cancel", {"task": interactive}))["was"] == "waiting"
        assert (await results.result(durable))["error"]["kind"] == "cancelled"
        assert (await asyncio.wait_for(asking, 60)).kind == "cancelled"

        for task, asked in holders:
            await caller.api("cancel", {"task": task})
            await asked
        await _every_slot_is_free(caller, begun)

    assert durable not in begun.counts()
    assert interactive not in begun.counts()


async def test_cancelling_what_is_over_or_unknown_says_so(caller: PlainClient):
    """
    There is nothing to stop, and the answer is an error of its own kind.
    """
    task = new_task()
    async with caller.hearing("results.classify.>") as results:
        await caller.submit("classify", BODIES["classify"], task=task)
        await results.result(task)

    over = await caller.api("cancel", {"task": task})
    unknown = await caller.api("cancel", {"task": new_task()})

    assert over["error"]["kind"] == "not_found"
    assert "over already" in over["error"]["message"]
    assert unknown["error"]["kind"] == "not_found"


async def test_a_mistaken_cancellation_does_not_poison_a_later_task(caller: PlainClient):
    """
    An id that nobody had when it was cancelled may be used afterwards.
    """
    task = new_task()
    assert (await caller.api("cancel", {"task": task}))["error"]["kind"] == "not_found"
    async with caller.hearing("results.classify.>") as results:
        await caller.submit("classify", BODIES["classify"], task=task)
        result = await results.result(task)

    assert result["status"] == "ok"


async def _running_ask(caller: PlainClient) -> tuple[str, "asyncio.Future[Answer]"]:
    """An interactive task that a replica works on."""
    task = new_task()
    asking = asyncio.ensure_future(caller.ask("reason", REASON, headers={"Nats-Msg-Id": task}))
    await caller.until_status(task, "running")
    return task, asking


async def _every_slot_is_free(caller: PlainClient, begun: Heard | None = None) -> None:
    """As many tasks as there are slots begin at once."""
    del begun
    running = [await asyncio.wait_for(_running_ask(caller), 60) for _ in range(SLOTS)]
    for task, asking in running:
        await caller.api("cancel", {"task": task})
        await asking


async def test_two_orchestrators_serve_the_calm_fleet(calm_fleet: RunningFleet):
    """
    The tests above cross orchestrators: whoever is asked finds the one that holds the task.
    """
    client = await calm_fleet.client()
    async with asyncio.timeout(60):
        seen: set[str] = set()
        while len(seen) < 2:
            seen.add((await client.api("status"))["orchestrator"])
    assert seen == {"o1", "o2"}


async def test_a_task_whose_orchestrator_stands_still_for_a_moment_is_cancelled_and_not_said_to_be_unknown(
    tmp_path: Path,
):
    """
    Nothing is stored of an interactive one: whoever is asked waits a little for the one that holds it.
    """
    async with running_fleet(tmp_path, latency_ms=120_000) as fleet:
        client = await fleet.client()
        asking = asyncio.ensure_future(client.ask("classify", BODIES["classify"], headers={"Nats-Msg-Id": "held"}))
        await client.until_status("held", "running")
        await fleet.start_orchestrator()
        holder = fleet.orchestrators[0]
        holder.freeze()
        cancelling = asyncio.ensure_future(client.api("cancel", {"task": "held"}))
        await asyncio.wait({cancelling}, timeout=1.0)
        holder.thaw()
        cancelled, answer = await cancelling, await asking

    assert {"task": "held", "was": "running"} == cancelled
    assert "cancelled" == answer.kind
