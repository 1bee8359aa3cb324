"""What every test may ask for."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flotilla.testkit.nats_server import RunningServer, running_server


@pytest.fixture
async def nats_server(tmp_path: Path) -> AsyncIterator[RunningServer]:
    """
    A real nats-server of the test's own: the scope `default`, the pools local/local and cloud/cloud.
    """
    async with running_server(tmp_path / "nats") as server:
        yield server
