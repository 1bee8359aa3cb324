"""
Memory is flat over many tasks: what a task needed is given back, by every process and by nats-server.

`SOAK_ASKS` and `SOAK_TASKS` say how many; `make soak` has a million and 300,000, which takes about half an hour.
"""

import asyncio
import os
from pathlib import Path

import psutil
import pytest

from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.plain_client import BODIES, PlainClient, new_task

CLASSIFY = BODIES["classify"]
ASK = b'{"document":"a","labels":["b"]}'
MIB = 1024 * 1024
ASKS_DEFAULT = 20_000
TASKS_DEFAULT = 6_000
WARM_ASKS = 10_000
WARM_TASKS = 3_000
AT_ONCE = 64
IN_ERROR_EVERY = 10
SETTLED_S = 2.0
GROWTH_MAX_BYTES = 12 * MIB
SERVER_GROWTH_MAX_BYTES = 32 * MIB
"""The server keeps caches of what it wrote last."""
ID_BYTES = 300
"""What the server remembers of a task's id, and of its result's, for ten minutes, so that it is not done twice."""
SMALL_STORES = {
    # Full within the warm-up: what a store may hold is no leak, and is in the sizing table.
    "FLOTILLA_RESULTS_MAX": "2000",
    "FLOTILLA_DEAD_MAX": "200",
    "FLOTILLA_EVENTS_BYTES_MAX": str(4 * MIB),
}


async def test_a_long_run_leaves_no_more_memory_in_use_than_a_short_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """
    Asked and durable tasks, every tenth a failed one: orchestrators, worker and nats-server stay as large as they were.
    """
    # The server collects garbage early, so that what is resident is little more than what is in use.
    monkeypatch.setenv("GOGC", "25")
    asks = int(os.environ.get("SOAK_ASKS", ASKS_DEFAULT))
    tasks = int(os.environ.get("SOAK_TASKS", TASKS_DEFAULT))
    async with running_fleet(tmp_path, orchestrators=2, slots=64, env=SMALL_STORES) as fleet:
        await _ask(fleet, WARM_ASKS)
        await _submit(fleet, WARM_TASKS)
        before = await _sizes(fleet)
        await _ask(fleet, asks)
        await _submit(fleet, tasks)
        after = await _sizes(fleet)
        running = all(process.is_running for process in fleet.processes)

    grown = {name: after[name] - before[name] for name in before}
    print({name: f"{before[name] / MIB:.1f} + {grown[name] / MIB:.1f} MiB" for name in before})  # noqa: T201
    assert running
    for name, growth in grown.items():
        server_max = SERVER_GROWTH_MAX_BYTES + ID_BYTES * tasks
        assert growth < (server_max if name == "nats-server" else GROWTH_MAX_BYTES), name


async def _ask(fleet: RunningFleet, count: int) -> None:
    client = await fleet.client()
    inbox = client.nc.new_inbox()
    room = asyncio.Semaphore(AT_ONCE)
    answered = 0

    async def on_answer(message: object) -> None:
        nonlocal answered
        if getattr(message, "data", b""):  # the empty message that ends an imported reply comes after it
            answered += 1
            room.release()

    subscription = await client.nc.subscribe(f"{inbox}.*", cb=on_answer)  # pyright: ignore[reportUnknownMemberType]  # nats-py leaves a Future untyped
    for number in range(count):
        async with asyncio.timeout(60):
            await room.acquire()
        capability = "nonsense" if number % IN_ERROR_EVERY == 0 else "classify"
        await client.nc.publish(f"ask.{capability}", ASK, reply=f"{inbox}.{number}")
    async with asyncio.timeout(60):
        while answered < count:
            await asyncio.sleep(0.05)
    await subscription.unsubscribe()
    await fleet.close_clients()


async def _submit(fleet: RunningFleet, count: int) -> None:
    client: PlainClient = await fleet.client()
    done = 0
    wake = asyncio.Event()

    async def on_result(_message: object) -> None:
        nonlocal done
        done += 1
        wake.set()

    subscription = await client.nc.subscribe("results.>", cb=on_result)  # pyright: ignore[reportUnknownMemberType]  # nats-py leaves a Future untyped
    for start in range(0, count, AT_ONCE):
        batch = min(AT_ONCE, count - start)
        capability = "nonsense" if start // AT_ONCE % IN_ERROR_EVERY == 0 else "classify"
        await client.submit_many(capability, CLASSIFY, [new_task("s") for _ in range(batch)], at_once=batch)
        async with asyncio.timeout(60):
            while done < start:  # one batch ahead of what is done
                wake.clear()
                await wake.wait()
    async with asyncio.timeout(60):
        while done < count:
            await asyncio.sleep(0.05)
    await subscription.unsubscribe()
    await fleet.close_clients()


async def _sizes(fleet: RunningFleet) -> dict[str, int]:
    await asyncio.sleep(SETTLED_S)
    sizes = {process.name: process.resident_bytes() for process in fleet.processes}
    sizes["nats-server"] = sum(psutil.Process(pid).memory_info().rss for pid in fleet.server.pids)
    return sizes
