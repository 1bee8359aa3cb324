"""The lines of `api.spend`: as many as one answer may add up, and the sum of all, whatever labels tasks have."""

import pytest

from orchestrator.api.spend_handlers import SUMS_MAX, Sums
from orchestrator.economy.ledger_walk import DAYS_MAX, days_back


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


@pytest.mark.parametrize(
    ("until", "since", "days"),
    [
        ("2026-03-01", "2026-02-27", ["2026-03-01", "2026-02-28", "2026-02-27"]),
        ("2026-03-01", "2026-03-01", ["2026-03-01"]),
        ("2026-03-01", "2026-03-02", []),
        ("2026-02-30", "2026-02-01", []),
        ("0001-01-02", "0001-01-01", ["0001-01-02"]),
    ],
)
def test_the_newest_day_is_read_first(until: str, since: str, days: list[str]):
    """
    What looks like a day and is none has none.
    """
    assert days == list(days_back(until, since))


def test_no_more_days_are_looked_at_than_a_ledger_has():
    """
    Each of them is a question to the server.
    """
    assert DAYS_MAX == len(list(days_back("9999-12-31", "0001-01-01")))
