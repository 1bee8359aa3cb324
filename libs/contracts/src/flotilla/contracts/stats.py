"""
What one orchestrator has seen of a route, as a sliding window that merges: the value of a key in the stats bucket.

Each key has a single writer; whoever reads merges the writers' values. `merge` is associative and commutative, so the
order in which keys arrive does not matter: everything in it is a sum, a maximum or a last-one-wins by time (costs are
whole nano-dollars, since floats would not add up to the same in every order). Sub-windows are aligned to the seconds
of the unix clock, so those of different writers fall on each other. No clock is read here: `now_unix_ms` comes in.
"""

from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Annotated, Final, NamedTuple

import msgspec
from msgspec import Meta, Struct

from flotilla.contracts.decoding import UNDECODABLE, checked, safe_text
from flotilla.contracts.errors import DecodeFailedError
from flotilla.contracts.failures import RULES
from flotilla.contracts.fields import MODEL_LENGTH_MAX, UnixMs, are_words
from flotilla.contracts.histogram import Counts, Natural, added
from flotilla.contracts.names import is_name, is_replica, name_of, token_of
from flotilla.contracts.patterns import pattern

FORMAT: Final = 1
SUB_WINDOW_MS: Final = 1_000
SUB_WINDOWS_MAX: Final = 30
IN_FLIGHT_BIN_MS: Final = 100
IN_FLIGHT_AGE_MS_MAX: Final = 600_000
STALE_AFTER_MS: Final = 6_000
"""A value that its writer has not renewed for so long says nothing about attempts in flight: the writer may be gone."""
CLOCK_SKEW_MS_MAX: Final = 5_000
NANO_USD: Final = 1_000_000_000

SUM_MAX: Final = 2**62
"""Of tokens and costs: what is written must be readable, and JSON numbers end at 64 bits."""
KINDS_MAX: Final = 64
BINS_MAX: Final = 100_000

Sum = Annotated[int, Meta(ge=0, le=SUM_MAX)]
Time = Annotated[int, Meta(ge=0, le=2**53)]
"""Seconds, or tenths of seconds, of the unix clock."""
Failures = Annotated[
    dict[Annotated[str, Meta(pattern=pattern(r"^[a-z0-9_-]{1,64}\Z", "1 to 64 of a-z, 0-9, _ and -"))], Natural],
    Meta(max_length=KINDS_MAX),
]

_STATS_KEY_PARTS: Final = 4
_NOT_PENALISED: Final = frozenset(kind.value for kind, rule in RULES.items() if not rule.penalise)


class RouteKey(NamedTuple):
    """A route and what it was used for."""

    pool: str
    model: str
    capability: str


class SubWindow(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    The attempts that ended within one second.

    Attributes:
        failures: Count by failure kind (`flotilla.contracts.failures`); kinds of a newer writer pass through.
        deferred: Those among the failures that said when to come back: the route is closed by its own word
            until then, so they do not count against its health as well.
        cancelled: Given up by the caller or the dispatcher; no fault of the route.
        latency: Of the attempts that ended well, and of those that failed by taking too long.
        first_piece: Of streamed attempts, from the request to the first piece.
        abandoned: How old the cancelled ones had become: they would have taken longer still.
        cost_nano_usd: Of the attempts whose cost is known.
        unpriced: Those that ended well or failed and whose cost is not known.
        unpriced_ok: Those of them that ended well.
    """

    ok: Natural = 0
    failures: Failures = {}
    deferred: Natural = 0
    cancelled: Natural = 0
    latency: Counts = {}
    first_piece: Counts = {}
    abandoned: Counts = {}
    input_tokens: Sum = 0
    output_tokens: Sum = 0
    cost_nano_usd: Sum = 0
    unpriced: Natural = 0
    unpriced_ok: Natural = 0

    @property
    def attempts(self) -> int:
        """How many ended well or failed; the cancelled ones are not among them."""
        return self.ok + sum(self.failures.values())

    @property
    def penalised(self) -> int:
        """The failures that count against the route's health."""
        counted = sum(count for kind, count in self.failures.items() if kind not in _NOT_PENALISED)
        return max(0, counted - self.deferred)

    @property
    def error_rate(self) -> float | None:
        """Penalised failures among all attempts, 0 to 1; None without attempts."""
        attempts = self.attempts
        return self.penalised / attempts if attempts else None

    @property
    def cost_usd(self) -> float:
        """What these attempts cost together, as far as it is known."""
        return self.cost_nano_usd / NANO_USD

    @property
    def mean_cost_usd(self) -> float | None:
        """What an attempt that ended well costs; None when no price of one is known."""
        priced = self.ok - self.unpriced_ok
        return self.cost_usd / priced if priced > 0 else None


class RouteStats(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    One writer's window over one route and capability, or the merged windows of several.

    Attributes:
        written_unix_ms: When the newest of the merged values was taken.
        windows: By second of the unix clock; at most `SUB_WINDOWS_MAX`.
        in_flight: Attempts that have not ended, counted by `start_unix_ms // IN_FLIGHT_BIN_MS`: a route whose calls
            are all stuck has no finished samples, but these grow old.
        failed_in_a_row: Penalised failures since the last attempt that went well, by the writer that failed last.
        retry_after_until_unix_ms: Rate limited by the provider until then (Retry-After).
    """

    format: Natural = FORMAT
    written_unix_ms: UnixMs = 0
    windows: Annotated[dict[Time, SubWindow], Meta(max_length=BINS_MAX)] = {}
    in_flight: Annotated[dict[Time, Natural], Meta(max_length=BINS_MAX)] = {}
    failed_in_a_row: Natural = 0
    last_failure_unix_ms: UnixMs = 0
    last_ok_unix_ms: UnixMs = 0
    last_started_unix_ms: UnixMs = 0
    retry_after_until_unix_ms: UnixMs = 0

    @property
    def in_flight_count(self) -> int:
        """How many attempts have not ended."""
        return sum(self.in_flight.values())

    def overdue(self, age_ms: float, now_unix_ms: int) -> int:
        """How many attempts in flight are older than `age_ms`, to within `IN_FLIGHT_BIN_MS`."""
        bin_before = int(now_unix_ms - age_ms) // IN_FLIGHT_BIN_MS
        return sum(count for start, count in self.in_flight.items() if start < bin_before)

    def oldest_in_flight_ms(self, now_unix_ms: int) -> float:
        """The age of the oldest attempt in flight; 0 when there is none."""
        return max(0.0, now_unix_ms - min(self.in_flight) * float(IN_FLIGHT_BIN_MS)) if self.in_flight else 0.0

    @property
    def total(self) -> SubWindow:
        """The whole window as one."""
        return reduce(merge_sub_windows, self.windows.values(), EMPTY_SUB_WINDOW)


EMPTY_SUB_WINDOW: Final = SubWindow()
EMPTY: Final = RouteStats()


def merge_sub_windows(one: SubWindow, other: SubWindow) -> SubWindow:
    """The attempts of both."""
    failures = dict(one.failures)
    for kind, count in other.failures.items():
        failures[kind] = failures.get(kind, 0) + count
    return SubWindow(
        ok=one.ok + other.ok,
        failures=failures,
        deferred=one.deferred + other.deferred,
        cancelled=one.cancelled + other.cancelled,
        latency=added(one.latency, other.latency),
        first_piece=added(one.first_piece, other.first_piece),
        abandoned=added(one.abandoned, other.abandoned),
        input_tokens=min(SUM_MAX, one.input_tokens + other.input_tokens),
        output_tokens=min(SUM_MAX, one.output_tokens + other.output_tokens),
        cost_nano_usd=min(SUM_MAX, one.cost_nano_usd + other.cost_nano_usd),
        unpriced=one.unpriced + other.unpriced,
        unpriced_ok=one.unpriced_ok + other.unpriced_ok,
    )


def merge(one: RouteStats, other: RouteStats) -> RouteStats:
    """What both writers have seen. Trim each with `fresh` first."""
    windows = dict(one.windows)
    for second, window in other.windows.items():
        mine = windows.get(second)
        windows[second] = window if mine is None else merge_sub_windows(mine, window)
    failed_last = max(
        (one.last_failure_unix_ms, one.failed_in_a_row),
        (other.last_failure_unix_ms, other.failed_in_a_row),
    )
    return RouteStats(
        format=max(one.format, other.format),
        written_unix_ms=max(one.written_unix_ms, other.written_unix_ms),
        windows=windows,
        in_flight=added(one.in_flight, other.in_flight),
        failed_in_a_row=failed_last[1],
        last_failure_unix_ms=failed_last[0],
        last_ok_unix_ms=max(one.last_ok_unix_ms, other.last_ok_unix_ms),
        last_started_unix_ms=max(one.last_started_unix_ms, other.last_started_unix_ms),
        retry_after_until_unix_ms=max(one.retry_after_until_unix_ms, other.retry_after_until_unix_ms),
    )


def fresh(stats: RouteStats, now_unix_ms: int) -> RouteStats:
    """
    One writer's value without what is too old to tell anything, or stamped by a clock that runs ahead.

    Attempts in flight keep the age that they had when the value was written: most will have ended since, and if one
    has not, the writer's next value says so.
    """
    newest = (now_unix_ms + CLOCK_SKEW_MS_MAX) // SUB_WINDOW_MS
    oldest = now_unix_ms // SUB_WINDOW_MS - SUB_WINDOWS_MAX
    windows = {second: window for second, window in stats.windows.items() if oldest < second <= newest}
    lag_ms = max(0, now_unix_ms - stats.written_unix_ms)
    if len(windows) == len(stats.windows) and (lag_ms == 0 or not stats.in_flight):
        return stats
    in_flight: dict[int, int] = {}
    if lag_ms <= STALE_AFTER_MS:
        lag = -(-lag_ms // IN_FLIGHT_BIN_MS)
        in_flight = {start + lag: count for start, count in stats.in_flight.items()}
    return msgspec.structs.replace(stats, windows=windows, in_flight=in_flight)


def merge_by_route(
    values: Iterable[tuple[RouteKey, RouteStats]],
    now_unix_ms: int,
) -> dict[RouteKey, RouteStats]:
    """Put the values of all writers together, each trimmed by `fresh`."""
    merged: dict[RouteKey, RouteStats] = {}
    for key, stats in values:
        trimmed = fresh(stats, now_unix_ms)
        before = merged.get(key)
        merged[key] = trimmed if before is None else merge(before, trimmed)
    return merged


def merge_by_model(merged: Mapping[RouteKey, RouteStats]) -> dict[tuple[str, str], RouteStats]:
    """The same, put together over capabilities: what is known of a pool's model as such."""
    by_model: dict[tuple[str, str], RouteStats] = {}
    for key, stats in merged.items():
        before = by_model.get(key[:2])
        by_model[key[:2]] = stats if before is None else merge(before, stats)
    return by_model


def stats_key(route: RouteKey, writer: str) -> str:
    """The key of one writer's value in the stats bucket: `<pool>.<model>.<capability>.<orchestrator>`."""
    return f"{route.pool}.{token_of(route.model) or '='}.{route.capability}.{writer}"


def parse_stats_key(key: str) -> tuple[RouteKey, str] | None:
    """Take a key of the stats bucket apart, into its route and its writer; None when it is not of the form."""
    pool, *rest = key.split(".")
    if len(rest) != _STATS_KEY_PARTS - 1:
        return None
    encoded, capability, writer = rest
    try:
        model = "" if encoded == "=" else name_of(encoded)
    except ValueError:
        return None
    named = encoded and is_name(pool) and is_name(capability) and is_replica(writer)
    if not named or len(model) > MODEL_LENGTH_MAX or not are_words("", model):
        return None
    return RouteKey(pool, model, capability), writer


encode_stats: Final = msgspec.json.Encoder().encode
_decode_stats: Final = msgspec.json.Decoder(RouteStats).decode


def decode_stats(body: bytes) -> RouteStats:
    """
    Decode a value of the stats bucket; fields of a newer writer are ignored, those of an older one have defaults.

    Raises:
        DecodeFailedError: It is not one.
    """
    try:
        return _decode_stats(checked(body))
    except UNDECODABLE as error:
        raise DecodeFailedError(f"route stats: {safe_text(error)}") from error
