"""Memory is flat over many tasks: what a task needed is given back."""

import asyncio
from pathlib import Path

from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.plain_client import BODIES, PlainClient, new_task

CLASSIFY = BODIES["classify"]
MIB = 1024 * 1024
WARM = 2_000
TASKS = 20_000
GROWTH_MAX_BYTES = 6 * MIB
AT_ONCE = 64


async def test_twenty_thousand_tasks_leave_no_more_than_two_thousand_did(tmp_path: Path):
    """
    Durable and interactive, with an error among every ten: orchestrator and worker are as large as before.
    """
    async with running_fleet(tmp_path, slots=32) as fleet:
        client = await fleet.client()
        await _work(client, WARM)
        before = _sizes(fleet)
        await _work(client, TASKS - WARM)
        after = _sizes(fleet)

    grown = {name: after[name] - before[name] for name in before}
    assert all(growth < GROWTH_MAX_BYTES for growth in grown.values()), {
        name: f"{growth / MIB:.1f} MiB" for name, growth in grown.items()
    }


async def _work(client: PlainClient, tasks: int) -> None:
    """Half durable, half interactive."""
    inbox = client.nc.new_inbox()
    async with client.hearing("results.>") as results, client.hearing(inbox) as answers:
        for start in range(0, tasks // 2, AT_ONCE):
            count = min(AT_ONCE, tasks // 2 - start)
            await client.submit_many("classify", CLASSIFY, [new_task("m") for _ in range(count)], at_once=count)
            for index in range(count):
                capability = "classify" if index % 5 else "nonsense"
                await client.nc.publish(f"ask.{capability}", b'{"document":"a","labels":["b"]}', reply=inbox)
            done = start + count
            await results.until(lambda heard, done=done: len(heard.messages) >= done, 30)
            # The first reply is the answer, the second an empty message that closes the way back; errors too.
            await answers.until(lambda heard, done=done: sum(bool(each.data) for each in heard.messages) >= done, 30)
    await asyncio.sleep(0.5)


def _sizes(fleet: RunningFleet) -> dict[str, int]:
    return {process.name: process.resident_bytes() for process in fleet.processes}
