"""Mergeable windows: laws, error bounds, and what passes between versions."""

import math
from functools import reduce
from itertools import permutations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flotilla.contracts.errors import DecodeFailedError
from flotilla.contracts.histogram import (
    BUCKET_LAST,
    LATENCY_MS_MAX,
    RELATIVE_ERROR_MAX,
    added,
    bucket_of,
    mean_ms,
    quantile_ms,
)
from flotilla.contracts.stats import (
    EMPTY,
    IN_FLIGHT_BIN_MS,
    STALE_AFTER_MS,
    SUB_WINDOWS_MAX,
    RouteKey,
    RouteStats,
    SubWindow,
    decode_stats,
    encode_stats,
    fresh,
    merge,
    merge_by_model,
    merge_by_route,
    parse_stats_key,
    stats_key,
)
from flotilla.testkit.examples import examples

NOW = 1_800_000_000_000
SECOND = NOW // 1000

counts = st.integers(0, 10**6)
histograms = st.dictionaries(st.integers(0, BUCKET_LAST), counts, max_size=5)
sub_windows = st.builds(
    SubWindow,
    ok=counts,
    failures=st.dictionaries(st.sampled_from(("timeout", "refused", "of_tomorrow")), counts),
    deferred=counts,
    cancelled=counts,
    latency=histograms,
    first_piece=histograms,
    abandoned=histograms,
    input_tokens=counts,
    output_tokens=counts,
    cost_nano_usd=counts,
)
stats = st.builds(
    RouteStats,
    written_unix_ms=st.integers(NOW - 1000, NOW),
    windows=st.dictionaries(st.integers(SECOND - 5, SECOND), sub_windows, max_size=4),
    in_flight=st.dictionaries(st.integers(0, 50), counts, max_size=4),
    failed_in_a_row=counts,
    last_failure_unix_ms=st.integers(NOW - 3, NOW),
    last_ok_unix_ms=counts,
    last_started_unix_ms=counts,
    retry_after_until_unix_ms=counts,
)
latencies = st.floats(1.0, LATENCY_MS_MAX)


@settings(max_examples=examples(150), deadline=None)
@given(stats, stats, stats)
def test_merging_is_associative_and_commutative_and_has_a_neutral_element(
    a: RouteStats,
    b: RouteStats,
    c: RouteStats,
) -> None:
    """
    Whoever reads the writers' keys in whatever order sees the same.
    """
    assert merge(a, merge(b, c)) == merge(merge(a, b), c)
    assert merge(a, b) == merge(b, a)
    assert merge(a, EMPTY) == a


@settings(max_examples=examples(150), deadline=None)
@given(stats)
def test_stats_pass_over_the_wire_unchanged(value: RouteStats) -> None:
    """
    What is encoded is decoded.
    """
    assert value == decode_stats(encode_stats(value))


@given(latencies)
def test_a_latency_is_counted_within_the_error_bound(latency_ms: float) -> None:
    """
    From 1 ms to 10 minutes.
    """
    found = quantile_ms({bucket_of(latency_ms): 1}, 0.5)

    assert found is not None
    assert abs(found - latency_ms) / latency_ms <= RELATIVE_ERROR_MAX + 1e-9 <= 0.1


@settings(deadline=None)
@given(st.lists(latencies, min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_a_quantile_is_within_the_error_bound_of_the_exact_one(sample: list[float], share: float) -> None:
    """
    By nearest rank, as one would count by hand.
    """
    exact = sorted(sample)[max(1, math.ceil(share * len(sample) - 1e-9)) - 1]
    histogram: dict[int, int] = {}
    for latency_ms in sample:
        histogram = added(histogram, {bucket_of(latency_ms): 1})

    found = quantile_ms(histogram, share)

    assert found is not None
    assert abs(found - exact) / exact <= RELATIVE_ERROR_MAX + 1e-9


def test_latencies_out_of_range_are_counted_at_its_ends() -> None:
    """
    Nothing is lost, nothing raises; an empty histogram has no quantile.
    """
    assert bucket_of(0.0) == bucket_of(-5.0) == 0
    assert bucket_of(10**9) == BUCKET_LAST
    assert quantile_ms({BUCKET_LAST + 50: 1}, 0.5) == quantile_ms({BUCKET_LAST: 1}, 0.5)
    assert quantile_ms({}, 0.5) is None
    assert mean_ms({}) is None


def test_fields_of_a_newer_writer_are_ignored_and_those_of_an_older_one_have_defaults() -> None:
    """
    During a rollout both versions write.
    """
    newer = msgspec.json.decode(encode_stats(RouteStats(windows={SECOND: SubWindow(ok=3)})))
    newer["format"] = 2
    newer["novelty"] = {"x": 1}
    newer["windows"][str(SECOND)]["novelty"] = [1]

    assert decode_stats(msgspec.json.encode(newer)).windows[SECOND].ok == 3
    assert decode_stats(b"{}") == RouteStats()


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"windows":{"x":{}}}', b'{"windows":{"1":{"ok":-1}}}', b"\xff"])
def test_what_is_no_stats_is_refused_with_one_kind_of_error(body: bytes) -> None:
    """
    A bad value in the bucket must not stop an orchestrator.
    """
    with pytest.raises(DecodeFailedError):
        decode_stats(body)


def test_only_penalised_failures_make_the_error_rate() -> None:
    """
    By the one table of failure kinds; an unknown kind counts, one that named a time to come back does not.
    """
    window = SubWindow(ok=5, failures={"timeout": 1, "refused": 2, "of_tomorrow": 1, "rate_limited": 1}, deferred=1)

    assert window.attempts == 10
    assert window.penalised == 2
    assert window.error_rate == 0.2
    assert SubWindow(cancelled=4).error_rate is None


def test_what_is_old_or_from_a_clock_that_runs_ahead_is_left_out() -> None:
    """
    The window slides; a writer with a wrong clock does not poison it.
    """
    seconds = (SECOND - SUB_WINDOWS_MAX, SECOND - SUB_WINDOWS_MAX + 1, SECOND, SECOND + 60)
    value = RouteStats(written_unix_ms=NOW, windows={second: SubWindow(ok=1) for second in seconds})

    assert list(fresh(value, NOW).windows) == [SECOND - SUB_WINDOWS_MAX + 1, SECOND]


def test_attempts_in_flight_do_not_age_between_two_values_of_their_writer() -> None:
    """
    They had that age when it wrote; most have ended since. Of a writer that is gone nothing is in flight.
    """
    start = (NOW - 200) // IN_FLIGHT_BIN_MS
    value = RouteStats(written_unix_ms=NOW, in_flight={start: 3})

    assert fresh(value, NOW).overdue(500, NOW) == 0
    later = fresh(value, NOW + 950)
    assert later.in_flight_count == 3
    assert later.overdue(500, NOW + 950) == 0
    assert value.overdue(500, NOW + 950) == 3
    assert fresh(value, NOW + STALE_AFTER_MS + 1).in_flight == {}


def test_the_row_of_failures_is_that_of_whoever_failed_last() -> None:
    """
    An orchestrator that saw failures long ago does not keep a breaker open.
    """
    old = RouteStats(failed_in_a_row=9, last_failure_unix_ms=NOW - 50)
    new = RouteStats(failed_in_a_row=1, last_failure_unix_ms=NOW)

    assert merge(old, new).failed_in_a_row == 1


def test_writers_are_put_together_by_route_and_by_model() -> None:
    """
    Three writers, two capabilities, one model.
    """
    classify, embed = RouteKey("p", "m", "classify"), RouteKey("p", "m", "embed")
    value = RouteStats(written_unix_ms=NOW, windows={SECOND: SubWindow(ok=1)})
    values = [(classify, value), (classify, value), (embed, value)]

    for order in permutations(values):
        merged = merge_by_route(order, NOW)
        assert merged[classify].total.ok == 2
        assert merged[embed].total.ok == 1
        assert merge_by_model(merged)["p", "m"].total.ok == 3
    assert reduce(merge, (each for _, each in values)).total.ok == 3


@pytest.mark.parametrize("model", ["llama3.1:8b", "m", "", "a.b>c*", "größe"])
def test_a_key_of_the_bucket_is_taken_apart_again(model: str) -> None:
    """
    Whatever a model is called.
    """
    route = RouteKey("ollama", model, "classify")

    key = stats_key(route, "orchestrator-1")

    assert len(key.split(".")) == 4
    assert parse_stats_key(key) == (route, "orchestrator-1")


@pytest.mark.parametrize("key", ["", "a.b.c", "a.b.c.d.e", "a..c.d", "a.=ZZ.c.d", "a.=E4.c.d", "a.ä.c.d"])
def test_a_foreign_key_is_no_stats_key(key: str) -> None:
    """
    Passed over, not raised.
    """
    assert parse_stats_key(key) is None
