"""A model's server goes away for a while: durable tasks wait for it, and asked ones for a model that is being loaded."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.plain_client import BODIES, Heard, PlainClient, eventually, new_task
from flotilla.testkit.provider_openai import OpenAIServer
from flotilla.testkit.provider_steps import Fails, Says, Stalls, Step

SUMMARIZE = BODIES["summarize"]
TASKS = 4
POLICY = """
format = 1
[default]
attempt_timeout_s = 2
[breaker]
open_s = 0.5
open_max_s = 1.0
"""


@asynccontextmanager
async def _fleet(directory: Path, server: OpenAIServer) -> AsyncGenerator[tuple[RunningFleet, PlainClient]]:
    """One worker, whose model is the server's; trouble is told in short times."""
    policy = directory / "policy.toml"
    policy.write_text(POLICY)
    async with running_fleet(directory / "fleet", local=0, env={"FLOTILLA_POLICY_FILE": str(policy)}) as fleet:
        await fleet.start_worker(
            engine="llamacpp",
            env={"OPENAI_BASE_URL": f"{server.url}/v1", "FLOTILLA_MODELS": "m", "FLOTILLA_SLOTS": "4"},
        )
        yield fleet, await fleet.client()


async def _submit(client: PlainClient, count: int = TASKS) -> list[str]:
    tasks = [new_task("outage") for _ in range(count)]
    await client.submit_many("summarize", SUMMARIZE, tasks)
    return tasks


async def _tried(server: OpenAIServer, times: int) -> None:
    async def enough() -> bool:
        return len(server.requests) >= times

    await eventually(enough)


def _failures(events: Heard) -> int:
    return sum(body.get("error") == "unavailable" for body in events.bodies())


async def _all_well(results: Heard, tasks: list[str], within_s: float = 40.0) -> None:
    await results.until(lambda heard: set(tasks) <= set(heard.counts()), within_s)
    assert {"ok"} == {body["status"] for body in results.bodies()}
    assert dict.fromkeys(tasks, 1) == dict(results.counts())


async def test_durable_tasks_wait_for_a_server_that_is_away(tmp_path: Path):
    """
    Refused connections, an open breaker, probes that fail: none of it is the tasks' fault, and each is answered once.
    """
    async with (
        OpenAIServer() as server,
        _fleet(tmp_path, server) as (_, client),
        client.hearing("results.>") as results,
        client.hearing("events.>") as events,
    ):
        await server.aclose()
        tasks = await _submit(client)
        # More than before the breaker opens: tasks are spent on probes.
        await events.until(lambda heard: _failures(heard) >= 2 * TASKS + 5)
        assert not (await results.caught_up()).messages
        await server.start()
        await _all_well(results, tasks)
        outcomes = {each["outcome"] for body in results.bodies() for each in body["attempts"]}
        assert {"unavailable", "ok"} == outcomes
        assert all(len(body["attempts"]) <= 20 for body in results.bodies())


@pytest.mark.parametrize(
    "trouble",
    [Fails(503), Fails(502), Fails(429), Fails(503, message="Loading model"), Stalls()],
    ids=["503", "502", "429", "loading", "hangs"],
)
async def test_durable_tasks_wait_for_a_server_in_trouble(tmp_path: Path, trouble: Step):
    """
    It answers, but not with an answer.
    """
    async with (
        OpenAIServer() as server,
        _fleet(tmp_path, server) as (_, client),
        client.hearing("results.>") as results,
    ):
        server.otherwise = trouble
        tasks = await _submit(client, 3)
        await _tried(server, 4)
        assert not (await results.caught_up()).messages
        server.otherwise = Says()
        await _all_well(results, tasks)


async def test_a_durable_task_still_ends_at_its_deadline_and_says_what_kept_it(tmp_path: Path):
    """
    Waiting is bounded by what the caller gave it.
    """
    async with (
        OpenAIServer() as server,
        _fleet(tmp_path, server) as (_, client),
        client.hearing("results.>") as results,
    ):
        await server.aclose()
        task = new_task()
        await client.submit("summarize", SUMMARIZE, task=task, headers={"Flotilla-Deadline-Ms": "4000"})
        result = await results.result(task)

    assert "deadline_exceeded" == result["error"]["kind"]
    assert "unavailable" in result["error"]["message"]


async def test_a_durable_task_that_is_refused_fails_at_once(tmp_path: Path):
    """
    What is final stays final.
    """
    async with (
        OpenAIServer() as server,
        _fleet(tmp_path, server) as (_, client),
        client.hearing("results.>") as results,
    ):
        server.otherwise = Fails(400, message="no")
        task = new_task()
        await client.submit("summarize", SUMMARIZE, task=task)
        result = await results.result(task)

    assert ("provider_failed", ["refused"]) == (
        result["error"]["kind"],
        [attempt["outcome"] for attempt in result["attempts"]],
    )


async def test_asked_tasks_wait_for_a_model_that_is_being_loaded(tmp_path: Path):
    """
    All of them, for as long as it takes, within their deadlines.
    """
    async with OpenAIServer() as server, _fleet(tmp_path, server) as (_, client):
        server.otherwise = Fails(503, message="Loading model")
        asking = [asyncio.ensure_future(client.ask("summarize", SUMMARIZE)) for _ in range(12)]
        began = time.monotonic()
        await _tried(server, 3 * len(asking))
        assert not any(each.done() for each in asking)
        server.otherwise = Says()
        loaded_s = time.monotonic() - began
        answers = await asyncio.gather(*asking)
        waited_s = time.monotonic() - began

    assert {""} == {answer.kind for answer in answers}
    assert waited_s < loaded_s + 5.0


async def test_an_asked_task_says_at_its_deadline_that_the_model_was_still_loading(tmp_path: Path):
    """
    The caller learns what to wait for.
    """
    async with OpenAIServer() as server, _fleet(tmp_path, server) as (_, client):
        server.otherwise = Fails(503, message="Loading model")
        answer = await client.ask("summarize", SUMMARIZE, headers={"Flotilla-Deadline-Ms": "5000"})

    assert "deadline_exceeded" == answer.kind, answer.result
    assert "loading" in answer.result["error"]["message"]
