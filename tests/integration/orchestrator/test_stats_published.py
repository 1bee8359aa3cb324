"""What each orchestrator has seen of routes, written down for the others."""

import time

from flotilla.contracts import subjects
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
from orchestrator.policy_and_health.health import HealthBoard


async def test_a_route_that_cannot_be_told_of_keeps_no_others_back(nats_server: RunningServer):
    """
    Nor those that come after it in the same round.
    """
    good = RouteKey("pool", "model", "classify")
    async with connected(nats_server.orchestrator(), name="o") as connection:
        requests = Requests(connection)
        await requests.start()
        await ensure(requests, topology())
        router = PolicyRouter("o")
        board = HealthBoard(connection, requests, router, DeathNotes(connection))
        await board.start()
        for key in (RouteKey("no pool", "model", "classify"), good):
            router.recorder.at(key).started(time.time_ns() // 1_000_000)

        async def published() -> bool:
            return await keyvalue.get(requests, subjects.STATS_BUCKET, stats_key(good, "o")) is not None

        await eventually(published)
        await board.stop()
        await requests.stop()
