"""
How the routes did in the last hour: a point for each ten seconds, out of what the orchestrators write about each second,
and when routing left one of them or came back to it.

Kept here alone, so it begins when the portal does, with what the bucket then holds. Of the time before, and of that in
which the portal was cut off, the events tell (`past_routes.py`), as far back as the streams hold them. Steps in which a
route was not used have no point; steps of which nothing is known are told apart from these.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterable
from typing import Final

import structlog
from msgspec import Struct

from flotilla.contracts.histogram import quantile_ms
from flotilla.contracts.stats import (
    EMPTY_SUB_WINDOW,
    SUB_WINDOW_MS,
    SUB_WINDOWS_MAX,
    RouteKey,
    RouteStats,
    SubWindow,
    decode_stats,
    merge_sub_windows,
    parse_stats_key,
)
from flotilla.contracts.subjects import STATS_BUCKET
from flotilla.fabric.connection import Connection
from flotilla.fabric.inbox import Requests
from flotilla.fabric.kv_cache import KvCache
from portal.live.snapshot import RouteStatus, RouteView

STEP_S: Final = 10
POINTS_MAX: Final = 360
SERIES_MAX: Final = 200
MOVES_MAX: Final = 500
"""Of all routes together; of more in an hour the newest are kept."""
HOUR_S: Final = STEP_S * POINTS_MAX
LAG_S: Final = 3
"""Orchestrators write about once a second; the last second's attempts come a little later."""
KEPT_S: Final = SUB_WINDOWS_MAX * SUB_WINDOW_MS // 1000 - LAG_S
"""What the bucket holds of the past for certain."""
UNSEEN_MAX: Final = 50
"""Of more spans in an hour the newest are kept."""

Windows = dict[RouteKey, dict[int, SubWindow]]
"""The attempts that ended in each step, by route and the time at which the step ended."""

logger = structlog.get_logger("portal")


class Point(Struct, frozen=True, kw_only=True):
    """
    What one route did in one step.

    Attributes:
        p50_ms: None where several routes are put together, as is p95_ms.
        cost_usd: As far as it is known.
        tokens: In and out; None where events alone tell of it.
    """

    at_unix_s: int
    p50_ms: float | None
    p95_ms: float | None
    error_rate: float | None
    tasks: int
    cost_usd: float
    tokens: int | None


class Span(Struct, frozen=True, kw_only=True):
    """Whole steps."""

    from_unix_s: int
    until_unix_s: int


class Move(Struct, frozen=True, kw_only=True):
    """
    A route has come to stand otherwise.

    Attributes:
        status: As it stands from then on.
        words: Why.
    """

    at_unix_s: float
    capability: str
    pool: str
    model: str
    status: RouteStatus
    words: str


class History:
    """Follows the stats bucket, and keeps a point a step for each route that was used."""

    def __init__(self, connection: Connection, requests: Requests) -> None:
        self._series: Final[dict[RouteKey, deque[Point]]] = {}
        self._stood: dict[RouteKey, RouteStatus] = {}
        self._moves: Final[deque[Move]] = deque(maxlen=MOVES_MAX)
        self._connection = connection
        self._unseen: deque[Span] = deque(maxlen=UNSEEN_MAX)
        self._told: Final[deque[Span]] = deque(maxlen=UNSEEN_MAX)
        self._past: Windows = {}
        self._past_reach = Span(from_unix_s=0, until_unix_s=0)
        self._began_unix_s = self._done_unix_s = _oldest_kept(int(time.time()))
        self._sampling: asyncio.Task[None] | None = None
        self.cache: Final[KvCache[RouteStats]] = KvCache(
            connection, requests, STATS_BUCKET, decode=decode_stats, on_change=_ignore
        )

    async def start(self) -> None:
        """Follow, until `stop`."""
        await self.cache.start()
        self._sampling = asyncio.get_running_loop().create_task(self._sample())

    async def stop(self) -> None:
        """Follow no more."""
        if self._sampling is not None:
            self._sampling.cancel()
        await self.cache.stop()

    def points(self, *, capability: str = "", pool: str = "", model: str = "") -> list[Point]:
        """The steps of the routes that match, oldest first; an empty word matches all."""
        wanted, begin = (pool, model, capability), self.seen().from_unix_s
        found = [
            [point for point in series if point.at_unix_s > begin]
            for key, series in self._series.items()
            if all(word in ("", part) for word, part in zip(wanted, key, strict=True))
        ]
        if len(found) == 1:
            return found[0]
        by_step: dict[int, list[Point]] = {}
        for series in found:
            for point in series:
                by_step.setdefault(point.at_unix_s, []).append(point)
        return [together(by_step[step]) for step in sorted(by_step)]

    def moves(self, now_unix_s: float, *, capability: str = "", pool: str = "", model: str = "") -> list[Move]:
        """The moves of the last hour of the routes that match, oldest first; an empty word matches all."""
        wanted = (pool, model, capability)
        return [
            move
            for move in self._moves
            if move.at_unix_s > now_unix_s - HOUR_S
            and all(
                word in ("", part) for word, part in zip(wanted, (move.pool, move.model, move.capability), strict=True)
            )
        ]

    def seen(self) -> Span:
        """From where to where it reaches: an hour, or less where neither this portal nor the events know so much."""
        until = self._done_unix_s
        return Span(from_unix_s=max(self._began_unix_s, until - HOUR_S), until_unix_s=until)

    def unseen(self) -> list[Span]:
        """Where in that nothing is known, since the portal was cut off and events do not reach back so far; oldest first."""
        begin = self.seen().from_unix_s
        return [span for span in self._unseen if span.until_unix_s > begin]

    def told(self) -> list[Span]:
        """Where events alone tell of it, without tokens; oldest first."""
        begin = self.seen().from_unix_s
        return [
            Span(from_unix_s=max(span.from_unix_s, begin), until_unix_s=span.until_unix_s)
            for span in self._told
            if span.until_unix_s > begin
        ]

    def used_lately(self) -> list[RouteKey]:
        """The routes that have a point in the last hour."""
        return list(self._series)

    def stand(self, routes: Iterable[RouteView], now_unix_s: float) -> None:
        """How the routes stand now: whichever stood otherwise when it was last seen has moved."""
        stand: dict[RouteKey, RouteStatus] = {}
        for route in routes:
            key = RouteKey(route.pool, route.model, route.capability)
            stand[key] = route.status
            if self._stood.get(key, route.status) != route.status:
                self._moves.append(
                    Move(
                        at_unix_s=now_unix_s,
                        capability=route.capability,
                        pool=route.pool,
                        model=route.model,
                        status=route.status,
                        words=route.words,
                    )
                )
        self._stood = stand

    def catch_up(self, now_unix_s: int) -> None:
        """Take every step that is over and not taken yet, as far back as the bucket reaches."""
        oldest = _oldest_kept(now_unix_s)
        if self._done_unix_s < oldest:
            self._unseen.append(Span(from_unix_s=self._done_unix_s, until_unix_s=oldest))
            self._done_unix_s = oldest
            self._tell()
        while self._done_unix_s + STEP_S <= now_unix_s - LAG_S:
            self._done_unix_s += STEP_S
            self.take_step(self._done_unix_s)

    def take_past(self, windows: Windows, *, whole_from_unix_ms: int, until_unix_s: int) -> None:
        """
        Have these tell of what was not seen, before the portal began and since.

        Args:
            windows: Put together from events.
            whole_from_unix_ms: From when on every event is among them.
            until_unix_s: When they were read.
        """
        begin = -(-whole_from_unix_ms // (1000 * STEP_S)) * STEP_S
        self._past, self._past_reach = windows, Span(from_unix_s=begin, until_unix_s=until_unix_s)
        if begin < self._began_unix_s:
            before = Span(from_unix_s=begin, until_unix_s=self._began_unix_s)
            self._unseen = deque([before, *self._unseen], maxlen=UNSEEN_MAX)
            self._began_unix_s = begin
        self._tell()

    def _tell(self) -> None:
        """Fill in what was not seen, as far as the past that is held reaches."""
        unseen, self._unseen = self._unseen, deque(maxlen=UNSEEN_MAX)
        for span in unseen:
            begin, until = max(span.from_unix_s, self._past_reach.from_unix_s), span.until_unix_s
            if begin >= until or until > self._past_reach.until_unix_s:
                self._unseen.append(span)
                continue
            if span.from_unix_s < begin:
                self._unseen.append(Span(from_unix_s=span.from_unix_s, until_unix_s=begin))
            self._told.append(Span(from_unix_s=begin, until_unix_s=until))
            for route, windows in self._past.items():
                points = [
                    point_of(window, at, knows_tokens=False) for at, window in windows.items() if begin < at <= until
                ]
                if points:
                    series = self._series_of(route)
                    points.extend(series)
                    series.clear()
                    series.extend(sorted(points, key=lambda point: point.at_unix_s))

    def take_step(self, until_unix_s: int) -> None:
        """Add the points of the step that ended at this time."""
        seconds = range(until_unix_s - STEP_S, until_unix_s)
        windows: dict[RouteKey, SubWindow] = {}
        for key, stats in self.cache.values.items():
            parsed = parse_stats_key(key)
            if parsed is None:
                continue
            for second in seconds:
                window = stats.windows.get(second)
                if window is not None:
                    windows[parsed[0]] = merge_sub_windows(windows.get(parsed[0], EMPTY_SUB_WINDOW), window)
        for route, window in windows.items():
            if window.attempts:
                self._series_of(route).append(point_of(window, until_unix_s))
        oldest = until_unix_s - STEP_S * POINTS_MAX
        for route in [route for route, series in self._series.items() if series[-1].at_unix_s <= oldest]:
            del self._series[route]

    def _series_of(self, route: RouteKey) -> deque[Point]:
        series = self._series.get(route)
        if series is None:
            if len(self._series) >= SERIES_MAX:
                del self._series[min(self._series, key=lambda one: self._series[one][-1].at_unix_s)]
            series = self._series[route] = deque(maxlen=POINTS_MAX)
        return series

    async def _sample(self) -> None:
        await self.cache.listed.wait()
        away_s = time.monotonic() - LAG_S
        while True:
            # Whoever was cut off has what the bucket holds again a little later.
            if not self._connection.is_connected:
                away_s = time.monotonic()
            elif time.monotonic() - away_s >= LAG_S:
                try:
                    self.catch_up(int(time.time()))
                except Exception:
                    logger.exception("history_not_read")
            await asyncio.sleep(1)


def step_of(unix_s: int) -> int:
    """When the step ends to which a second belongs."""
    return (unix_s // STEP_S + 1) * STEP_S


def _oldest_kept(now_unix_s: int) -> int:
    """Where the first step begins that the bucket holds as a whole."""
    return -((KEPT_S - now_unix_s) // STEP_S) * STEP_S


def point_of(window: SubWindow, at_unix_s: int, *, knows_tokens: bool = True) -> Point:
    """The point of one route."""
    return Point(
        at_unix_s=at_unix_s,
        p50_ms=_rounded(quantile_ms(window.latency, 0.5)),
        p95_ms=_rounded(quantile_ms(window.latency, 0.95)),
        error_rate=window.error_rate,
        tasks=window.attempts,
        cost_usd=window.cost_usd,
        tokens=window.input_tokens + window.output_tokens if knows_tokens else None,
    )


def together(points: Iterable[Point]) -> Point:
    """One point for several of one step; quantiles cannot be put together."""
    listed = list(points)
    if len(listed) == 1:
        return listed[0]
    tasks = sum(point.tasks for point in listed)
    errors = sum((point.error_rate or 0.0) * point.tasks for point in listed)
    return Point(
        at_unix_s=listed[0].at_unix_s,
        p50_ms=None,
        p95_ms=None,
        error_rate=errors / tasks if tasks else None,
        tasks=tasks,
        cost_usd=sum(point.cost_usd for point in listed),
        tokens=None if any(point.tokens is None for point in listed) else sum(point.tokens or 0 for point in listed),
    )


def _rounded(value_ms: float | None) -> float | None:
    return None if value_ms is None else round(value_ms, 1)


def _ignore(_key: str, _stats: RouteStats | None) -> None:
    pass
