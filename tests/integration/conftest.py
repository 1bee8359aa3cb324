"""A fleet whose far side a test scripts, and a client of it."""

from collections.abc import AsyncIterator

import pytest

from flotilla.client import Fleet
from flotilla.testkit.fleet_peer import FleetPeer, fleet_peer
from flotilla.testkit.nats_server import RunningServer


@pytest.fixture
async def peer(nats_server: RunningServer) -> AsyncIterator[FleetPeer]:
    """
    The orchestrators' side.
    """
    async with fleet_peer(nats_server) as peer:
        yield peer


@pytest.fixture
async def fleet(nats_server: RunningServer, peer: FleetPeer) -> AsyncIterator[Fleet]:
    """
    A tenant's connection, without credentials.
    """
    async with Fleet.connect(nats_server.url) as fleet:
        yield fleet
