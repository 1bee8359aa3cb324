"""Increments that wait: whose they are decides what is lost when there are too many, and who is next."""

import pytest

from flotilla.contracts import subjects
from orchestrator.economy import unsent_counts
from orchestrator.economy.unsent_counts import WAITING_MAX, Later, UnsentCounts


def entry(scope: str, number: int = 0) -> Later:
    """One of a scope's ledger."""
    return Later(subjects.ledger(scope, "2026-11-29", "local", "m"), 1, f"spend.{scope}.{number}", {}, 0.0)


def test_a_flood_of_one_scope_costs_another_neither_room_nor_time():
    """
    However much of one waits, and another's comes last.
    """
    waiting = UnsentCounts()
    taken_in = sum(waiting.enter(entry("flood", number)) for number in range(WAITING_MAX + 1))
    entered = waiting.enter(entry("other"))

    assert taken_in < WAITING_MAX
    assert entered
    assert ["spend.flood.0", "spend.other.0"] == [each.message_id for each in waiting.take(2)]


def test_of_many_lines_each_has_its_part(monkeypatch: pytest.MonkeyPatch):
    """
    All together are bounded: ten lines may hold as much as `Shares` says.
    """
    monkeypatch.setattr(unsent_counts, "WAITING_MAX", 100)
    monkeypatch.setattr(unsent_counts, "WAITING_PER_LINE_MAX", 50)
    waiting = UnsentCounts()
    taken_in = [sum(waiting.enter(entry(f"s{scope}", number)) for number in range(100)) for scope in range(10)]

    assert all(taken_in), taken_in
    assert len(waiting) == sum(taken_in) <= 100 * sum(1 / each for each in range(1, 11))


def test_what_is_sent_again_goes_before_what_has_come_since_and_keeps_its_room(monkeypatch: pytest.MonkeyPatch):
    """
    Only what is over leaves room for more.
    """
    monkeypatch.setattr(unsent_counts, "WAITING_PER_LINE_MAX", 3)
    waiting = UnsentCounts()
    for number in range(3):
        assert waiting.enter(entry("a", number))
    taken = waiting.take(2)
    full = not waiting.enter(entry("a", 3))
    waiting.over(taken[0])
    waiting.put_back(taken[1:])

    assert full
    assert waiting.enter(entry("a", 3))
    assert ["1", "2", "3"] == [each.message_id.rsplit(".", 1)[1] for each in waiting.take(9)]


def test_each_counter_is_a_line_and_each_scope_is_whatever_its_pools_and_models():
    """
    Models are many, and their names come from workers.
    """
    lines = {
        later.line
        for later in (
            entry("a"),
            Later(subjects.ledger("a", "2026-11-30", "cloud", "n"), 1, "i", {}, 0.0),
            entry("b"),
            Later(subjects.budget_counter("x", "2026-11"), 1, "i", {}, 0.0),
            Later(subjects.budget_counter("y", "2026-11"), 1, "i", {}, 0.0),
        )
    }
    assert len(lines) == 4
