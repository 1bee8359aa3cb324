"""
What routing by a policy adds to an asked task: the same fleet with and without one, in turns, in one run.

Run it by itself: `python tests/bench/bench_routing_overhead.py`. The budget is a tenth of the median.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

from flotilla.client import Fleet
from flotilla.fabric.keyvalue import DELETED
from flotilla.testkit.fleet import running_fleet
from flotilla.testkit.plain_client import BODIES

ASKS = 300
ROUNDS = 8
WARM = 300
SHARE_MAX = 0.10
SETTLE_S = 0.7
POLICY = """
[default]
routes = [{ pool = "local" }, { pool = "cloud" }]
guards = { p95_ms = 2000, error_rate = 0.3 }
"""


async def median_us(fleet: Fleet, asks: int) -> float:
    """The median of so many tasks, one after the other."""
    took: list[float] = []
    for _ in range(asks):
        began = time.perf_counter()
        await fleet.ask("classify", BODIES["classify"])
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1e6


async def main() -> int:
    """Print the figures; 1 when a policy adds more than its budget."""
    without: list[float] = []
    ruled: list[float] = []
    with tempfile.TemporaryDirectory() as directory:
        async with running_fleet(Path(directory), local=1, cloud=1) as running, Fleet.connect(running.url) as fleet:
            admin = await running.admin()
            await median_us(fleet, WARM)
            for _ in range(ROUNDS):
                await admin.nc.publish("$KV.policy.routing", headers=DELETED)
                await asyncio.sleep(SETTLE_S)
                without.append(await median_us(fleet, ASKS))
                await fleet.policy.set(POLICY)
                await asyncio.sleep(SETTLE_S)
                ruled.append(await median_us(fleet, ASKS))
    # Of pairs that lie next to each other in time: what else the machine does weighs on both alike.
    added = statistics.median(one / other - 1 for one, other in zip(ruled, without, strict=True))
    sys.stdout.write(f"{'no policy':10} {statistics.median(without):7.0f} us an asked task (median)\n")
    sys.stdout.write(f"{'policy':10} {statistics.median(ruled):7.0f} us an asked task (median)\n")
    sys.stdout.write(f"{'adds':10} {added:7.1%}, at most {SHARE_MAX:.0%}\n")
    return 1 if added > SHARE_MAX else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
