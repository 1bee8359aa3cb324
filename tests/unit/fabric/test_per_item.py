"""What goes wrong with one item of a loop ends there, and is told."""

import asyncio
import logging

import pytest

from flotilla.chassis.metrics import registry_of
from flotilla.fabric.errors import TopologyError
from flotilla.fabric.per_item import ITEM_FAILURES, guarded

ERRORS = [KeyError("x"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"), RecursionError(), TopologyError("no room")]


def test_the_items_after_one_that_fails_are_handled(caplog: pytest.LogCaptureFixture):
    """
    Each failure is counted; a kind of failure is logged once a minute for its loop.
    """
    handled: list[int] = []
    before = ITEM_FAILURES.counts["pulls"]
    for item in range(100):
        with guarded("pulls", item):
            if item % 2:
                raise ERRORS[item // 2 % len(ERRORS)]
            handled.append(item)

    said = [record for record in caplog.records if record.name == "flotilla.fabric"]
    series = ("flotilla_item_failures_total", {"loop": "pulls"})
    assert list(range(0, 100, 2)) == handled
    assert 50 == ITEM_FAILURES.counts["pulls"] - before
    assert float(before + 50) == registry_of().get_sample_value(*series)
    assert len(ERRORS) == len(said)
    assert {"item_failed"} == {record.message for record in said}


def test_a_traceback_is_logged_where_nobody_foresaw_the_failure(caplog: pytest.LogCaptureFixture):
    """
    The server's own refusals say what they are about.
    """
    caplog.set_level(logging.WARNING)
    for error in (ZeroDivisionError("secret"), TopologyError("a full store")):
        with guarded("slots"):
            raise error

    unforeseen, refused = [record for record in caplog.records if record.name == "flotilla.fabric"]
    assert unforeseen.exc_info
    assert not refused.exc_info
    assert ("", "a full store") == (vars(unforeseen)["detail"], vars(refused)["detail"])


@pytest.mark.parametrize("stop", [asyncio.CancelledError, KeyboardInterrupt, SystemExit])
def test_what_stops_the_loop_itself_is_passed_on(stop: type[BaseException]):
    """
    A loop that could not be cancelled would outlive its service.
    """
    with pytest.raises(stop), guarded("watch"):
        raise stop
