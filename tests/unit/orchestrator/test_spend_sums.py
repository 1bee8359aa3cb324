"""The lines of `api.spend`: as many as one answer may add up, and the sum of all, whatever labels tasks have."""

from orchestrator.api.spend_handlers import SUMS_MAX, Sums


def test_lines_are_bounded_and_the_sum_is_of_all():
    """
    A label with another value in each entry costs no more memory than the bound; what was left out is told.
    """
    sums = Sums()
    for number in range(SUMS_MAX):
        sums.add((f"label-{number}",), (2, 1, 0))
    assert not sums.left_out
    for number in range(SUMS_MAX, SUMS_MAX + 3):
        sums.add((f"label-{number}",), (2, 1, 1))
    sums.add(("label-0",), (5, 1, 0))

    assert SUMS_MAX == len(sums.of)
    assert [7, 2, 0] == sums.of["label-0",]
    assert [2 * SUMS_MAX + 11, SUMS_MAX + 4, 3] == sums.all
    assert sums.left_out
