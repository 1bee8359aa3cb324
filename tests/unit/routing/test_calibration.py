"""The threshold of a cascade from recorded pairs."""

import random

import pytest

from flotilla.routing.calibration import PAIRS_MIN, Pair, calibrate, rate_high


def pairs_of(rng: random.Random, count: int) -> list[Pair]:
    """The surer, the more often right: a confidence of c agrees with the probability c."""
    drawn = (rng.random() for _ in range(count))
    return [Pair(confidence, rng.random() < confidence) for confidence in drawn]


def true_agreement(confidence_min: float) -> float:
    """Of `pairs_of`: what is below is asked for again and agrees; above, a share of 1 - c does not."""
    return 1.0 - (1.0 - confidence_min) ** 2 / 2.0


def test_the_wanted_agreement_is_kept_on_further_traffic():
    """
    In all but the stated share of calibrations: the rest of the traffic is known here.
    """
    rng = random.Random(1)
    found = [calibrate(pairs_of(rng, 500), 0.95) for _ in range(200)]

    missed = sum(true_agreement(each.confidence_min) < 0.95 for each in found)

    assert missed <= 0.05 * 200 + 6
    assert all(each.is_met and each.agreement_low >= 0.95 for each in found)
    assert all(0.0 < each.escalated < 0.95 for each in found)


def test_more_pairs_find_a_lower_threshold():
    """
    It nears the one that would just do.
    """
    rng = random.Random(2)
    few, many = (calibrate(pairs_of(rng, count), 0.95) for count in (200, 20_000))

    assert many.confidence_min < few.confidence_min
    assert 1.0 - 0.1**0.5 == pytest.approx(many.confidence_min, abs=0.03)


def test_a_cheap_model_that_is_sure_and_wrong_has_no_threshold():
    """
    Then every task is escalated.
    """
    found = calibrate([Pair(0.99, agrees=False)] * 100, 0.97)

    assert (False, 1.0, 1.0) == (found.is_met, found.escalated, found.agreement)


def test_pairs_of_one_confidence_stay_together():
    """
    A threshold cannot tell them apart.
    """
    pairs = [Pair(0.9, agrees=True)] * 300 + [Pair(0.5, agrees=True)] * 50 + [Pair(0.5, agrees=False)] * 50

    found = calibrate(pairs, 0.97)

    assert (0.9, 0.25, 1.0) == (found.confidence_min, found.escalated, found.agreement)


@pytest.mark.parametrize(("events", "count", "expected"), [(0, 100, 0.02951), (5, 100, 0.10225), (50, 1000, 0.06286)])
def test_the_bound_on_a_rate_is_that_of_clopper_and_pearson(events: int, count: int, expected: float):
    """
    As tables have it, at 95 in a hundred.
    """
    assert expected == pytest.approx(rate_high(events, count, 0.05), abs=2e-5)


def test_few_pairs_are_refused():
    """
    Nothing could be said of them.
    """
    with pytest.raises(ValueError, match="at least"):
        calibrate([Pair(0.9, agrees=True)] * (PAIRS_MIN - 1), 0.9)
