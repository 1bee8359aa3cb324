"""The NATS server itself stops, crashes and comes back: what it had accepted is finished, once."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from flotilla.testkit.fleet import running_fleet
from flotilla.testkit.plain_client import BODIES, new_task

CLASSIFY = BODIES["classify"]
TASKS = 200


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_a_server_that_comes_back_on_its_store_has_lost_nothing(tmp_path: Path, how: str):
    """
    Every accepted task gets exactly one committed result, and the fleet serves interactive tasks again.
    """
    async with running_fleet(tmp_path, orchestrators=2, local=2, slots=4, latency_ms=40, jitter=0.5) as fleet:
        client = await fleet.client()
        tasks = [new_task("store") for _ in range(TASKS)]
        async with client.hearing("results.>") as results:
            await client.submit_many("classify", CLASSIFY, tasks, at_once=TASKS)
            await results.until(lambda heard: len(heard.messages) >= 20)
        await (fleet.server.stop() if how == "stop" else fleet.server.kill())
        await asyncio.sleep(0.3)
        await fleet.server.start()

        admin = await fleet.admin()
        # A first sight of the stream may be of one that is still recovering; the tasks are gone when acknowledged.
        await admin.until_empty("TASKS_default")
        after = await fleet.client()
        async with asyncio.timeout(60):
            answer = await after.ask("classify", CLASSIFY)
        found = Counter[str]()
        for task in tasks:
            found[(await after.api("result", {"task": task}))["status"]] += 1

        assert answer.kind == ""
        assert found == {"ok": TASKS}
        # One subject per task and one message per subject: every result was committed once.
        assert await admin.messages_in("RESULTS_default") == TASKS
        assert all(process.is_running for process in fleet.processes)
