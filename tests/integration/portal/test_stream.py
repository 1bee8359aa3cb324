"""What a browser is told of a fleet, as it happens."""

import asyncio
from pathlib import Path

import pytest

from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.plain_client import BODIES, PlainClient, eventually, new_task
from flotilla.testkit.portal import PortalHere, start_portal

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_page_that_opens_sees_the_fleet_and_what_happens_in_it(
    portal_fleet: RunningFleet, portal: PortalHere, caller: PlainClient
):
    """
    The whole snapshot at once; then the events of a task, and figures that count it.
    """
    task = new_task()
    async with portal.browser() as browser, portal.stream(browser) as stream:
        await stream.until(lambda stream: stream.state and stream.state["fleet"]["orchestrators"])
        await caller.submit("classify", BODIES["classify"], task=task)
        await stream.until(
            lambda stream: any(one["task"] == task and one["kind"] == "finished" for one in stream.events)
        )
        await stream.until(
            lambda stream: stream.state and stream.state["routes"] and stream.state["totals"]["tasks_hour"]
        )
        state = stream.state or {}

    told = [(one["kind"], one["scope"], one["capability"]) for one in stream.events if one["task"] == task]
    assert [(kind, "default", "classify") for kind in ("queued", "dispatched", "finished")] == told
    assert ["o1"] == [one["instance"] for one in state["fleet"]["orchestrators"]]
    assert [("local", "local", 8), ("cloud", "cloud", 8)] == [
        (pool["name"], pool["zone"], pool["slots"]) for pool in state["pools"]
    ]
    assert {"local-w1"} == {one["instance"] for one in state["pools"][0]["replicas"]}
    (route,) = [one for one in state["routes"] if one["capability"] == "classify"]
    assert ("local", "healthy", 1.0) == (route["pool"], route["status"], route["share"])
    assert state["totals"]["ok_share"] == 1.0
    assert state["totals"]["local_ms_avg"] > 0
    assert state["totals"]["cloud_ms_avg"] is None


async def test_a_page_that_reconnects_gets_what_it_has_missed_and_nothing_twice(
    portal: PortalHere, caller: PlainClient
):
    """
    By the id that the browser gives back; one of another portal starts anew.
    """
    before, between = new_task(), new_task()
    async with portal.browser() as browser:
        async with portal.stream(browser) as stream:
            await stream.until(lambda stream: stream.last_id)
            await caller.submit("classify", BODIES["classify"], task=before)
            await stream.until(lambda stream: [one for one in stream.events if one["task"] == before][2:])
            last_id = stream.last_id
        await caller.submit("classify", BODIES["classify"], task=between)
        async with portal.stream(browser, last_id=last_id) as again:
            await again.until(lambda stream: [one for one in stream.events if one["task"] == between][2:])
        async with portal.stream(browser, last_id="0123456789ab-7") as anew:
            await anew.until(lambda stream: stream.last_id)

    assert before not in {one["task"] for one in again.events}
    assert {before, between} <= {one["task"] for one in anew.events}


async def test_frames_are_few_however_many_events_there_are(portal: PortalHere, caller: PlainClient):
    """
    Five a second at most, of 200 events; what is left out is counted.
    """
    loop = asyncio.get_running_loop()
    async with portal.browser() as browser, portal.stream(browser) as stream:
        await stream.until(lambda stream: stream.last_id)
        seen, frames, began_s = len(stream.events) + stream.dropped, stream.frames, loop.time()
        await asyncio.gather(*(caller.ask("classify", BODIES["classify"]) for _ in range(300)))
        await stream.until(lambda stream: len(stream.events) + stream.dropped - seen >= 900)
        took_s = loop.time() - began_s

    assert len(stream.events) + stream.dropped - seen == 900
    assert stream.frames - frames <= took_s / 0.2 + 2


async def test_a_worker_that_dies_is_seen_to_go_and_one_that_starts_to_come(
    portal_fleet: RunningFleet, portal: PortalHere
):
    """
    In words, beside the status.
    """

    def status_of(state: dict[str, object] | None, name: str) -> tuple[str, str] | None:
        pools: list[dict[str, list[dict[str, str]]]] = (state or {}).get("pools", [])  # pyright: ignore[reportAssignmentType]
        found = [one for pool in pools for one in pool["replicas"] if one["instance"] == name]
        return (found[0]["status"], found[0]["words"]) if found else None

    async with portal.browser() as browser, portal.stream(browser) as stream:
        worker = await portal_fleet.start_worker(name="short-lived")
        await stream.until(lambda stream: status_of(stream.state, "short-lived") == ("ready", "8 of 8 slots free"))
        worker.kill()
        await stream.until(lambda stream: (status_of(stream.state, "short-lived") or ("", ""))[0] == "lost")


async def test_the_page_says_that_the_server_is_gone_and_goes_on_when_it_is_back(tmp_path: Path):
    """
    Without being opened again; what is shown meanwhile is marked as old.
    """
    async with running_fleet(tmp_path) as fleet:
        portal = await start_portal(fleet)
        client = await fleet.client()
        async with portal.browser() as browser, portal.stream(browser) as stream:
            await stream.until(lambda stream: stream.state and stream.state["connected"])
            await fleet.server.kill()
            await stream.until(lambda stream: stream.state and not stream.state["connected"])
            assert "lost" in (stream.state or {})["needs_you"][0]["text"]
            await fleet.server.start()
            await stream.until(lambda stream: stream.state and stream.state["connected"])
            task = new_task()

            async def accepted() -> bool:
                try:
                    return "stream" in await client.submit("classify", BODIES["classify"], task=task, timeout_s=2)
                except Exception:  # noqa: BLE001  (whatever a client meets while a fleet comes back)
                    return False

            await eventually(accepted)
            await stream.until(lambda stream: [one for one in stream.events if one["kind"] == "finished"])
