"""A fleet in which nothing happens but what a test says of it."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from flotilla.contracts import subjects
from flotilla.contracts.clock import unix_ms
from flotilla.contracts.results import Event, encode
from flotilla.fabric.connection import connected
from flotilla.fabric.inbox import Requests
from flotilla.provisioning.streams import ensure
from flotilla.provisioning.topology import topology
from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.plain_client import eventually
from portal.live import view as live_view
from portal.live.failing import FAILED_MIN
from portal.live.view import FleetView


@pytest.fixture
async def view(nats_server: RunningServer) -> AsyncIterator[FleetView]:
    """
    Of a fleet without anybody.
    """
    async with (
        connected(nats_server.orchestrator(), name="orchestrator") as orchestrator,
        connected(nats_server.observer(), name="observer") as observer,
    ):
        writer, reader = Requests(orchestrator), Requests(observer)
        await writer.start()
        await reader.start()
        await ensure(writer, topology())
        view = FleetView(observer, reader, scopes=("default",))
        await view.start()
        yield view
        await view.stop()
        await reader.stop()
        await writer.stop()


async def test_a_snapshot_that_says_nothing_new_has_the_time_of_now(view: FleetView, monkeypatch: pytest.MonkeyPatch):
    """
    A page reckons by it how long ago everything was; those that are open are not sent it again.
    """
    now_ms = unix_ms()
    monkeypatch.setattr(live_view, "unix_ms", lambda: now_ms)

    def said() -> dict[str, Any]:
        return said_by(view)

    async def is_now() -> bool:
        # That no orchestrator is there is the last that is known.
        known = {need["name"] for need in said().get("needs_you", [])}
        return said().get("at_unix_ms") == now_ms and "orchestrators" in known

    with view.looked_at():
        await eventually(is_now)
        version, before = view.version, said()
        now_ms += 60_000
        await eventually(is_now)

    assert (version == view.version) == (before == {**said(), "at_unix_ms": before["at_unix_ms"]})


async def test_a_capability_whose_tasks_fail_is_told(view: FleetView, nats_server: RunningServer):
    """
    By what their events say, though no route of theirs was ever tried.
    """
    async with connected(nats_server.orchestrator(), name="another") as orchestrator:
        for number in range(FAILED_MIN):
            event = Event(task=f"t{number}", capability="embed", kind="failed", at_unix_ms=unix_ms(), error="no_route")
            await orchestrator.publish(subjects.events("default", "embed", "failed"), encode(event))

        async def is_told() -> bool:
            needs = said_by(view).get("needs_you", [])
            return "All tasks of embed fail: no route" in [need["text"] for need in needs]

        with view.looked_at():
            await eventually(is_told)


def said_by(view: FleetView) -> dict[str, Any]:
    """Its newest snapshot."""
    return json.loads(view.state.split(b"data: ")[1]) if view.state else {}
