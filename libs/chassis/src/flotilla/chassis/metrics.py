"""
Metrics in Prometheus form, cheap enough for the path that every task takes.

Instruments count in plain dictionaries; what Prometheus wants is put together when it asks. prometheus-client's own
counters take a lock and look labels up for every increment, several microseconds a task. Series are bounded: over
SERIES_MAX, label values become `other`.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from flotilla.fabric.per_item import ITEM_FAILURES
from flotilla.fabric.unreadable import UNREADABLE

SERIES_MAX: Final = 2000
OTHER: Final = "other"
SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
"""Bounds in seconds from a no-op engine's answer to a long generation."""
TOKENS: Final = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304)
"""The bounds that the OpenTelemetry GenAI conventions advise for token usage."""

Labels = tuple[str, ...]
Sample = tuple[Labels, float]


class Counter:
    """A number that only grows, by labels."""

    def __init__(self, name: str, text: str, labels: Sequence[str]) -> None:
        self._name = name
        self._text = text
        self._labels = tuple(labels)
        self._values: dict[Labels, float] = {}

    def add(self, labels: Labels, amount: float = 1) -> None:
        """Add to the series of these label values, which come in the order of the declaration."""
        values = self._values
        if labels in values:
            values[labels] += amount
        else:
            labels = labels if len(values) < SERIES_MAX else (OTHER,) * len(self._labels)
            values[labels] = values.get(labels, 0) + amount

    def metric(self) -> Metric:
        """As Prometheus wants it."""
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for labels, value in list(self._values.items()):
            family.add_metric(labels, value)
        return family


class Histogram:
    """A histogram, by labels."""

    def __init__(self, name: str, text: str, labels: Sequence[str], bounds: Sequence[float] = SECONDS) -> None:
        self._name = name
        self._text = text
        self._labels = tuple(labels)
        self._bounds = tuple(bounds)
        self._values: dict[Labels, list[float]] = {}

    def add(self, labels: Labels, value: float) -> None:
        """Take in one value."""
        counts = self._values.get(labels)
        if counts is None:
            if len(self._values) >= SERIES_MAX:
                labels = (OTHER,) * len(self._labels)
            counts = self._values.setdefault(labels, [0.0] * (len(self._bounds) + 2))
        counts[bisect_left(self._bounds, value)] += 1
        counts[-1] += value

    def metric(self) -> Metric:
        """As Prometheus wants it: cumulative buckets."""
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        for labels, counts in list(self._values.items()):
            total = 0.0
            buckets: list[tuple[str, float]] = []
            for bound, count in zip((*map(_bound, self._bounds), "+Inf"), counts[:-1], strict=True):
                total += count
                buckets.append((bound, total))
            family.add_metric(labels, buckets=buckets, sum_value=counts[-1])
        return family


class Gauge:
    """A number read when Prometheus asks, by labels; those over SERIES_MAX are told as one, their sum."""

    _family: type[GaugeMetricFamily | CounterMetricFamily] = GaugeMetricFamily

    def __init__(self, name: str, text: str, labels: Sequence[str], read: Callable[[], Iterable[Sample]]) -> None:
        self._name = name
        self._text = text
        self._labels = tuple(labels)
        self._read = read

    def metric(self) -> Metric:
        """As Prometheus wants it."""
        family = self._family(self._name, self._text, labels=self._labels)
        over: float | None = None
        for index, (labels, value) in enumerate(self._read()):
            if index < SERIES_MAX:
                family.add_metric(labels, value)
            else:
                over = (over or 0.0) + value
        if over is not None:
            family.add_metric((OTHER,) * len(self._labels), over)
        return family


class Total(Gauge):
    """A number that only grows and is counted elsewhere."""

    _family = CounterMetricFamily


Instrument = Counter | Histogram | Gauge


class Instruments(Collector):
    """The instruments of one service, to be registered."""

    def __init__(self, instruments: Iterable[Instrument]) -> None:
        self._instruments = tuple(instruments)

    def collect(self) -> Iterable[Metric]:
        """What a scrape gets: the series of every instrument, at this moment."""
        return [instrument.metric() for instrument in self._instruments]


def registry_of(*instruments: Instrument) -> CollectorRegistry:
    """
    A registry that holds these instruments and what every service has: messages that could not be read, items that
    could not be handled, and what the system says of the process (memory, CPU, open files).
    """
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    unreadable = Total(
        "flotilla_nats_unreadable_messages_total",
        "Messages from NATS that were dropped, by what could not be read.",
        ("reason",),
        lambda: [((reason,), float(count)) for reason, count in UNREADABLE.counts.items()],
    )
    failures = Total(
        "flotilla_item_failures_total",
        "Items that a loop over what comes from outside failed to handle, by loop; the others were handled.",
        ("loop",),
        lambda: [((loop,), float(count)) for loop, count in ITEM_FAILURES.counts.items()],
    )
    registry.register(Instruments((*instruments, unreadable, failures)))
    return registry


def _bound(bound: float) -> str:
    return str(float(bound))
