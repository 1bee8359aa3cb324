"""A fleet that all tests of this folder share: those that ask things of it without hurting it."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.fleet_report import pytest_runtest_makereport
from flotilla.testkit.plain_client import PlainClient

__all__ = ["pytest_runtest_makereport"]

SLOW_LATENCY_MS = 120_000.0
CALM_CAPABILITIES = "classify,summarize,chat,translate,embed"


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def one_calm_fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningFleet]:
    """
    Two orchestrators; a fast worker with 8 slots; and one with 2 slots whose every `reason` takes two minutes.
    """
    async with running_fleet(
        tmp_path_factory.mktemp("calm"),
        orchestrators=2,
        local=1,
        scopes=("default", "acme"),
        pools=(("local", "local"), ("local", "slow"), ("local", "scripted"), ("cloud", "cloud")),
        worker_env={"FLOTILLA_CAPABILITIES": CALM_CAPABILITIES},
    ) as fleet:
        await fleet.start_worker(
            "local", "slow", "slow-w1", slots=2, latency_ms=SLOW_LATENCY_MS, env={"FLOTILLA_CAPABILITIES": "reason"}
        )
        yield fleet


@pytest_asyncio.fixture(loop_scope="session")
async def calm_fleet(one_calm_fleet: RunningFleet) -> AsyncIterator[RunningFleet]:
    """
    The shared fleet; connections made through it end with the test, since its loop stands still between tests.
    """
    yield one_calm_fleet
    await one_calm_fleet.close_clients()


@pytest_asyncio.fixture(loop_scope="session")
async def caller(calm_fleet: RunningFleet) -> PlainClient:
    """
    A plain nats-py client of the default scope, without credentials.
    """
    return await calm_fleet.client()
