"""
The logs of a fleet in the report of a test that failed with it.

A `conftest.py` takes it by importing the hook: `from flotilla.testkit.fleet_report import pytest_runtest_makereport`.
"""

from collections.abc import Generator

import pytest

from flotilla.testkit.fleet import LIVE


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,  # noqa: ARG001  (pytest gives it by name)
    call: pytest.CallInfo[None],  # noqa: ARG001
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the end of every process's log to a failure."""
    report = yield
    if report.failed:
        report.sections += [("logs of the fleet", fleet.report()) for fleet in LIVE]
    return report
