"""Which share of the tasks each arm gets."""

import random

import pytest

from flotilla.routing.thompson import Arm, propensities


def test_the_better_arm_gets_most_and_no_arm_less_than_the_floor():
    """
    The shares are the propensities: they add up to 1.
    """
    shares = propensities([Arm(900, 100), Arm(500, 500), Arm(10, 990)], random.Random(1), floor=0.05)

    assert 1.0 == pytest.approx(sum(shares))
    assert [0.9, 0.05, 0.05] == pytest.approx(shares)


def test_arms_of_which_nothing_is_known_share_alike():
    """
    And a floor above an equal share is an equal share.
    """
    assert [0.5, 0.5] == pytest.approx(propensities([Arm(), Arm()], random.Random(2)), abs=0.05)
    assert [0.25] * 4 == propensities([Arm(9, 1), *[Arm()] * 3], random.Random(3), floor=0.9)
    assert [] == propensities([], random.Random(4))


def test_tasks_move_to_the_better_arm_and_the_weighted_mean_stays_true():
    """
    Of a simulated run in which shares are worked out anew every fifty tasks and each choice is logged with its own.
    """
    rng = random.Random(5)
    truth = (0.6, 0.8)
    arms = [Arm(), Arm()]
    logged: list[tuple[int, bool, float]] = []
    for _ in range(100):
        shares = propensities(arms, rng, floor=0.1)
        for _ in range(50):
            arm = 0 if rng.random() < shares[0] else 1
            went_well = rng.random() < truth[arm]
            logged.append((arm, went_well, shares[arm]))
            known = arms[arm]
            arms[arm] = Arm(known.successes + went_well, known.failures + (not went_well))

    late = [arm for arm, *_ in logged[-1_000:]]
    weighted = [sum(well / share for arm, well, share in logged if arm == each) / len(logged) for each in (0, 1)]

    assert late.count(1) > 800
    assert list(truth) == pytest.approx(weighted, abs=0.06)
