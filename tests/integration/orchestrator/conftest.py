"""What the tests of the orchestrator share."""

from flotilla.testkit.fleet_report import pytest_runtest_makereport

__all__ = ["pytest_runtest_makereport"]
