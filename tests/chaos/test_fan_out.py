"""
A run of twenty steps, one of which runs for each of many items, while every orchestrator is killed in the middle of it.

`CHAOS_ITEMS` says for how many; a thousand is what a step may have.
"""

import os
from pathlib import Path
from typing import Final

from flotilla.testkit.plain_client import Json, eventually, new_task
from flotilla.testkit.step_counts import StepCounts, counted_fleet, kept_attempts, kept_steps, mark

ITEMS: Final = int(os.environ.get("CHAOS_ITEMS", "100"))
STEPS: Final = 20
FAN: Final = 10
"""The step that runs for each item; those before and after it run one after the other."""
PARALLEL: Final = 32
ORCHESTRATORS: Final = 2
TIMEOUT_S: Final = 600.0


def _pipeline() -> str:
    lines = ['name = "twenty"', "[input]", 'type = "object"']
    for number in range(1, STEPS + 1):
        name, before = f"s{number}", f"steps.s{number - 1}"
        read = "" if number == 1 else f"${{{before}.{'*.' if number == FAN + 1 else ''}summary}}"
        if number == FAN:
            each = ['for_each = "${input.items}"', f"parallel = {PARALLEL}", f'needs = ["s{number - 1}"]']
            body = f"{mark(name, '${item}')} ${{item}}"
        else:
            each, body = [], f"{mark(name)} {read}"
        lines += [f"[steps.{name}]", 'capability = "summarize"', *each, f'input = {{ document = "{body}" }}']
    return "\n".join(
        [*lines, "[output]", f'all = "${{steps.s{FAN}.*.summary}}"', f'last = "${{steps.s{STEPS}.summary}}"']
    )


async def test_no_kept_step_is_repeated_when_every_orchestrator_is_killed_in_the_middle(tmp_path: Path):
    """
    By what the provider was asked for, and when; the run has one result, with the items in their order.
    """
    async with counted_fleet(tmp_path, _pipeline(), slots=PARALLEL, orchestrators=ORCHESTRATORS) as (fleet, counts, _):
        client, admin = await fleet.client(), await fleet.admin()
        task = new_task()
        body: Json = {"run": task, "items": list(range(ITEMS))}
        async with client.hearing("results.>") as results:
            await client.submit("twenty", body, task=task)
            await eventually(lambda: _is_half_done(counts), TIMEOUT_S, 0.002)
            for orchestrator in fleet.orchestrators:
                orchestrator.kill()
            for orchestrator in fleet.orchestrators:
                await orchestrator.wait()
            kept = await kept_steps(admin)
            for _ in range(ORCHESTRATORS):
                await fleet.start_orchestrator()
            result = await results.result(task, TIMEOUT_S)
        kept_at_the_end, attempts = await kept_steps(admin), await kept_attempts(admin)
        stored = await admin.messages_in("RESULTS_default")

    tasks = STEPS - 1 + ITEMS
    twice = counts.repeated_beyond(attempts)
    story = (
        f"{tasks} tasks, {len(kept)} kept at the kill, {counts.repeated} asked for again, {len(twice)} since the kill"
    )
    print(story)  # noqa: T201  (a figure)
    assert "ok" == result["status"], result
    assert [f"did s{FAN} {item}" for item in range(ITEMS)] == result["output"]["all"]
    assert f"did s{STEPS} -" == result["output"]["last"]
    assert FAN <= len(kept) < tasks, story
    assert [] == counts.repeated_although_kept(kept_at_the_end), story
    assert dict.fromkeys(kept, 1) == {done: len(counts.asked[done]) for done in kept}, story
    assert (tasks, tasks, 1) == (counts.tasks, len(kept_at_the_end), stored), story
    # What was under way at the kill, and had no result yet. What a lost attempt asked for, its result tells of.
    assert len(twice) <= PARALLEL, story


async def _is_half_done(counts: StepCounts) -> bool:
    return counts.by_step()[f"s{FAN}"] >= ITEMS // 2
