"""Processes die, freeze and leave under load: nothing accepted is lost, and nothing is committed twice."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats.errors
import pytest

from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.patient_client import WAIT_S
from flotilla.testkit.plain_client import BODIES, Answer, Heard, PlainClient, eventually, new_task
from flotilla.testkit.steered_worker import Steering, start_steered

CLASSIFY = BODIES["classify"]
TASKS = 240
LATENCY_MS = 40.0
LONG_GRACE = {"FLOTILLA_GRACE_S": "3600"}
"""Who leaves when its work is done leaves long before this; who waits for its grace to end does so within no test's wait."""
FINISHED_ELSEWHERE_S = 30.0
"""Takes some four seconds and the work itself; the deadline is a minute, and the machine may be busy."""


@asynccontextmanager
async def _fleet(directory: Path, **more: Any) -> AsyncGenerator[tuple[RunningFleet, PlainClient]]:
    given: dict[str, Any] = {
        "orchestrators": 2,
        "local": 2,
        "slots": 4,
        "latency_ms": LATENCY_MS,
        "jitter": 0.5,
        **more,
    }
    async with running_fleet(directory, **given) as fleet:
        yield fleet, await fleet.client()


async def _under_load(client: PlainClient, results: Heard, *, after: int) -> list[str]:
    """Accepted durable tasks, `after` of which have results: the fleet is in the middle of the others."""
    tasks = [new_task("load") for _ in range(TASKS)]
    await client.submit_many("classify", CLASSIFY, tasks, at_once=TASKS)
    await results.until(lambda heard: len(heard.messages) >= after)
    return tasks


async def _each_once(fleet: RunningFleet, results: Heard, tasks: list[str], timeout_s: float = WAIT_S) -> None:
    """Every task has exactly one result, and it is a good one."""
    await results.until(lambda heard: set(tasks) <= set(heard.counts()), timeout_s)
    counts = results.counts()
    assert {task: counts[task] for task in tasks} == dict.fromkeys(tasks, 1)
    assert Counter(body["status"] for body in results.bodies()) == {"ok": len(results.messages)}
    admin = await fleet.admin()
    assert await admin.messages_in("RESULTS_default") == len(results.messages)
    # Acknowledged after its result was committed; what a killed orchestrator held is delivered again first.
    await admin.until_empty("TASKS_default")


async def _asking(client: PlainClient, stop: asyncio.Event) -> list[Answer | str]:
    """Interactive tasks, four at a time, until told to stop."""
    answers: list[Answer | str] = []

    async def one() -> None:
        while not stop.is_set():
            try:
                answers.append(await client.ask("classify", CLASSIFY))
            except (TimeoutError, ConnectionError, nats.errors.Error) as error:
                answers.append(type(error).__name__)

    await asyncio.gather(*(one() for _ in range(4)))
    return answers


def _failures(answers: list[Answer | str]) -> list[str]:
    """What went wrong, in the words of the answers."""
    found = (each if isinstance(each, str) else json.dumps(each.result.get("error") or "") for each in answers)
    return [each for each in found if each != '""']


async def test_a_worker_killed_under_load_costs_no_task(tmp_path: Path):
    """
    What it held is finished by the other one. It works slowly, so that it holds something whenever it is killed.
    """
    async with _fleet(tmp_path, local=1) as (fleet, client), client.hearing("results.>") as results:
        doomed = await fleet.start_worker(slots=4, latency_ms=50_000)
        tasks = await _under_load(client, results, after=20)
        doomed.kill()
        await _each_once(fleet, results, tasks)

        lost = [body for body in results.bodies() if "lost" in {each["outcome"] for each in body["attempts"]}]
        assert lost, "the kill hit nothing"
        assert all(body["replica"] == fleet.workers[0].name for body in lost)
        assert max(body["latency_ms"] for body in lost) / 1000 < FINISHED_ELSEWHERE_S


async def test_a_task_whose_worker_is_killed_is_finished_elsewhere_soon(tmp_path: Path):
    """
    One interactive task, one dead replica, one answer from the other.
    """
    async with _fleet(tmp_path, local=0) as (fleet, client):
        doomed = await fleet.start_worker(slots=1, latency_ms=50_000)
        task = new_task()
        asking = asyncio.ensure_future(client.ask("classify", CLASSIFY, headers={"Nats-Msg-Id": task}))
        await client.until_status(task, "running")
        other = await fleet.start_worker(slots=1)
        killed_at = time.monotonic()
        doomed.kill()
        answer = await asking
        took_s = time.monotonic() - killed_at

    assert answer.kind == ""
    assert answer.result["replica"] == other.name
    assert [attempt["outcome"] for attempt in answer.result["attempts"]] == ["lost", "ok"]
    assert took_s < FINISHED_ELSEWHERE_S


async def test_an_orchestrator_killed_under_load_costs_no_task(tmp_path: Path):
    """
    What it held is delivered to the other one; what it had committed is not committed again.
    """
    async with _fleet(tmp_path) as (fleet, client), client.hearing("results.>") as results:
        tasks = await _under_load(client, results, after=20)
        fleet.orchestrators[0].kill()
        await _each_once(fleet, results, tasks)


async def test_an_orchestrator_and_a_worker_killed_together_cost_no_task(tmp_path: Path):
    """
    Half of the fleet dies at once, and comes back.
    """
    async with _fleet(tmp_path) as (fleet, client), client.hearing("results.>") as results:
        tasks = await _under_load(client, results, after=20)
        fleet.orchestrators[0].kill()
        fleet.workers[0].kill()
        await asyncio.gather(
            fleet.start_orchestrator(wait=False), fleet.start_worker(slots=4, latency_ms=LATENCY_MS, wait=False)
        )
        await _each_once(fleet, results, tasks)


async def test_the_only_orchestrator_killed_is_replaced_and_nothing_is_lost(tmp_path: Path):
    """
    No state of a task is in the process: a new one takes over what the stream holds.
    """
    async with _fleet(tmp_path, orchestrators=1) as (fleet, client), client.hearing("results.>") as results:
        tasks = await _under_load(client, results, after=20)
        fleet.orchestrators[0].kill()
        await fleet.start_orchestrator()
        await _each_once(fleet, results, tasks)


@pytest.mark.parametrize("kind", ["worker", "orchestrator"])
async def test_a_process_that_is_asked_to_leave_fails_no_task(tmp_path: Path, kind: str):
    """
    SIGTERM under durable and interactive load: exit code 0 when its work is done, and not one failure.
    """
    async with (
        _fleet(tmp_path, env=LONG_GRACE, worker_env=LONG_GRACE) as (fleet, client),
        client.hearing("results.>") as results,
    ):
        stop = asyncio.Event()
        asking = asyncio.ensure_future(_asking(client, stop))
        tasks = await _under_load(client, results, after=20)
        leaver = fleet.workers[0] if kind == "worker" else fleet.orchestrators[0]
        leaver.terminate()
        code = await leaver.wait()
        await _each_once(fleet, results, tasks)
        stop.set()
        answers = await asking

    assert code == 0
    assert len(answers) > 20
    assert _failures(answers) == []
    assert '"level": "error"' not in leaver.log_text()


async def test_a_worker_whose_grace_runs_out_hands_its_task_over(tmp_path: Path):
    """
    Work longer than the grace is interrupted, and done again elsewhere without a penalty for the route.
    """
    async with running_fleet(tmp_path, local=0) as fleet:
        await fleet.start_worker(name="leaver", slots=1, latency_ms=20_000, env={"FLOTILLA_GRACE_S": "0.2"})
        client = await fleet.client()
        task = new_task()
        asking = asyncio.ensure_future(client.ask("classify", CLASSIFY, headers={"Nats-Msg-Id": task}))
        await client.until_status(task, "running")
        await fleet.start_worker(name="stayer", slots=1)
        fleet.workers[0].terminate()
        code = await fleet.workers[0].wait()
        answer = await asking

    assert code == 0
    assert answer.result["replica"] == "stayer"
    assert [attempt["outcome"] for attempt in answer.result["attempts"]] == ["interrupted", "ok"]


async def test_a_frozen_worker_is_abandoned_and_its_late_answer_counts_for_nothing(tmp_path: Path):
    """
    Its task is finished elsewhere within seconds, and when it thaws, its answer is not committed.
    """
    steering = Steering(tmp_path / "freezer.json", latency_ms=20_000)
    async with running_fleet(tmp_path / "fleet", local=0) as fleet:
        freezer = await start_steered(fleet, steering, slots=1)
        client = await fleet.client()
        async with client.hearing("results.>") as results:
            task = new_task()
            await client.submit("classify", CLASSIFY, task=task)
            await client.until_status(task, "running")
            freezer.freeze()
            frozen_at = time.monotonic()
            # Of what it takes after it has thawed.
            steering.set(latency_ms=0)
            await fleet.start_worker(name="other", slots=1)
            result = await results.result(task)
            took_s = time.monotonic() - frozen_at
            freezer.thaw()
            # Thawed, it is as good as any: it ends what it held, and takes work again.
            await _served_by(client, freezer.name)
            stored = await client.api("result", {"task": task})

    assert result["replica"] == "other"
    assert [attempt["outcome"] for attempt in result["attempts"]] == ["lost", "ok"]
    assert took_s < FINISHED_ELSEWHERE_S
    assert results.counts() == {task: 1}
    assert stored["replica"] == "other"


async def test_a_frozen_worker_with_free_slots_fails_no_task(tmp_path: Path):
    """
    It stays in its queue group and swallows requests: each is tried again until a live replica takes it.
    """
    async with (
        _fleet(tmp_path, orchestrators=1, latency_ms=5) as (fleet, client),
        client.hearing("results.>") as results,
    ):
        fleet.workers[0].freeze()
        tasks = [new_task("frost") for _ in range(60)]
        await client.submit_many("classify", CLASSIFY, tasks)
        answers = await asyncio.gather(*(client.ask("classify", CLASSIFY) for _ in range(30)))
        await _each_once(fleet, results, tasks)

    assert _failures(list(answers)) == []


async def test_what_a_frozen_worker_swallows_does_not_close_its_route(tmp_path: Path):
    """
    More is swallowed in a row than opens a breaker, while the other worker is at its first tasks: it serves all of them.
    """
    async with running_fleet(tmp_path, local=2, slots=2, latency_ms=2_000) as fleet:
        client = await fleet.client()
        fleet.workers[0].freeze()
        answers = await asyncio.gather(*(client.ask("classify", CLASSIFY) for _ in range(10)))

    assert _failures(list(answers)) == []
    assert {answer.result["replica"] for answer in answers} == {fleet.workers[1].name}


async def _served_by(client: PlainClient, replica: str) -> None:
    async def served() -> bool:
        return (await client.ask("classify", CLASSIFY)).result.get("replica") == replica

    await eventually(served, every_s=0.02)
