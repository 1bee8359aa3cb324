"""What every test may ask for."""

import gc
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from flotilla.testkit.both_ends import pytest_xdist_make_scheduler
from flotilla.testkit.examples import examples
from flotilla.testkit.nats_server import RunningServer, running_server
from flotilla.testkit.tables import pytest_pycollect_makeitem

__all__ = ["pytest_pycollect_makeitem", "pytest_xdist_make_scheduler"]

# How long an example takes depends on what else the machine does; what is too slow for a user is measured in the benchmark.
settings.register_profile(
    "untimed", deadline=None, max_examples=examples(60), suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("untimed")

# A shell without job control starts what it puts in the background with SIGINT ignored, and every process that a test
# starts would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Each process of a run imports and collects the same thousands of tests, of which nothing is garbage.
gc.disable()


def pytest_collection_finish() -> None:
    """
    From here on garbage is looked for, and not among what was collected.
    """
    gc.freeze()
    gc.enable()


@pytest.fixture
async def nats_server(tmp_path: Path) -> AsyncIterator[RunningServer]:
    """
    A real nats-server of the test's own: the scope `default`, the pools local/local and cloud/cloud.
    """
    async with running_server(tmp_path / "nats") as server:
        yield server
