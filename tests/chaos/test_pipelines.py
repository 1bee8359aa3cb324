"""Runs of a pipeline while orchestrators are killed: one result each, and nearly no step worked on twice."""

import asyncio
import json
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any, Final

from flotilla.testkit.fleet import running_fleet
from flotilla.testkit.plain_client import Json, new_task
from flotilla.testkit.scripted_worker import finished, scripted_worker

RUNS: Final = int(os.environ.get("CHAOS_RUNS", "300"))
KILLS: Final = int(os.environ.get("CHAOS_KILLS", "6"))
STEPS: Final = 4
PARALLEL: Final = 64
"""Runs in flight, about: what an orchestrator may have had in hand when it was killed."""
PIPELINE: Final = """
name = "four"
[input]
type = "object"
properties.document.type = "string"
[steps.one]
capability = "summarize"
input = { document = "one ${input.document}" }
[steps.two]
capability = "summarize"
input = { document = "two ${steps.one.summary}" }
[steps.three]
capability = "summarize"
input = { document = "three ${steps.one.summary}" }
[steps.four]
capability = "summarize"
input = { document = "four ${steps.two.summary} ${steps.three.summary}" }
[output]
text = "${steps.four.summary}"
"""


def _says(request: Json) -> list[Any]:
    return [{"type": "accepted"}, 0.02, finished({"summary": request["input"]["document"].upper()})]


async def test_runs_survive_their_orchestrators(tmp_path: Path):
    """
    A step is repeated only where its orchestrator died between the answer and the keeping of it.
    """
    folder = tmp_path / "capabilities"
    folder.mkdir()
    (folder / "four.toml").write_text(PIPELINE)
    env = {"FLOTILLA_CAPABILITY_FILES": str(folder)}
    chance = random.Random(4)
    async with running_fleet(
        tmp_path / "fleet", orchestrators=2, local=0, pools=(("local", "scripted"),), env=env
    ) as fleet:
        member = await fleet.connect(fleet.server.worker("local", "scripted"))
        async with scripted_worker(member, _says, slots=PARALLEL) as worker:
            await fleet.until_replicas({"scripted-w1"})
            client = await fleet.client()
            tasks = [new_task() for _ in range(RUNS)]
            async with client.hearing("results.four.>") as results:
                ids = iter(tasks)
                for _ in range(KILLS):
                    for task in [*zip(range(RUNS // KILLS), ids, strict=False)]:
                        await client.submit("four", {"document": task[1]}, task=task[1])
                    await asyncio.sleep(chance.uniform(0.2, 1.5))
                    victim = chance.choice([each for each in fleet.orchestrators if each.is_running])
                    victim.kill()
                    await fleet.start_orchestrator()
                for task in ids:
                    await client.submit("four", {"document": task}, task=task)
                ended = {task: await results.result(task, 300) for task in tasks}
            asked = Counter(json.dumps(request["input"]) for request in worker.requests)

    assert {"ok"} == {result["status"] for result in ended.values()}
    one, two = "ONE {0}", "TWO ONE {0}"
    wanted = {task: f"FOUR {two} THREE {one}".format(task.upper()) for task in tasks}
    assert wanted == {task: result["output"]["text"] for task, result in ended.items()}
    repeated = sum(asked.values()) - len(asked)
    assert RUNS * STEPS == len(asked)
    print(f"{RUNS} runs, {KILLS} kills: {repeated} of {RUNS * STEPS} steps were worked on twice")  # noqa: T201  (a figure)
    assert repeated <= KILLS * PARALLEL
