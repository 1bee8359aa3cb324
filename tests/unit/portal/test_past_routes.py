"""How the routes did before the portal saw them, out of the events that the streams still hold."""

import time
from typing import Any, cast

import pytest

from flotilla.contracts.results import Event, encode
from flotilla.contracts.stats import RouteKey, RouteStats, SubWindow, stats_key
from flotilla.contracts.subjects import EventKind
from flotilla.fabric.stored import StoredMessage
from portal.live.history import HOUR_S, STEP_S, History, Span, Windows
from portal.live.past_routes import PastRoutes

pytestmark = pytest.mark.asyncio

LOCAL, CLOUD = RouteKey("local", "m", "classify"), RouteKey("claude", "big", "classify")


def stored(task: str, kind: EventKind, at_s: float, route: RouteKey | None = None, **more: Any) -> StoredMessage:
    """An event of a task as a stream holds it."""
    pool, model, replica = ("", "", "") if route is None else (route.pool, route.model, f"{route.pool}-w1")
    at_unix_ms = int(at_s * 1000)
    event = Event(
        task=task,
        capability="classify",
        kind=kind,
        at_unix_ms=at_unix_ms,
        pool=pool,
        model=model,
        replica=replica,
        **more,
    )
    return StoredMessage(subject="s", sequence=1, stored_unix_ms=at_unix_ms, headers={}, body=encode(event))


async def windows_of(*messages: StoredMessage) -> Windows:
    """What these events tell."""
    past = PastRoutes()
    await past.read(messages)
    return past.windows


async def test_an_attempt_is_told_by_its_events():
    """
    How long it took, apart from what its task waited and tried before; what failed; what the answer cost. A run, which no
    pool answered, and what came from the cache are none.
    """
    windows = await windows_of(
        stored("a", "queued", 100.0),
        stored("a", "dispatched", 101.0, LOCAL),
        stored("a", "attempt_failed", 101.4, LOCAL, error="provider_error", latency_ms=400.0),
        stored("a", "dispatched", 101.5, CLOUD),
        stored("a", "finished", 103.5, CLOUD, latency_ms=3500.0, cost_usd=0.25),
        stored("run", "finished", 104.0, latency_ms=4000.0, cost_usd=0.25),
        stored("b", "dispatched", 105.0, LOCAL),
        stored("b", "attempt_failed", 111.0, LOCAL, error="timeout", latency_ms=6000.0),
        StoredMessage(subject="s", sequence=2, stored_unix_ms=1, headers={}, body=b"no event"),
        # Of which the beginning was not read: it is counted, and not how long it took.
        stored("c", "finished", 112.0, CLOUD, latency_ms=9000.0, cost_usd=None),
    )

    assert {LOCAL: [110, 120], CLOUD: [110, 120]} == {route: list(steps) for route, steps in windows.items()}
    cloud, local = windows[CLOUD], windows[LOCAL]
    assert (1, 0.25) == (cloud[110].ok, cloud[110].cost_usd)
    assert [2000.0] == [pytest.approx(each, rel=0.05) for each in latencies(cloud[110])]
    assert (1, []) == (cloud[120].ok, latencies(cloud[120]))
    assert ({"provider_error": 1}, []) == (local[110].failures, latencies(local[110]))
    assert [6000.0] == [pytest.approx(each, rel=0.05) for each in latencies(local[120])]


async def test_the_hour_before_the_portal_is_on_the_curves():
    """
    From when on all events are known, up to where the bucket tells itself; without tokens, of which events say nothing.
    """
    now = int(time.time())
    history = History(cast("Any", None), cast("Any", None))
    began = history.seen().from_unix_s
    history.cache.values[stats_key(LOCAL, "o1")] = RouteStats(
        windows={second: SubWindow(ok=1, input_tokens=5) for second in range(now - 60, now)}
    )
    history.catch_up(now)
    times = [began - 905, began - 595, began - 5, began + 5]
    windows = await windows_of(
        *(stored(f"t{at}", kind, at, LOCAL) for at in times for kind in ("dispatched", "finished"))
    )
    history.take_past(windows, whole_from_unix_ms=(began - 609) * 1000, until_unix_s=now)

    points = history.points(pool="local")
    assert [began - 590, began] == [point.at_unix_s for point in points if point.tokens is None]
    assert {1} == {point.tasks for point in points if point.tokens is None}
    assert {STEP_S * 5} == {point.tokens for point in points if point.at_unix_s > began}
    assert sorted(point.at_unix_s for point in points) == [point.at_unix_s for point in points]
    assert [Span(from_unix_s=began - 600, until_unix_s=began)] == history.told()
    assert began - 600 == history.seen().from_unix_s
    assert [] == history.unseen()
    assert [LOCAL] == history.used_lately()


async def test_of_what_was_cut_off_events_tell_that_were_read_after_it():
    """
    Those that were read before know nothing of it; what is older than all that the streams hold stays unknown.
    """
    now = int(time.time())
    history = History(cast("Any", None), cast("Any", None))
    history.cache.values[stats_key(CLOUD, "o1")] = RouteStats(windows={now - 15: SubWindow(ok=1)})
    history.catch_up(now)
    [before] = history.points()
    done = history.seen().until_unix_s
    history.take_past({}, whole_from_unix_ms=(done - 300) * 1000, until_unix_s=done)
    history.catch_up(done + 330)
    [missing] = history.unseen()

    times = [missing.until_unix_s - 5, missing.until_unix_s - 25]
    later = await windows_of(*(stored(f"t{at}", "finished", at, CLOUD) for at in times))
    whole_from_unix_s = missing.from_unix_s + 100
    history.take_past(later, whole_from_unix_ms=whole_from_unix_s * 1000, until_unix_s=done + 340)

    assert [Span(from_unix_s=missing.from_unix_s, until_unix_s=whole_from_unix_s)] == history.unseen()
    assert Span(from_unix_s=whole_from_unix_s, until_unix_s=missing.until_unix_s) == history.told()[-1]
    told = [missing.until_unix_s - 20, missing.until_unix_s]
    assert [before.at_unix_s, *told] == [point.at_unix_s for point in history.points()]


async def test_of_what_was_cut_off_events_tell_that_were_read_before_it_was_noticed():
    """
    The bucket is looked at every second, and events are read as soon as there is a connection again.
    """
    now = int(time.time())
    history = History(cast("Any", None), cast("Any", None))
    history.catch_up(now)
    done = history.seen().until_unix_s
    windows = await windows_of(stored("t", "finished", done + 105, CLOUD))
    history.take_past(windows, whole_from_unix_ms=(done - 300) * 1000, until_unix_s=done + 330)
    history.catch_up(done + 331)

    assert [] == history.unseen()
    assert [done + 110] == [point.at_unix_s for point in history.points()]


async def test_a_route_that_is_used_now_and_then_has_the_points_of_an_hour():
    """
    However few they are: an older one is not drawn at its beginning.
    """
    now = int(time.time())
    history = History(cast("Any", None), cast("Any", None))
    begin = -(-now // STEP_S) * STEP_S
    for at in range(begin, begin + 2 * HOUR_S + 1, 600):
        history.cache.values[stats_key(LOCAL, "o1")] = RouteStats(windows={at + STEP_S - 5: SubWindow(ok=1)})
        history.catch_up(at + 20)

    points = history.points()
    assert 6 == len(points)
    assert history.seen().from_unix_s < points[0].at_unix_s


def latencies(window: SubWindow) -> list[float]:
    """Of the attempts that were counted, by the middles of their buckets."""
    return [1.1 ** (bucket - 0.5) for bucket, count in window.latency.items() for _ in range(count)]
