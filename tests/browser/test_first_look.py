"""How long it takes until somebody who opens the portal of a large fleet sees it: 200 replicas, 50 routes."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Final

import msgspec
import pytest
import pytest_asyncio
from playwright.async_api import Browser

from flotilla.contracts import subjects
from flotilla.contracts.presence import ModelCard, ReplicaCard
from flotilla.contracts.stats import RouteKey, RouteStats, SubWindow, encode_stats, stats_key
from flotilla.contracts.subjects import Zone
from flotilla.fabric.connection import connected
from flotilla.testkit.browser_page import open_page
from flotilla.testkit.fleet import running_fleet
from flotilla.testkit.patient_client import WAIT_S
from flotilla.testkit.portal import PortalHere, start_portal

pytestmark = pytest.mark.asyncio(loop_scope="session")

REPLICAS: Final = 200
POOLS: Final[tuple[tuple[Zone, str], ...]] = (
    ("local", "north"),
    ("local", "south"),
    ("local", "east"),
    ("cloud", "claude"),
    ("cloud", "gpt"),
)
CAPABILITIES: Final = (
    "chat",
    "classify",
    "embed",
    "extract-entities",
    "generate-code",
    "rank",
    "reason",
    "summarize",
    "synthesize",
    "translate",
)
BEAT_S: Final = 1.0
FIRST_LOOK_S: Final = 2.0
BUSY_MACHINE: Final = 10.0
"""A busy machine may take so many times as long, or a test on it would say nothing but that it is one."""


def card(number: int) -> tuple[str, str, bytes]:
    """The pool of a replica, and its card as it is sent."""
    zone, pool = POOLS[number % len(POOLS)]
    name = f"{pool}-w{number}"
    what = ReplicaCard(
        zone=zone,
        pool=pool,
        replica=name,
        provider="noop",
        models=[ModelCard(name=f"{pool}-model", capabilities=list(CAPABILITIES))],
        slots=8,
        busy=number % 9,
    )
    return pool, subjects.heartbeat(zone, pool, name), msgspec.json.encode(what)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def portal(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PortalHere]:
    """
    The portal of a fleet whose replicas are cards alone, each sent as its pool would send it.
    """
    async with running_fleet(tmp_path_factory.mktemp("crowd"), local=0, pools=POOLS) as fleet:
        connections = {pool: await fleet.connect(fleet.server.worker(zone, pool)) for zone, pool in POOLS}
        cards = [card(number) for number in range(REPLICAS)]

        async def beat() -> None:
            async with connected(fleet.server.orchestrator(), name="o2") as orchestrator:
                while True:
                    for pool, subject, body in cards:
                        await connections[pool].nc.publish(subject, body)
                    now_s = int(time.time())
                    stats = RouteStats(
                        written_unix_ms=now_s * 1000,
                        windows={now_s - age: SubWindow(ok=5, latency={40: 5}) for age in range(20)},
                    )
                    for _, pool in POOLS:
                        for capability in CAPABILITIES:
                            route = RouteKey(pool, f"{pool}-model", capability)
                            key = subjects.key(subjects.STATS_BUCKET, stats_key(route, "o2"))
                            await orchestrator.publish(key, encode_stats(stats))
                    await asyncio.sleep(BEAT_S)

        beating = asyncio.create_task(beat())
        portal = await start_portal(fleet)
        async with portal.browser() as browser, portal.stream(browser) as stream:
            await stream.until(
                lambda stream: (
                    stream.state
                    and sum(pool["replicas_total"] for pool in stream.state["pools"]) == REPLICAS
                    and len(stream.state["routes"]) == len(POOLS) * len(CAPABILITIES)
                )
            )
        yield portal
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)


async def test_a_stream_that_opens_has_the_whole_fleet_in_its_first_message(portal: PortalHere):
    """
    Nothing is asked of anybody for it.
    """
    began_s = time.monotonic()
    async with portal.browser() as browser, portal.stream(browser) as stream:
        await stream.until(lambda stream: stream.state)
        took_s = time.monotonic() - began_s
        state = stream.state or {}
    print(f"\nfirst snapshot after {took_s * 1000:.0f} ms, {len(str(state)):,} characters")  # noqa: T201

    assert REPLICAS == sum(len(pool["replicas"]) for pool in state["pools"])
    assert len(POOLS) * len(CAPABILITIES) == len(state["routes"])
    assert took_s < FIRST_LOOK_S * BUSY_MACHINE


async def test_the_overview_of_a_large_fleet_is_there_soon(browser: Browser, portal: PortalHere):
    """
    From the opening of the page until every pool is drawn.
    """
    async with open_page(browser, portal) as page:
        began_s = time.monotonic()
        await page.page.goto(f"{portal.url}/#/overview")
        await page.page.locator('[data-node="cloud/gpt"]').wait_for(timeout=WAIT_S * 1000)
        took_s = time.monotonic() - began_s
        drawn = await page.page.locator("[data-node*='/']").count()
        assert page.errors == []
    print(f"\nfirst overview after {took_s * 1000:.0f} ms")  # noqa: T201

    assert len(POOLS) == drawn
    assert took_s < FIRST_LOOK_S * BUSY_MACHINE
