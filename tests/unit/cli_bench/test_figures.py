"""Bounds, ratios and percentiles."""

import math

import pytest

from flotilla.cli.bench.figures import Figure, all_hold, percentile, ratio_of


def figure(value: float, *, at_most: float | None = None, at_least: float | None = None) -> Figure:
    return Figure(measurement="m", name="n", value=value, at_most=at_most, at_least=at_least)


@pytest.mark.parametrize(
    ("value", "at_most", "at_least", "holds"),
    [
        (2.5, 2.5, None, True),
        (2.51, 2.5, None, False),
        (0.2, None, 0.2, True),
        (0.19, None, 0.2, False),
        (1.0, None, None, True),
        (math.nan, 2.5, None, False),
        (math.nan, None, 0.2, False),
    ],
)
def test_a_bound_holds_up_to_its_own_value(
    value: float, at_most: float | None, at_least: float | None, *, holds: bool
) -> None:
    """
    NaN, which compares with nothing, holds no bound.
    """
    assert figure(value, at_most=at_most, at_least=at_least).holds is holds


def test_a_stretch_goal_that_is_missed_is_no_failure() -> None:
    """
    It is what comes later.
    """
    reached = Figure(measurement="m", name="n", value=0.25, at_least=0.2, stretch=0.35)

    assert reached.holds


def test_one_missed_bound_among_many_is_a_miss() -> None:
    """
    --check must not average.
    """
    held = figure(1.0, at_most=2.0)

    assert all_hold([held, figure(7.0)])
    assert not all_hold([held, figure(3.0, at_most=2.0), held])


def test_a_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    """
    A round in which the whole machine was slow has the same ratio as a quick one; the ratio of the medians would not.
    """
    ratio = ratio_of([(1.0, 2.0), (10.0, 20.0), (2.0, 6.0), (3.0, 9.0), (20.0, 40.0)])

    assert ratio.value == 2.0
    assert (ratio.raw, ratio.fleet) == (3.0, 9.0)
    assert (ratio.least, ratio.most) == (2.0, 3.0)
    assert ratio.spread == "rounds 2.00 to 3.00"


@pytest.mark.parametrize("pairs", [[], [(0.0, 1.0)], [(1.0, 1.0), (-1.0, 1.0)]])
def test_a_ratio_of_nothing_is_refused(pairs: list[tuple[float, float]]) -> None:
    """
    A raw measurement of zero means that it did not run.
    """
    with pytest.raises(ValueError, match="positive raw value"):
        ratio_of(pairs)


@pytest.mark.parametrize(
    ("percent", "expected"), [(50, 3.0), (20, 1.0), (21, 2.0), (90, 5.0), (100, 5.0), (0.001, 1.0)]
)
def test_a_percentile_is_a_value_that_was_measured(percent: float, expected: float) -> None:
    """
    By nearest rank, of values in any order.
    """
    assert percentile([4.0, 1.0, 5.0, 3.0, 2.0], percent) == expected


@pytest.mark.parametrize(("values", "percent"), [([], 50), ([1.0], 0), ([1.0], 101)])
def test_a_percentile_that_makes_no_sense_is_refused(values: list[float], percent: float) -> None:
    """
    No values, or a percentage out of range.
    """
    with pytest.raises(ValueError, match="expected values"):
        percentile(values, percent)
