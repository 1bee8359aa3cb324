"""Every process of the fleet is replaced under load, as a rollout does: the new one first, then the old one leaves."""

import asyncio
import time
from pathlib import Path

from flotilla.testkit.callers import Callers, calling, committed
from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.fleet_process import FleetProcess

SLOTS = 4
LATENCY_MS = 20.0
CALM_S = 1.5


async def test_replacing_every_process_under_load_fails_no_task(tmp_path: Path):
    """
    Durable and interactive callers notice nothing: no error, no missing responder, no lost answer, exit codes 0.
    """
    async with running_fleet(tmp_path, orchestrators=2, local=2, slots=SLOTS, latency_ms=LATENCY_MS) as fleet:
        async with calling(fleet, durable_per_s=30.0, askers=4) as callers:
            await asyncio.sleep(CALM_S)
            began = time.monotonic()
            calm_ms = callers.ask_ms(0.99)
            codes = [await _replace_orchestrator(fleet, old) for old in tuple(fleet.orchestrators)]
            codes += [await _replace_worker(fleet, old) for old in tuple(fleet.workers)]
            took_s = time.monotonic() - began
        stored = await committed(fleet, len(callers.accepted_at))
        logs = [process.log_text() for process in fleet.processes]

    _say(callers, began, took_s, calm_ms)
    assert codes == [0] * 4
    assert callers.outcomes == {"ok": len(callers.asked)}
    assert callers.unacknowledged == {}
    assert stored == (len(callers.accepted_at), len(callers.accepted_at))
    assert not [line for log in logs for line in log.splitlines() if '"level": "error"' in line]


async def _replace_orchestrator(fleet: RunningFleet, old: FleetProcess) -> int:
    await fleet.start_orchestrator()
    old.terminate()
    return await old.wait()


async def _replace_worker(fleet: RunningFleet, old: FleetProcess) -> int:
    await fleet.start_worker(slots=SLOTS, latency_ms=LATENCY_MS)
    old.terminate()
    return await old.wait()


def _say(callers: Callers, began: float, took_s: float, calm_ms: float) -> None:
    print(  # noqa: T201  (the figures are worth a look)
        f"\nrolling replacement of 4 processes in {took_s:.1f} s: {len(callers.asked)} asks, p50 "
        f"{callers.ask_ms(0.5, began):.0f} ms, p99 {callers.ask_ms(0.99, began):.0f} ms (before: p99 {calm_ms:.0f} ms); "
        f"{len(callers.accepted_at)} durable tasks; longest pause of asks {callers.ask_pause_s(began) * 1000:.0f} ms, "
        f"of results {callers.result_pause_s(began) * 1000:.0f} ms"
    )
