"""What the tests of faults share: each has fleets of its own, since it harms them."""

from flotilla.testkit.fleet_report import pytest_runtest_makereport

__all__ = ["pytest_runtest_makereport"]
