"""A fleet with a portal, which a module's tests share."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.fleet_report import pytest_runtest_makereport
from flotilla.testkit.plain_client import PlainClient
from flotilla.testkit.portal import PortalHere, people_file, start_portal

__all__ = ["pytest_runtest_makereport"]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def portal_fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningFleet]:
    """
    One orchestrator, a local and a cloud worker.
    """
    async with running_fleet(tmp_path_factory.mktemp("portal"), local=1, cloud=1) as fleet:
        yield fleet


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def portal(portal_fleet: RunningFleet) -> PortalHere:
    """
    A portal on loopback, with people who may sign in, that has heard of both pools.
    """
    portal = await start_portal(portal_fleet, people=people_file(portal_fleet.directory))
    # Cards come into the bucket some time after the orchestrators have heard them.
    async with portal.browser() as browser, portal.stream(browser) as stream:
        await stream.until(lambda stream: stream.state and len(stream.state["pools"]) > 1)
    return portal


@pytest_asyncio.fixture(loop_scope="session")
async def caller(portal_fleet: RunningFleet) -> AsyncIterator[PlainClient]:
    """
    A plain client of the default scope.
    """
    client = await portal_fleet.client()
    yield client
    await portal_fleet.close_clients()
