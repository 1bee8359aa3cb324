"""What each orchestrator has seen of routes, written down for the others."""

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from flotilla.contracts import subjects
from flotilla.contracts.failures import FailureKind
from flotilla.contracts.stats import RouteKey, stats_key
from flotilla.fabric import keyvalue
from flotilla.fabric.connection import connected
from flotilla.fabric.inbox import Requests
from flotilla.provisioning.streams import ensure
from flotilla.provisioning.topology import topology
from flotilla.routing.router import PolicyRouter
from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.plain_client import eventually
from orchestrator.execution.death_notes import DeathNotes
from orchestrator.policy_and_health import health
from orchestrator.policy_and_health.health import HealthBoard

GOOD = RouteKey("pool", "model", "classify")
HOUR_MS = 3_600_000


@asynccontextmanager
async def _following(server: RunningServer, name: str) -> AsyncGenerator[tuple[PolicyRouter, Requests]]:
    """The router of an orchestrator that follows the others' stats and writes its own."""
    async with connected(server.orchestrator(), name=name) as connection:
        requests = Requests(connection)
        await requests.start()
        await ensure(requests, topology())
        router = PolicyRouter(name)
        board = HealthBoard(connection, requests, router, DeathNotes(connection))
        await board.start()
        yield router, requests
        await board.stop()
        await requests.stop()


async def test_a_route_that_cannot_be_told_of_keeps_no_others_back(nats_server: RunningServer):
    """
    Nor those that come after it in the same round.
    """
    async with _following(nats_server, "o") as (router, requests):
        for key in (RouteKey("no pool", "model", "classify"), GOOD):
            router.recorder.at(key).started(time.time_ns() // 1_000_000)

        async def published() -> bool:
            return await keyvalue.get(requests, subjects.STATS_BUCKET, stats_key(GOOD, "o")) is not None

        await eventually(published)


async def test_the_others_hear_at_once_that_a_provider_wants_a_pause(
    nats_server: RunningServer, monkeypatch: pytest.MonkeyPatch
):
    """
    Not with the next round, which is an hour away here.
    """
    monkeypatch.setattr(health, "PUBLISH_INTERVAL_MS", HOUR_MS)
    async with _following(nats_server, "o1") as (router, _), _following(nats_server, "o2") as (other, _):
        now_unix_ms = time.time_ns() // 1_000_000
        refused = router.recorder.at(GOOD)
        refused.started(now_unix_ms)
        refused.failed(
            FailureKind.RATE_LIMITED, started_unix_ms=now_unix_ms, now_unix_ms=now_unix_ms, retry_after_s=3_600.0
        )

        async def heard() -> bool:
            other.update()
            return other.health.retry_after.get((GOOD.pool, GOOD.model)) == now_unix_ms + HOUR_MS

        await eventually(heard)
