"""Instruments against prometheus-client's own: the same numbers, and a bound on the series."""

from collections.abc import Iterable

import prometheus_client
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from flotilla.chassis.metrics import OTHER, SECONDS, SERIES_MAX, TOKENS, Counter, Gauge, Histogram, registry_of
from flotilla.fabric.unreadable import UNREADABLE

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def _read(registry: CollectorRegistry, stem: str) -> Series:
    text = generate_latest(registry).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith(stem) and not sample.name.endswith("_created")
    }


def _sum(series: Series, name: str) -> float:
    return sum(value for (have, _), value in series.items() if have == name)


values = st.lists(
    st.tuples(st.sampled_from("ab"), st.one_of(st.sampled_from(SECONDS), st.floats(min_value=0, max_value=2000))),
    max_size=50,
)


@given(values)
def test_a_spread_counts_like_a_histogram_of_prometheus(taken: list[tuple[str, float]]):
    """
    Cumulative buckets, a value on a bound belonging to it; count and sum; a series per label.
    """
    ours = Histogram("took_seconds", "x", ("who",))
    theirs = CollectorRegistry()
    histogram = prometheus_client.Histogram("took_seconds", "x", ("who",), buckets=SECONDS, registry=theirs)
    for who, value in taken:
        ours.add((who,), value)
        histogram.labels(who).observe(value)

    assert _read(theirs, "took_") == _read(registry_of(ours), "took_")


@given(values)
def test_buckets_never_fall_and_end_at_the_count(taken: list[tuple[str, float]]):
    """
    What a query for a quantile rests on.
    """
    spread = Histogram("took_seconds", "x", (), bounds=TOKENS)
    for _, value in taken:
        spread.add((), value)

    read = _read(registry_of(spread), "took_")
    buckets = [value for (name, _), value in read.items() if name == "took_seconds_bucket"]
    assert buckets == sorted(buckets)
    assert (buckets[-1:] or [0.0]) == [_sum(read, "took_seconds_count")]
    assert _sum(read, "took_seconds_count") == len(taken)


def test_a_count_adds_up_by_labels():
    """
    Under the name that it was given, `_total` included.
    """
    count = Counter("eaten_total", "x", ("fruit", "by"))
    count.add(("pear", "me"))
    count.add(("pear", "me"), 2.5)
    count.add(("fig", "me"))

    assert {
        ("eaten_total", (("by", "me"), ("fruit", "pear"))): 3.5,
        ("eaten_total", (("by", "me"), ("fruit", "fig"))): 1.0,
    } == _read(registry_of(count), "eaten")


def test_labels_over_the_bound_become_other():
    """
    Nothing is lost from the sum, known series go on counting, and the series stay bounded.
    """
    count = Counter("eaten_total", "x", ("fruit",))
    spread = Histogram("took_seconds", "x", ("fruit",), bounds=(1,))
    asked = SERIES_MAX + 500
    for number in range(asked):
        count.add((f"fruit-{number}",))
        spread.add((f"fruit-{number}",), 0.5)
    count.add(("fruit-0",))

    read = _read(registry_of(count, spread), "")
    fruits = {dict(labels)["fruit"] for name, labels in read if name == "eaten_total"}
    assert SERIES_MAX + 1 == len(fruits)
    assert asked + 1 == _sum(read, "eaten_total")
    assert 2 == read["eaten_total", (("fruit", "fruit-0"),)]
    assert 500 == read["eaten_total", (("fruit", OTHER),)]
    assert 500 == read["took_seconds_count", (("fruit", OTHER),)]
    assert asked == _sum(read, "took_seconds_count")


def test_a_level_is_read_when_it_is_asked_for():
    """
    A series that is gone is not shown any more.
    """
    now = {"a": 1.0}

    def read() -> Iterable[tuple[tuple[str], float]]:
        return [((name,), value) for name, value in now.items()]

    registry = registry_of(Gauge("depth", "x", ("name",), read))
    before = _read(registry, "depth")
    now.clear()
    now["b"] = 2.0

    assert {("depth", (("name", "a"),)): 1.0} == before
    assert {("depth", (("name", "b"),)): 2.0} == _read(registry, "depth")


def test_label_values_of_any_kind_are_written_so_that_they_can_be_read():
    """
    A model may be called anything.
    """
    count = Counter("used_total", "x", ("model",))
    name = 'a"b\\c\nd{e="f"} ü'
    count.add((name,))

    assert {("used_total", (("model", name),)): 1.0} == _read(registry_of(count), "used")


def test_the_process_itself_is_measured():
    """
    Memory above all: that it stays flat is a promise.
    """
    assert _sum(_read(registry_of(), "process"), "process_resident_memory_bytes") > 1_000_000


def test_messages_that_could_not_be_read_are_counted_in_every_registry():
    """
    By what it was that could not be read.
    """
    before = _read(registry_of(), "flotilla_nats_unreadable")
    UNREADABLE.dropped("reply", "ask.>")

    read = _read(registry_of(), "flotilla_nats_unreadable")

    series = "flotilla_nats_unreadable_messages_total"
    assert {("reply", 1.0), ("subject", 0.0)} == {
        (labels[0][1], value - before[(name, labels)]) for (name, labels), value in read.items() if name == series
    }


def test_the_series_of_a_gauge_are_bounded():
    """
    However many label values come from outside: those beyond the bound are told as their sum.
    """
    held = [((f"name-{number}",), 2.0) for number in range(SERIES_MAX + 5)]
    series = _read(registry_of(Gauge("held_tasks", "x", ("capability",), lambda: held)), "held_tasks")

    assert SERIES_MAX + 1 == len(series)
    assert 10.0 == series["held_tasks", (("capability", OTHER),)]
