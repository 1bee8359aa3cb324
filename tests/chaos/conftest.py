"""What the chaos runs share."""

import os

import pytest

from flotilla.testkit.fleet_report import pytest_runtest_makereport

__all__ = ["pytest_runtest_makereport"]

SECONDS_DEFAULT = 60.0


@pytest.fixture
def chaos_s() -> float:
    """
    How long to make trouble: `CHAOS_SECONDS`.
    """
    return float(os.environ.get("CHAOS_SECONDS", SECONDS_DEFAULT))
