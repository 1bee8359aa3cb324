"""What may be said of two arms, however often somebody looks."""

import random
from collections.abc import Callable
from math import sqrt
from statistics import fmean, variance

import pytest

from flotilla.contracts.experiments import Moments
from flotilla.routing.confidence_sequence import (
    LEVEL_DEFAULT,
    TASKS_MIN,
    boundary,
    difference,
    proportion,
)

RUNS = 10_000
LOOKS = 100
BATCH = 64
Z = 1.96

Batch = Callable[[random.Random], int]
"""How many of `BATCH` tasks went well."""


def half(rng: random.Random) -> int:
    return rng.getrandbits(BATCH).bit_count()


def most(rng: random.Random) -> int:
    """Seven in eight."""
    return (rng.getrandbits(BATCH) | rng.getrandbits(BATCH) | rng.getrandbits(BATCH)).bit_count()


def reported(rng: random.Random, first: Batch, second: Batch, *, spread: float) -> tuple[bool, bool]:
    """Whether a run that is looked at again and again ends with a difference: by the sequence, and by a plain z-test."""
    ones = others = count = 0
    by_z = False
    for _ in range(LOOKS):
        ones, others, count = ones + first(rng), others + second(rng), count + BATCH
        # Two standard errors that are a third too small: no boundary is nearer, so most looks need no more.
        if abs(ones - others) < 1.4 * spread * sqrt(2 * count):
            continue
        one, other = ones / count, others / count
        by_z = by_z or abs(one - other) > Z * sqrt((one * (1 - one) + other * (1 - other)) / count)
        found = difference(proportion(ones, count), proportion(others, count))
        if found is not None and found.is_certain:
            return True, by_z
    return False, by_z


def test_of_ten_thousand_runs_without_a_difference_fewer_report_one_than_the_level_says():
    """
    Each is looked at a hundred times; a plain z-test stops a third of them falsely.
    """
    rng = random.Random(7)

    ends = [reported(rng, half, half, spread=0.5) for _ in range(RUNS)]

    assert fmean(by_sequence for by_sequence, _ in ends) <= LEVEL_DEFAULT
    assert fmean(by_z for _, by_z in ends) > 0.3


def test_rates_near_one_are_no_exception():
    """
    Nor are so few tasks that hardly any of them failed.
    """
    rng = random.Random(8)

    ends = [reported(rng, most, most, spread=sqrt(7) / 8) for _ in range(1_000)]

    assert fmean(by_sequence for by_sequence, _ in ends) <= LEVEL_DEFAULT


def test_a_planted_difference_is_found():
    """
    Seven in eight against a half within the first looks.
    """
    rng = random.Random(9)

    assert all(reported(rng, half, most, spread=0.5)[0] for _ in range(50))


def test_the_interval_holds_the_true_difference():
    """
    Of means of any quantity; what is added up from two orchestrators is what one would have seen.
    """
    rng = random.Random(10)
    values = [[rng.expovariate(1.0) for _ in range(4_000)], [rng.expovariate(0.5) for _ in range(1_000)]]
    first, second = (
        Moments(count=len(each), total=sum(each), squares=sum(value * value for value in each)) for each in values
    )
    parts = [Moments(count=1, total=value, squares=value * value) for value in values[1]]

    found = difference(first, second)

    assert found is not None
    assert found.low < 1.0 < found.high
    assert found.is_certain
    assert variance(values[0]) == pytest.approx(first.variance)
    assert second.total == pytest.approx(sum(parts, Moments()).total)
    assert second.count == sum(parts, Moments()).count


def test_nothing_is_said_of_few_tasks_or_of_values_that_are_all_the_same():
    """
    The interval is at least as wide as one task could make it.
    """
    few = proportion(TASKS_MIN - 1, TASKS_MIN - 1)
    same = difference(proportion(TASKS_MIN, TASKS_MIN), proportion(TASKS_MIN, TASKS_MIN))

    assert difference(few, proportion(0, 1_000)) is None
    assert same is not None
    assert same.low < 0.0 < same.high
    assert difference(Moments(count=100), Moments(count=100)) == (0.0, 0.0, 0.0)


def test_the_interval_is_wider_than_one_for_a_single_look():
    """
    At any number of tasks.
    """
    assert all(boundary(count, LEVEL_DEFAULT) > 2.6 for count in (1, 10, 100, 1_000, 10_000, 10_000_000))
    assert boundary(100, 0.01) > boundary(100, 0.05)
