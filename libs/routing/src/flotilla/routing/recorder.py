"""The writing side of the stats: one orchestrator's attempts on a route, counted as they begin and end."""

from collections.abc import Callable
from functools import partial
from typing import Final

from flotilla.contracts.attempts import Usage
from flotilla.contracts.failures import RULES, FailureKind
from flotilla.contracts.histogram import bucket_of
from flotilla.contracts.stats import (
    IN_FLIGHT_AGE_MS_MAX,
    IN_FLIGHT_BIN_MS,
    NANO_USD,
    SUB_WINDOW_MS,
    SUB_WINDOWS_MAX,
    RouteKey,
    RouteStats,
    SubWindow,
)

RECORDERS_MAX: Final = 10_000
COST_USD_MAX: Final = 1e6
"""Of one attempt: what a worker says that costs more is not true, and would not fit into the sums."""
NO_USAGE: Final = Usage()

_SLOW_FAILURES: Final = frozenset({FailureKind.TIMEOUT, FailureKind.LOST})


class _Count:
    """A sub-window that is still being counted."""

    def __init__(self) -> None:
        self.ok = self.deferred = self.cancelled = self.input_tokens = self.output_tokens = self.cost_nano_usd = 0
        self.unpriced = self.unpriced_ok = 0
        self.failures: dict[str, int] = {}
        self.latency: dict[int, int] = {}
        self.first_piece: dict[int, int] = {}
        self.abandoned: dict[int, int] = {}

    def frozen(self) -> SubWindow:
        return SubWindow(
            ok=self.ok,
            failures=dict(self.failures),
            deferred=self.deferred,
            cancelled=self.cancelled,
            latency=dict(self.latency),
            first_piece=dict(self.first_piece),
            abandoned=dict(self.abandoned),
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            cost_nano_usd=self.cost_nano_usd,
            unpriced=self.unpriced,
            unpriced_ok=self.unpriced_ok,
        )


class RouteRecorder:
    """
    Counts the attempts on one route. Each `started` is followed by exactly one of `finished`, `failed`, `cancelled`.

    All times are unix ms of one clock; the memory is bounded by `SUB_WINDOWS_MAX` and the attempts in flight.
    """

    def __init__(self, on_retry_after: Callable[[int], None] | None = None) -> None:
        self._on_retry_after = on_retry_after
        self._windows: dict[int, _Count] = {}
        self._in_flight: dict[int, int] = {}
        self._failed_in_a_row = 0
        self._last_failure_unix_ms = 0
        self._last_ok_unix_ms = 0
        self._last_started_unix_ms = 0
        self._retry_after_until_unix_ms = 0

    def started(self, now_unix_ms: int) -> None:
        """An attempt was sent."""
        start = now_unix_ms // IN_FLIGHT_BIN_MS
        self._in_flight[start] = self._in_flight.get(start, 0) + 1
        self._last_started_unix_ms = max(self._last_started_unix_ms, now_unix_ms)

    @property
    def last_ok_unix_ms(self) -> int:
        """When an attempt last went well; 0 for never."""
        return self._last_ok_unix_ms

    def finished(
        self,
        *,
        started_unix_ms: int,
        now_unix_ms: int,
        usage: Usage = NO_USAGE,
        first_piece_ms: float | None = None,
    ) -> None:
        """Count an attempt that went well, with what it used."""
        count = self._ended(started_unix_ms, now_unix_ms, usage)
        count.ok += 1
        if usage.cost_usd is None:
            count.unpriced_ok += 1
        _add(count.latency, now_unix_ms - started_unix_ms)
        if first_piece_ms is not None:
            _add(count.first_piece, first_piece_ms)
        self._failed_in_a_row = 0
        self._last_ok_unix_ms = max(self._last_ok_unix_ms, now_unix_ms)

    def failed(
        self,
        kind: FailureKind,
        *,
        started_unix_ms: int,
        now_unix_ms: int,
        retry_after_s: float | None = None,
        usage: Usage = NO_USAGE,
        blameless: bool = False,
    ) -> None:
        """It failed; with `retry_after_s` the route is closed for exactly that long, and not penalised besides."""
        count = self._ended(started_unix_ms, now_unix_ms, usage)
        count.failures[kind.value] = count.failures.get(kind.value, 0) + 1
        if kind in _SLOW_FAILURES:
            _add(count.latency, now_unix_ms - started_unix_ms)
        if not RULES[kind].penalise:
            return
        if blameless:
            count.deferred += 1
            return
        if retry_after_s is not None:
            count.deferred += 1
            until = now_unix_ms + round(retry_after_s * 1000)
            self._retry_after_until_unix_ms = max(self._retry_after_until_unix_ms, until)
            if self._on_retry_after is not None:
                self._on_retry_after(until)
            return
        self._failed_in_a_row += 1
        self._last_failure_unix_ms = max(self._last_failure_unix_ms, now_unix_ms)

    def cancelled(self, *, started_unix_ms: int, now_unix_ms: int) -> None:
        """It was cancelled, or given up: its time counts, and its end does not."""
        count = self._ended(started_unix_ms, now_unix_ms, NO_USAGE)
        count.cancelled += 1
        _add(count.abandoned, now_unix_ms - started_unix_ms)

    def snapshot(self, now_unix_ms: int) -> RouteStats:
        """The window as it stands, to be published and merged."""
        self._forget(now_unix_ms)
        oldest = (now_unix_ms - IN_FLIGHT_AGE_MS_MAX) // IN_FLIGHT_BIN_MS
        in_flight: dict[int, int] = {}
        for start, count in self._in_flight.items():
            shown = max(start, oldest)
            in_flight[shown] = in_flight.get(shown, 0) + count
        return RouteStats(
            written_unix_ms=now_unix_ms,
            windows={second: count.frozen() for second, count in self._windows.items()},
            in_flight=in_flight,
            failed_in_a_row=self._failed_in_a_row,
            last_failure_unix_ms=self._last_failure_unix_ms,
            last_ok_unix_ms=self._last_ok_unix_ms,
            last_started_unix_ms=self._last_started_unix_ms,
            retry_after_until_unix_ms=self._retry_after_until_unix_ms,
        )

    def idle(self, now_unix_ms: int) -> bool:
        """Whether there is nothing left to tell, so that its key may go."""
        self._forget(now_unix_ms)
        return not self._windows and not self._in_flight and self._retry_after_until_unix_ms <= now_unix_ms

    def _ended(self, started_unix_ms: int, now_unix_ms: int, usage: Usage) -> _Count:
        start = started_unix_ms // IN_FLIGHT_BIN_MS
        left = self._in_flight.get(start, 0) - 1
        if left > 0:
            self._in_flight[start] = left
        else:
            self._in_flight.pop(start, None)
        second = now_unix_ms // SUB_WINDOW_MS
        count = self._windows.get(second)
        if count is None:
            self._forget(now_unix_ms)
            count = self._windows[second] = _Count()
        count.input_tokens += usage.input_tokens
        count.output_tokens += usage.output_tokens
        if usage.cost_usd is None:
            count.unpriced += 1
        else:
            count.cost_nano_usd += round(min(usage.cost_usd, COST_USD_MAX) * NANO_USD)
        return count

    def _forget(self, now_unix_ms: int) -> None:
        oldest = now_unix_ms // SUB_WINDOW_MS - SUB_WINDOWS_MAX
        for second in [second for second in self._windows if second <= oldest]:
            del self._windows[second]


class Recorder:
    """
    One orchestrator's recorders by route; idle ones are dropped, so old models and capabilities cost nothing.

    `asked` holds each Retry-After (until when, unix ms) by pool and model, from the moment that it came until someone
    takes it out: it has to close the route at once, not at the next update. `on_retry_after` is called when one comes.
    """

    def __init__(self) -> None:
        self.asked: dict[tuple[str, str], int] = {}
        self.on_retry_after: Callable[[], None] = _nobody
        self._routes: dict[RouteKey, RouteRecorder] = {}

    def at(self, key: RouteKey) -> RouteRecorder:
        """The recorder of a route; keep it for the attempt's end."""
        recorder = self._routes.get(key)
        if recorder is None:
            if len(self._routes) >= RECORDERS_MAX:
                del self._routes[next(iter(self._routes))]
            recorder = self._routes[key] = RouteRecorder(partial(self._ask, key[:2]))
        return recorder

    def snapshots(self, now_unix_ms: int) -> dict[RouteKey, RouteStats]:
        """Every route's window. Routes with nothing left to tell are dropped; their keys may be deleted."""
        for key in [key for key, recorder in self._routes.items() if recorder.idle(now_unix_ms)]:
            del self._routes[key]
        return {key: recorder.snapshot(now_unix_ms) for key, recorder in self._routes.items()}

    def _ask(self, pair: tuple[str, str], until_unix_ms: int) -> None:
        self.asked[pair] = max(self.asked.get(pair, 0), until_unix_ms)
        self.on_retry_after()


def _nobody() -> None:
    pass


def _add(counts: dict[int, int], latency_ms: float) -> None:
    bucket = bucket_of(latency_ms)
    counts[bucket] = counts.get(bucket, 0) + 1
