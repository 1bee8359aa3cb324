"""The last hour of the routes: where it begins, and what of it could not be seen."""

import time
from collections.abc import Iterable
from typing import Any, cast

import pytest

from flotilla.contracts.stats import RouteKey, RouteStats, SubWindow, stats_key
from portal.live.history import HOUR_S, STEP_S, History, Span

pytestmark = pytest.mark.asyncio

ROUTE = RouteKey("local", "m", "classify")


def heard(history: History, seconds: Iterable[int]) -> None:
    """The bucket holds one attempt of each of these seconds."""
    windows = {second: SubWindow(ok=1) for second in seconds}
    history.cache.values[stats_key(ROUTE, "o1")] = RouteStats(windows=windows)


async def test_the_curves_begin_with_what_the_bucket_holds():
    """
    Its last steps that are whole, and not the one before, of which a part may be gone.
    """
    now = int(time.time())
    history = History(cast("Any", None), cast("Any", None))
    heard(history, range(now - 60, now))
    history.catch_up(now)

    begin, points = history.seen().from_unix_s, history.points()
    assert now - 30 < begin < now
    assert begin % STEP_S == 0
    assert list(range(begin + STEP_S, now - 2, STEP_S)) == [point.at_unix_s for point in points]
    assert {STEP_S} == {point.tasks for point in points}
    assert [] == history.unseen()


async def test_what_could_not_be_heard_is_told_from_what_did_not_happen():
    """
    A few seconds are caught up with; of minutes it is known which are missing, until they are more than an hour ago.
    """
    now = int(time.time())
    history = History(cast("Any", None), cast("Any", None))
    history.catch_up(now)
    done = history.seen().until_unix_s
    history.catch_up(done + 20)
    assert [] == history.unseen()
    heard(history, range(done + 300, done + 330))
    history.catch_up(done + 330)

    [missing] = history.unseen()
    assert Span(from_unix_s=done + 10, until_unix_s=done + 310) == missing
    assert [done + 320] == [point.at_unix_s for point in history.points()]
    for at in range(done + 340, done + 2 * HOUR_S, 10):
        history.catch_up(at)
    assert [] == history.unseen()
    assert HOUR_S == history.seen().until_unix_s - history.seen().from_unix_s
