"""What was before a portal began, or while it could not hear, is shown by it all the same."""

from urllib.parse import urlsplit

import pytest

from flotilla.contracts.clock import unix_ms
from flotilla.testkit.fleet import RunningFleet
from flotilla.testkit.plain_client import BODIES, PlainClient, eventually, new_task
from flotilla.testkit.portal import start_portal
from flotilla.testkit.relay import relay

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_portal_that_starts_late_shows_what_was_before(portal_fleet: RunningFleet, caller: PlainClient):
    """
    Its newest tasks with their story, its newest events, and the figures of the hour.
    """
    tasks = [new_task("early") for _ in range(3)]
    for task in tasks:
        await caller.submit("classify", BODIES["classify"], task=task)
        await caller.until_status(task, "ok")
    began_unix_ms = unix_ms()
    late = await start_portal(portal_fleet, "late")
    async with late.browser() as browser, late.stream(browser) as stream:
        listed = (await browser.get("/api/tasks")).json()["tasks"]
        story = (await browser.get(f"/api/tasks/default/{tasks[0]}")).json()
        await stream.until(lambda stream: stream.state and set(tasks) <= {one["task"] for one in stream.events})
        totals = (stream.state or {})["totals"]

    shown = [one for one in listed if one["task"] in tasks]
    assert list(reversed(tasks)) == [one["task"] for one in shown]
    assert {("ok", "local", "local")} == {(one["state"], one["pool"], one["zone"]) for one in shown}
    assert ["queued", "dispatched", "finished"] == [one["kind"] for one in story["events"]]
    assert totals["tasks_hour"] >= 3
    assert totals["local_ms_avg"] > 0
    assert totals["since_unix_ms"] < began_unix_ms


async def test_what_happened_while_the_portal_was_away_is_caught_up_with(
    portal_fleet: RunningFleet, caller: PlainClient
):
    """
    Nothing stays as it was when the line broke, and nothing is counted twice.
    """
    before, meanwhile, after = new_task("before"), new_task("meanwhile"), new_task("after")
    server = urlsplit(portal_fleet.server.observer().url)
    async with relay(server.hostname or "", server.port or 0) as line:
        away = await start_portal(portal_fleet, "away", env={"FLOTILLA_NATS_URL": f"nats://127.0.0.1:{line.port}"})
        async with away.browser() as browser, away.stream(browser) as stream:

            async def run(task: str) -> None:
                await caller.submit("classify", BODIES["classify"], task=task)
                await caller.until_status(task, "ok")

            async def kinds(task: str) -> list[str]:
                answer = await browser.get(f"/api/tasks/default/{task}")
                return [one["kind"] for one in answer.json().get("events", [])]

            async def is_whole(task: str) -> bool:
                return await kinds(task) == ["queued", "dispatched", "finished"]

            await run(before)
            await eventually(lambda: is_whole(before))
            line.cut()
            await stream.until(lambda stream: stream.state and not stream.state["connected"])
            await run(meanwhile)
            assert [] == await kinds(meanwhile)
            line.mend()
            await stream.until(lambda stream: stream.state and stream.state["connected"])
            await eventually(lambda: is_whole(meanwhile))
            await run(after)
            await eventually(lambda: is_whole(after))
            assert await is_whole(before)
            await stream.until(lambda stream: [one for one in stream.events if one["task"] == after][2:])
            told = [one["task"] for one in stream.events if one["task"] in {before, meanwhile, after}]
            assert sorted([before, meanwhile, after] * 3) == sorted(told)
