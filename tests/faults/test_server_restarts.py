"""The NATS server itself stops, crashes and comes back: what it had accepted is finished, once."""

import asyncio
from collections import Counter
from contextlib import suppress
from pathlib import Path

import nats.errors
import pytest

from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.plain_client import BODIES, Json, eventually, new_task
from flotilla.testkit.provider_ollama import OllamaServer
from flotilla.testkit.provider_steps import Says
from orchestrator.execution.poison_tasks import DEATHS_MAX

CLASSIFY = BODIES["classify"]
HEARD_WITHIN_S = 120.0
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


async def test_workers_that_do_not_find_the_server_again_in_time_are_not_taken_for_dead(tmp_path: Path):
    """
    As often as a task is given up of which workers die, the server is killed while one has it, and that one stays away.
    """
    answered = asyncio.Event()
    async with OllamaServer(models=("m",)) as provider:
        provider.otherwise = Says("a summary", hold=answered)
        worker_env = {"OLLAMA_HOST": provider.url, "FLOTILLA_MODELS": "m"}
        async with running_fleet(tmp_path, engine="ollama", worker_env=worker_env) as fleet:
            task = new_task("held")
            await (await fleet.client()).submit("summarize", BODIES["summarize"], task=task)
            for _ in range(DEATHS_MAX):
                await _until(fleet, task, replica=fleet.workers[-1].name)
                await fleet.server.kill()
                fleet.workers[-1].freeze()
                await fleet.server.start()
                await fleet.start_worker(engine="ollama", env=worker_env, wait=False)
            await _until(fleet, task, replica=fleet.workers[-1].name)
            answered.set()
            await _until(fleet, task, state="ok")


async def _until(fleet: RunningFleet, task: str, **expected: str) -> None:
    """Return when the orchestrator says so of a task; it may have to find the server again before it answers."""
    client = await fleet.client()
    status: Json = {}

    async def holds() -> bool:
        with suppress(nats.errors.Error, TimeoutError):
            status.update(await client.api("status", {"task": task}))
        assert status.get("state") != "failed", status
        return expected.items() <= status.items()

    await eventually(holds, HEARD_WITHIN_S)
