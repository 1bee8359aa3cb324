"""A latency that lies at a guard: the worst place for a route, which must not flap there."""

import asyncio
import itertools
import time
from pathlib import Path

from flotilla.client import Fleet
from flotilla.testkit.fleet import running_fleet
from flotilla.testkit.steady_load import steady_load
from flotilla.testkit.steered_worker import Steering, start_steered

RATE_HZ = 25.0
RETURN_AFTER_S = 1.5
WATCHED_S = 20.0
POLICY = f"""
[default]
routes = [{{ pool = "local" }}, {{ pool = "cloud" }}]
guards = {{ p95_ms = 200 }}
return_after_s = {RETURN_AFTER_S}
ramp_s = 0.5
"""


async def test_a_route_at_its_guard_does_not_flap(tmp_path: Path):
    """
    It moves once in each direction per `return_after_s` at most, and no task fails.
    """
    standings: list[tuple[float, str]] = []
    async with running_fleet(tmp_path, local=0) as fleet, Fleet.connect(fleet.url) as api:
        home, away = Steering(tmp_path / "home.json", latency_ms=185), Steering(tmp_path / "away.json", latency_ms=20)
        await asyncio.gather(start_steered(fleet, home, "local"), start_steered(fleet, away, "cloud"))
        await api.policy.set(POLICY)
        async with steady_load(await fleet.client(), RATE_HZ) as load:
            began = time.monotonic()
            for turn in itertools.count():
                if time.monotonic() >= began + WATCHED_S:
                    break
                home.set(latency_ms=185 if turn % 2 else 215)
                standing = next(
                    (each.standing for each in (await api.stats()).routes if each.pool == "local"), "settled"
                )
                if not standings or standings[-1][1] != standing:
                    standings.append((time.monotonic(), standing))
                await asyncio.sleep(0.1)

    assert load.failed == []
    left = [at for at, standing in standings if standing == "left"]
    back = [at for at, standing in standings if standing == "returning"]
    assert left, "at its guard it is left at some time"
    for moves in (left, back):
        assert all(later - earlier >= RETURN_AFTER_S for earlier, later in itertools.pairwise(moves))
