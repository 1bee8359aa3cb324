"""How much of an orchestrator's time a scope's messages may take to be read."""

import time

import pytest

from orchestrator.state.reading_time import (
    AHEAD_MAX_S,
    ALONE_AFTER_S,
    BYTES_PER_S,
    COUNTED_BYTES_MIN,
    SHARE,
    ReadingTime,
)

SECOND_BYTES = BYTES_PER_S
HALF_BYTES = SECOND_BYTES // 2


class _Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_who_takes_its_share_is_never_held_off():
    """
    However long: half a second of each two seconds, in one piece.
    """
    clock = _Clock()
    reading = ReadingTime(("acme", "evil"), clock)

    for _ in range(100):
        reading.arrived("acme", HALF_BYTES)
        assert reading.held_off_s("acme") == 0.0
        clock.now_s += 0.5 / SHARE


def test_who_takes_more_is_held_off_until_half_of_that_has_passed():
    """
    And nobody else is.
    """
    clock = _Clock()
    reading = ReadingTime(("acme", "evil"), clock)

    reading.arrived("acme", 1)
    reading.arrived("evil", 2 * SECOND_BYTES)

    held_off_s = (2.0 - AHEAD_MAX_S / 2) / SHARE
    assert pytest.approx(held_off_s) == reading.held_off_s("evil")
    assert reading.held_off_s("acme") == 0.0
    clock.now_s += held_off_s + 0.001
    assert reading.held_off_s("evil") == 0.0
    reading.arrived("acme", 1)
    reading.arrived("evil", HALF_BYTES - SECOND_BYTES // 100)
    assert reading.held_off_s("evil") == 0.0
    reading.arrived("evil", SECOND_BYTES // 50)
    assert reading.held_off_s("evil") > 0.0


def test_over_time_a_flood_takes_its_share():
    """
    Whatever is sent as soon as it may be, it is read for a quarter of the time.
    """
    clock = _Clock()
    began_s = clock.now_s
    reading = ReadingTime(("acme", "evil"), clock)
    took_s = 0.0
    while clock.now_s < began_s + 1000:
        reading.arrived("acme", 1)
        reading.arrived("evil", HALF_BYTES)
        took_s += 0.5
        clock.now_s += 0.5 + reading.held_off_s("evil")

    assert took_s / (clock.now_s - began_s) == pytest.approx(SHARE, rel=0.05)


def test_what_takes_long_is_counted_however_small_it_is(monkeypatch: pytest.MonkeyPatch):
    """
    By the CPU time of this thread, also where it is refused; what is too small for that by nothing.
    """
    cpu_s = iter((0.0, 1.5, 10.0, 11.5))
    monkeypatch.setattr(time, "thread_time", lambda: next(cpu_s))
    reading = ReadingTime(("acme", "evil"), _Clock())
    reading.arrived("acme", 1)
    reading.arrived("evil", 1)

    def refuse() -> None:
        raise ValueError

    assert reading.measured("evil", COUNTED_BYTES_MIN - 1, lambda: 7) == 7
    assert reading.held_off_s("evil") == 0.0
    assert reading.measured("evil", COUNTED_BYTES_MIN, lambda: 7) == 7
    assert reading.held_off_s("evil") > 0.0
    with pytest.raises(ValueError):  # noqa: PT011  (its own)
        reading.measured("acme", COUNTED_BYTES_MIN, refuse)
    assert reading.held_off_s("acme") > 0.0


def test_who_is_alone_may_take_all_of_it():
    """
    There is nobody whom it would keep waiting.
    """
    reading = ReadingTime(("acme",), _Clock())

    reading.arrived("acme", 100 * SECOND_BYTES)

    assert reading.held_off_s("acme") == 0.0


def test_who_is_alone_for_a_while_may_take_all_of_it_meanwhile():
    """
    Until another sends again, however little; and what was taken before that is not held against it.
    """
    clock = _Clock()
    reading = ReadingTime(("acme", "busy"), clock)
    reading.arrived("acme", 1)
    clock.now_s += ALONE_AFTER_S + 1

    for _ in range(100):
        reading.arrived("busy", SECOND_BYTES)
        assert reading.held_off_s("busy") == 0.0
        clock.now_s += 1.0
    reading.arrived("acme", 1)
    assert reading.held_off_s("busy") == 0.0
    reading.arrived("busy", SECOND_BYTES)

    assert 0.0 < reading.held_off_s("busy") < 10.0
