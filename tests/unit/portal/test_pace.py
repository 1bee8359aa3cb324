"""When a turn is due: nobody waits for the first thing after a pause, and nobody is sent more than the bound."""

import asyncio

import pytest

from portal.live.pace import Pace

NEVER_S = 3600.0
WAIT_S = 60.0
SHORT_S = 0.05


async def test_what_happens_after_a_pause_is_due_at_once_and_what_follows_it_is_not():
    """
    However long a turn must last.
    """
    pace = Pace(turn_s_min=NEVER_S, pause_s_max=2 * NEVER_S)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pace.due(), SHORT_S)
    pace.happened()
    await asyncio.wait_for(pace.due(), WAIT_S)
    pace.happened()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pace.due(), SHORT_S)


async def test_a_turn_is_due_though_nothing_happens():
    """
    Figures grow old by themselves. However often something happens, turns are as far apart as they must be.
    """
    clock_s = asyncio.get_running_loop().time
    pace = Pace(turn_s_min=SHORT_S, pause_s_max=2 * SHORT_S)
    began_s = clock_s()
    for _ in range(3):
        await asyncio.wait_for(pace.due(), WAIT_S)
    assert clock_s() - began_s >= 4 * SHORT_S

    began_s = clock_s()
    for _ in range(4):
        pace.happened()
        await asyncio.wait_for(pace.due(), WAIT_S)
    assert clock_s() - began_s >= 3 * SHORT_S
