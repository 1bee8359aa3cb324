"""What the logs of every process may never hold: the text of a document, good or bad, whatever happens to it."""

import asyncio
import json
from pathlib import Path
from typing import Any

from flotilla.testkit.fleet import running_fleet
from flotilla.testkit.plain_client import new_task
from flotilla.testkit.steered_worker import FILE as STEERING_FILE
from flotilla.testkit.steered_worker import Steering

MARK = "Zaphod-4711-Beeblebrox"
STEERED = ("-m", "flotilla.testkit.steered_worker")
GOOD = {"document": f"Dear {MARK}, your invoice.", "labels": [MARK, "other"]}


async def test_no_text_of_a_document_is_in_any_log(tmp_path: Path):
    """
    Served, refused, failed, cancelled, lost and dead: at the level `debug`, and in the server's log as well.
    """
    env = {"FLOTILLA_LOG_LEVEL": "debug"}
    async with running_fleet(tmp_path, orchestrators=1, local=2, env=env, worker_env=env, failure_rate=0.3) as fleet:
        client = await fleet.client()
        bad = [
            MARK.encode(),
            json.dumps({"document": MARK, "labels": MARK}).encode(),
            json.dumps({"document": [MARK]}).encode(),
            json.dumps({"document": MARK, "labels": [MARK, {"name": MARK, "description": [MARK]}]}).encode(),
            b'{"document":"' + MARK.encode() + b"\xff",
        ]
        async with client.hearing("results.>") as results:
            for body in bad:
                await client.ask("classify", body)
                await client.submit("classify", body)
            tasks = [new_task() for _ in range(20)]
            await client.submit_many("classify", GOOD, tasks)
            await client.submit("summarize", {"document": MARK}, headers={"Flotilla-Data-Class": MARK})
            await asyncio.gather(*(client.ask("classify", GOOD) for _ in range(20)))
            await client.ask("classify", GOOD, headers={"Flotilla-Stream": "true"})
            await client.ask(f"no-{MARK.lower()}", GOOD)
            fleet.workers[0].kill()
            await results.until(lambda heard: len(heard.messages) >= len(bad) + len(tasks) + 1)
            await client.api("cancel", {"task": MARK})
        for process in fleet.processes:
            process.terminate()
            await process.wait()
        written = _written(tmp_path)

    assert {"o1.log", "local-w1.log", "local-w2.log", "nats.log"} <= set(written)
    assert all('"event": "ready"' in written[name] for name in ("o1.log", "local-w1.log", "local-w2.log"))
    assert [name for name, text in written.items() if "Zaphod" in text or "Beeblebrox" in text] == []


async def test_a_durable_task_can_be_followed_through_the_logs_of_all_who_had_it(tmp_path: Path):
    """
    One line at `info` when it ends; at `debug` one for each attempt, and on the worker's side the same ids.
    """
    env = {"FLOTILLA_LOG_LEVEL": "debug"}
    steering = Steering(tmp_path / "steering.json", latency_ms=5)
    steering.set(failure_rate=0.5, failures_max=3)
    async with running_fleet(tmp_path, local=0, env=env) as fleet:
        await fleet.start_worker(name="local-w1", command=STEERED, env={**env, STEERING_FILE: str(steering.path)})
        client = await fleet.client()
        tasks = [new_task() for _ in range(6)]
        async with client.hearing("results.>") as results:
            await client.submit_many("classify", GOOD, tasks)
            ended = {task: await results.result(task) for task in tasks}
        await (await fleet.admin()).until_empty("TASKS_default")
        for process in fleet.processes:
            process.terminate()
            await process.wait()
        at_home, at_work = (_lines(text) for text in (_written(tmp_path)[f"{name}.log"] for name in ("o1", "local-w1")))

    ends = {line["task"]: line for line in at_home if line["event"] == "task_ended"}
    attempts = [line for line in at_home if line["event"] == "attempt_ended"]
    failures = [line for line in at_work if line["event"] == "attempt_failed"]
    assert sorted(tasks) == sorted(line["task"] for line in at_home if line["event"] == "task_ended")
    assert {("classify", "default", "info", "local")} == {
        (line["capability"], line["scope"], line["level"], line["pool"]) for line in ends.values()
    }
    assert {task: len(result["attempts"]) for task, result in ended.items()} == {
        task: line["attempts"] for task, line in ends.items()
    }
    assert {task: len(result["attempts"]) for task, result in ended.items()} == {
        task: sum(line["task"] == task for line in attempts) for task in tasks
    }
    assert {"debug"} == {line["level"] for line in attempts}
    assert len(attempts) == len(tasks) + 3
    assert failures
    assert {(line["task"], line["attempt"]) for line in failures} <= {
        (line["task"], line["attempt"]) for line in attempts
    }


def _lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def _written(directory: Path) -> dict[str, str]:
    logs = [*directory.glob("*.log"), *(directory / "nats").glob("*.log")]
    return {log.name: log.read_text(errors="replace") for log in logs}
