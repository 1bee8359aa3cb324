"""Whether two clocks agree, by one question and its answer."""

import pytest

from flotilla.cli.doctor import CLOCK_OFFSET_MAX_S, clock


@pytest.mark.parametrize(
    ("orchestrator_s", "asked_at_s", "answered_at_s", "state"),
    [
        (100.0, 100.0, 100.1, "ok"),
        (100.0 + CLOCK_OFFSET_MAX_S, 100.0, 100.0, "ok"),
        # A slow answer says nothing of the clocks.
        (130.0, 100.0, 160.0, "ok"),
        (103.0, 100.0, 100.0, "wrong"),
        (97.0, 100.0, 100.0, "wrong"),
        (97.0, 100.0, 500.0, "wrong"),
    ],
)
def test_a_clock_that_is_off_is_found(orchestrator_s: float, asked_at_s: float, answered_at_s: float, state: str):
    """
    In either direction, and never for a slow network.
    """
    found = clock(orchestrator_s, asked_at_s, answered_at_s)

    assert (state, state == "wrong") == (found.state, "timedatectl" in found.mend)
