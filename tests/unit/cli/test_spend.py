"""What `flotilla spend` shows."""

from flotilla.cli.commands.spend import budget_rows_of, rows_of, usd_of
from flotilla.contracts.api_spend import BudgetStanding, Spend, SpendLine


def test_dollars_are_shown_to_the_micro_dollar() -> None:
    """
    Sums of lines are the sum that is shown.
    """
    assert [usd_of(micros) for micros in (0, 1, 1_250_000, 1_234_567_890_123, -500_000)] == [
        "0.000000",
        "0.000001",
        "1.250000",
        "1,234,567.890123",
        "-0.500000",
    ]


def test_a_row_says_what_has_no_price() -> None:
    """
    And nothing where all have one.
    """
    lines = [
        SpendLine(key=["openai"], usd_micros=1_500_000, entries=1_200),
        SpendLine(key=["local"], usd_micros=0, entries=2, unpriced=2),
    ]
    found = Spend(by=("pool",), lines=lines, usd_micros=1_500_000, entries=1_202, unpriced=2)

    assert rows_of(found) == [("openai", "1.500000", "1,200", ""), ("local", "0.000000", "2", "2")]


def test_a_budget_says_what_is_left_of_it() -> None:
    """
    Below nothing where it was lowered; and where nobody knows, that.
    """
    budgets = [
        BudgetStanding(name="team", period="2026-11", usd_micros=25_000_000, used_usd_micros=24_000_001),
        BudgetStanding(name="low", period="2026-11-29", usd_micros=1, used_usd_micros=3, mode="report"),
        BudgetStanding(name="away", period="2026-11-29", usd_micros=1, used_usd_micros=None),
    ]
    found = Spend(by=("pool",), lines=[], usd_micros=0, entries=0, budgets=budgets)

    assert budget_rows_of(found) == [
        ("team", "2026-11", "25.000000", "24.000001", "0.999999", "enforce"),
        ("low", "2026-11-29", "0.000001", "0.000003", "-0.000002", "report"),
        ("away", "2026-11-29", "0.000001", "unknown", "unknown", "enforce"),
    ]
