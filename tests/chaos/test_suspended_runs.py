"""
Runs that wait at a gate: nobody holds them, everything may be stopped meanwhile, and each goes on once.

`CHAOS_WAITING` says how many.
"""

import asyncio
import os
from pathlib import Path
from typing import Final

import psutil

from flotilla.testkit.fleet import RunningFleet
from flotilla.testkit.plain_client import Json, PlainClient, eventually, new_task
from flotilla.testkit.step_counts import counted_fleet, kept_attempts, kept_steps, mark

WAITING: Final = int(os.environ.get("CHAOS_WAITING", "200"))
WARM: Final = 50
ORCHESTRATORS: Final = 2
AT_ONCE: Final = 64
IDLE_S: Final = 10.0
IDLE_SHARE_MAX: Final = 0.25
"""Of a processor, for each orchestrator; it serves heartbeats, sweeps and what others ask meanwhile."""
MIB: Final = 1024 * 1024
GROWTH_MAX_BYTES: Final = 24 * MIB
"""Of an orchestrator that is started beside them: what it knows of requests that wait, and nothing of the tasks."""
STORM_MAX_BYTES: Final = 160 * MIB
"""Of one that takes as many at once as it may: runs in hand and events on their way, which are bounded."""
TIMEOUT_S: Final = 1800.0
PIPELINE: Final = f"""
name = "gated"
deadline_s = 86400
[input]
type = "object"
[steps.before]
capability = "summarize"
input = {{ document = "{mark("before")}" }}
[steps.after]
capability = "summarize"
approval = {{}}
input = {{ document = "{mark("after")} ${{steps.before.summary}}" }}
[output]
text = "${{steps.after.summary}}"
"""


async def test_runs_wait_in_nobodys_memory_and_each_goes_on_once(tmp_path: Path):
    """
    Orchestrators are idle and no larger than before, are all stopped and started, and every run ends once when it may.
    """
    async with counted_fleet(tmp_path, PIPELINE, slots=AT_ONCE, orchestrators=ORCHESTRATORS) as (fleet, counts, _):
        client, admin = await fleet.client(), await fleet.admin()
        approver = await fleet.connect(fleet.server.approver())
        await _submit(client, WARM)
        await _until_suspended(admin, WARM)
        before = _sizes(fleet)
        await _submit(client, WAITING - WARM)
        await _until_suspended(admin, WAITING)
        after = _sizes(fleet)
        busy = await _busy_shares(fleet)
        idle = _sizes(fleet)
        in_hand = await _held(admin, "TASKS_default")

        for orchestrator in fleet.orchestrators:
            orchestrator.terminate()
        codes = [await orchestrator.wait(60) for orchestrator in fleet.orchestrators]
        stopped = await _held(admin, "SUSPENDED_default")
        fleet.orchestrators.clear()
        for _ in range(ORCHESTRATORS):
            await fleet.start_orchestrator()
        await asyncio.sleep(IDLE_S)
        back = [process.resident_bytes() for process in fleet.orchestrators]
        await _grant_all(approver)
        await eventually(lambda: _has_results(admin, WAITING), TIMEOUT_S, 0.5)
        await admin.until_empty("SUSPENDED_default", 60)
        stored = await _held(admin, "RESULTS_default")
        kept, attempts = await kept_steps(admin), await kept_attempts(admin)
        sample = [await client.api("result", {"task": done.run}) for done in [*counts.asked][:100]]

    fresh = max(before.values())
    mib = {
        "begun": fresh,
        "suspended": max(after.values()),
        "ten seconds later": max(idle.values()),
        "started beside them": max(back),
    }
    told = ", ".join(f"{what} {size / MIB:.0f} MiB" for what, size in mib.items())
    story = f"{WAITING} runs waited; orchestrators: {told}; busy {max(busy.values())} of a processor"
    twice = counts.repeated_beyond(attempts)
    story = (
        f"{story}; {counts.repeated} steps were asked for again, {len(twice)} of them by another delivery of their run"
    )
    print(story)  # noqa: T201  (a figure)
    assert [0] * ORCHESTRATORS == codes
    assert (0, WAITING) == (in_hand, stopped), story
    assert max(after.values()) - fresh < STORM_MAX_BYTES, story
    assert max(idle[name] - after[name] for name in after) < GROWTH_MAX_BYTES, story
    assert max(back) - fresh < GROWTH_MAX_BYTES, story
    assert max(busy.values()) < IDLE_SHARE_MAX, story
    assert {"ok"} == {result.get("status") for result in sample}, story
    assert (2 * WAITING, WAITING) == (counts.tasks, stored), story
    assert [] == counts.repeated_although_kept(kept), story
    # A run whose message was not acknowledged in time is delivered again, and a step that it had not kept is asked again.
    # What an attempt asked for that was lost, since its worker was starved, its result tells of.
    assert len(twice) <= max(1, WAITING // 100), story
    assert not [done for done in twice if done.step == "after"], story


async def _submit(client: PlainClient, count: int) -> None:
    for start in range(0, count, AT_ONCE):
        tasks = [new_task() for _ in range(min(AT_ONCE, count - start))]
        acks = await asyncio.gather(*(client.submit("gated", {"run": task}, task=task) for task in tasks))
        assert not [ack for ack in acks if "error" in ack]


async def _until_suspended(admin: PlainClient, count: int) -> None:
    async def suspended() -> bool:
        return await _held(admin, "SUSPENDED_default") == count and await _held(admin, "TASKS_default") == 0

    await eventually(suspended, TIMEOUT_S, 0.5)


async def _grant_all(approver: PlainClient) -> None:
    """Grant what waits until nothing does; what is not answered in time is in the list again, or was granted."""
    while True:
        try:
            requests: list[Json] = (await approver.api("approvals", {"limit": AT_ONCE}))["approvals"]
        except TimeoutError:
            continue
        if not requests:
            return
        await asyncio.gather(*(_grant(approver, request) for request in requests), return_exceptions=True)


async def _grant(approver: PlainClient, request: Json) -> Json:
    query = {"id": request["id"], "digest": request["digest"], "decision": "grant", "by": "ann"}
    return await approver.api("decide", query)


async def _has_results(admin: PlainClient, count: int) -> bool:
    return await _held(admin, "RESULTS_default") >= count


async def _held(admin: PlainClient, stream: str) -> int:
    """How many messages a stream holds, without the list of their subjects."""
    return (await admin.stream("STREAM.INFO", stream))["state"]["messages"]


def _sizes(fleet: RunningFleet) -> dict[str, int]:
    return {process.name: process.resident_bytes() for process in fleet.orchestrators}


async def _busy_shares(fleet: RunningFleet) -> dict[str, float]:
    """How much of a processor each orchestrator takes while nothing is to be done."""
    before = {process.name: _cpu_s(process.pid) for process in fleet.orchestrators}
    await asyncio.sleep(IDLE_S)
    return {
        process.name: round((_cpu_s(process.pid) - before[process.name]) / IDLE_S, 3) for process in fleet.orchestrators
    }


def _cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system
