"""What was before a portal began, or while it could not hear, is shown by it all the same."""

from urllib.parse import urlsplit

import pytest

from flotilla.contracts.clock import unix_ms
from flotilla.fabric.connection import connected
from flotilla.fabric.inbox import Requests
from flotilla.testkit.fleet import RunningFleet
from flotilla.testkit.plain_client import BODIES, PlainClient, eventually, new_task
from flotilla.testkit.portal import start_portal
from flotilla.testkit.relay import relay
from portal.live.past_events import past_events
from portal.live.view import FleetView

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
    # Another tenant, of which this observer knows nothing, keeps nothing of this one back.
    late = await start_portal(portal_fleet, "late", env={"FLOTILLA_SCOPES": "nobodys,default"})
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


async def test_of_a_long_past_the_newest_is_read_and_what_is_left_out_is_known(
    portal_fleet: RunningFleet, caller: PlainClient, monkeypatch: pytest.MonkeyPatch
):
    """
    In order, however many requests it takes; where there is no more time, what was longest ago is left out.
    """
    for _ in range(3):
        await caller.ask("classify", BODIES["classify"])
    async with connected(portal_fleet.server.observer(), name="observer") as observer:
        requests = Requests(observer)
        await requests.start()
        monkeypatch.setattr("portal.live.past_events.SCAN_BATCH", 2)

        async def has_all() -> bool:
            return len((await past_events(requests, ["default"])).events) >= 9

        await eventually(has_all)
        whole = await past_events(requests, ["default"])
        newest = await past_events(requests, ["default"], events_max=5)
        monkeypatch.setattr("portal.live.past_events.PAST_READ_S", 0.0)
        nothing = await past_events(requests, ["default"])
        await requests.stop()

    sequences = [event.sequence for event in whole.events]
    assert list(range(sequences[0], sequences[0] + len(sequences))) == sequences
    assert whole.events[-5:] == newest.events
    assert whole.events[0].stored_unix_ms == whole.whole_from_unix_ms
    assert newest.events[0].stored_unix_ms == newest.whole_from_unix_ms
    assert ([], []) == (nothing.events, nothing.unread)


async def test_the_curves_of_a_portal_that_starts_late_begin_with_the_events_that_are_held(
    portal_fleet: RunningFleet, caller: PlainClient, monkeypatch: pytest.MonkeyPatch
):
    """
    Of a route that was used before: how many attempts, how long they took, and no tokens.
    """
    monkeypatch.setattr("portal.live.history.STEP_S", 1)
    # The bucket still holds so short a past: this portal is to know none of it by that.
    monkeypatch.setattr("portal.live.history.KEPT_S", 0)
    async with connected(portal_fleet.server.observer(), name="observer") as observer:
        requests = Requests(observer)
        await requests.start()

        async def is_told() -> bool:
            await caller.ask("classify", BODIES["classify"])
            late = FleetView(observer, requests, scopes=("default",))
            await late.start()
            points, told = late.history.points(capability="classify", pool="local"), late.history.told()
            await late.stop()
            assert {None} >= {point.tokens for point in points}
            return bool(told) and any(point.tasks and point.p95_ms for point in points)

        await eventually(is_told)
        await requests.stop()
