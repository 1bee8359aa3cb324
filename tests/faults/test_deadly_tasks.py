"""A task that ends the worker which takes it: it is given up after a few deaths, and harms nobody else."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from flotilla.contracts.subjects import Zone
from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.fleet_process import FleetProcess
from flotilla.testkit.plain_client import PlainClient, new_task

POOLS: tuple[tuple[Zone, str], ...] = (("local", "local"), ("local", "mine"))
DEATHS_MAX = 3
GIVEN_UP_WITHIN_S = 60.0
WORKER = """
import asyncio
import os
import sys
import time

from flotilla.inference.run import run_handlers


async def count(request):
    how = request["document"]
    if how != "harmless":
        with open(sys.argv[1], "a") as runs:
            runs.write("x")
        if how == "holds the loop":
            time.sleep(1.5)
        if how == "works a while":
            await asyncio.sleep(0.5)
        os._exit(137)
    return {"words": 1}


if __name__ == "__main__":
    run_handlers({"count-words": count}, pool="mine", slots=4)
"""


class Workers:
    """Workers that are started again when they have died, as a supervisor would."""

    def __init__(self, fleet: RunningFleet, directory: Path) -> None:
        self._fleet = fleet
        self._program = directory / "deadly_worker.py"
        self._program.write_text(WORKER)
        self._runs = directory / "runs"
        self._runs.write_text("")

    @property
    def deaths(self) -> int:
        """How many workers have begun the deadly task."""
        return len(self._runs.read_text())

    async def start(self, *, wait: bool) -> FleetProcess:
        """One more."""
        own: Mapping[str, str] = {
            "FLOTILLA_PROVIDER": "",
            "FLOTILLA_SLOTS": "",
            "FLOTILLA_ENGINE_LATENCY_MS": "",
            "FLOTILLA_ENGINE_JITTER": "",
            "FLOTILLA_ENGINE_FAILURE_RATE": "",
        }
        command = (str(self._program), str(self._runs))
        return await self._fleet.start_worker("local", "mine", env=own, command=command, wait=wait)

    async def keep(self) -> None:
        """Replace the dead without end."""
        alive = [worker for worker in self._fleet.workers if worker.is_running]
        while True:
            for worker in [worker for worker in alive if not worker.is_running]:
                alive[alive.index(worker)] = await self.start(wait=False)
            await asyncio.sleep(0.1)


@asynccontextmanager
async def _fleet(directory: Path) -> AsyncGenerator[tuple[RunningFleet, Workers, PlainClient]]:
    async with running_fleet(directory / "fleet", local=0, pools=POOLS) as fleet:
        workers = Workers(fleet, directory)
        await asyncio.gather(*(workers.start(wait=True) for _ in range(DEATHS_MAX + 2)))
        keeping = asyncio.get_running_loop().create_task(workers.keep())
        try:
            yield fleet, workers, await fleet.client()
        finally:
            keeping.cancel()


async def _harmless(client: PlainClient, stop: asyncio.Event) -> list[str]:
    """Others ask meanwhile; gives how it ended for each."""
    ends: list[str] = []
    while not stop.is_set():
        answer = await client.ask("count-words", {"document": "harmless"})
        ends.append(answer.kind and f"{answer.kind}: {answer.result['error']['message']}")
        await asyncio.sleep(0.05)
    return ends


@pytest.mark.parametrize("how", ["at once", "holds the loop", "works a while"])
async def test_a_durable_task_that_kills_its_workers_is_given_up(tmp_path: Path, how: str):
    """
    Whatever the worker could say before it died; nobody else's task fails, and the route stays open.
    """
    async with _fleet(tmp_path) as (_, workers, client), client.hearing("results.>") as results:
        stop = asyncio.Event()
        others = asyncio.ensure_future(_harmless(client, stop))
        task = new_task("deadly")
        await client.submit("count-words", {"document": how}, task=task)
        result = await results.result(task, GIVEN_UP_WITHIN_S)
        stop.set()
        ends = await others
        stats = await client.api("stats")
        await client.dead_record(task)
        dead = await client.api("dead", {"verb": "list"})

    error = result["error"]
    assert ("provider_failed", False, DEATHS_MAX) == (error["kind"], error["retryable"], error["details"]["deaths"])
    assert DEATHS_MAX == workers.deaths, result["attempts"]
    assert {""} == set(ends)
    assert {"closed"} == {route["breaker"] for route in stats["routes"]}
    assert [task] == [entry["task"] for entry in dead["dead"]]


async def test_an_asked_task_that_kills_its_workers_is_given_up(tmp_path: Path):
    """
    Long before its deadline.
    """
    async with _fleet(tmp_path) as (_, workers, client):
        answer = await client.ask("count-words", {"document": "at once"}, timeout_s=GIVEN_UP_WITHIN_S)

    assert ("provider_failed", False) == (answer.kind, answer.result["error"]["retryable"])
    assert DEATHS_MAX == workers.deaths, answer.result["attempts"]


async def test_deaths_are_remembered_by_the_orchestrator_that_gets_the_task_next(tmp_path: Path):
    """
    The one that saw them was killed, and this one has only just been started.
    """
    async with _fleet(tmp_path) as (fleet, workers, client), client.hearing("results.>") as results:
        admin = await fleet.admin()
        async with admin.hearing("$KV.stats.deaths.>") as notes:
            task = new_task("deadly")
            await client.submit("count-words", {"document": "at once"}, task=task)
            await notes.until(lambda heard: len(heard.messages) >= 2, GIVEN_UP_WITHIN_S)
            fleet.orchestrators[0].kill()
            await fleet.start_orchestrator()
        result = await results.result(task, GIVEN_UP_WITHIN_S)

    assert "provider_failed" == result["error"]["kind"]
    assert workers.deaths <= DEATHS_MAX + 1
