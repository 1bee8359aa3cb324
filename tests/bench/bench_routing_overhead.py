"""
What a policy adds to an asked task, without limits and with: the same fleet with and without them, in turns, in one run.

Run it by itself: `python tests/bench/bench_routing_overhead.py`. The budget is a tenth of the median. What limits, budgets,
the cache, hedges, shadows and experiments of other capabilities and pools add to a task that none of them concerns is told
against the same policy without them, in median and in the orchestrator's CPU time.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from flotilla.cli.bench.cpu_time import CpuTime
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
RATES = f"{POLICY}\n[limits.all]\nrequests_per_minute = 1000000\ntokens_per_minute = 1000000000\n"
BUDGET = f"{POLICY}\n[budgets.all]\nusd = 100000\nper = 'month'\nreserve_usd = 0.01\n"
ELSEWHERE = f"""{POLICY}
[limits.other]
capabilities = ["translate"]
requests_per_minute = 100
concurrent_requests = 8
[budgets.other]
usd = 10
per = "day"
pools = ["other"]
[budgets.team]
usd = 10
per = "day"
labels = {{ team = "marketing" }}
[capabilities.translate]
cache = {{ ttl_s = 86400 }}
hedge = {{ after = "p95" }}
shadow = {{ pool = "cloud", share = 0.1 }}
[capabilities.summarize]
strategy = "consensus"
[capabilities.reason]
strategy = "split"
routes = [{{ pool = "local", weight = 9 }}, {{ pool = "cloud", weight = 1 }}]
"""
RULED = {"policy": POLICY, "rates": RATES, "budget": BUDGET, "elsewhere": ELSEWHERE}


async def median_us(work: Callable[[], Awaitable[object]], times: int) -> float:
    """The median of so many calls, one after the other."""
    took: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        await work()
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1e6


async def main() -> int:
    """Print the figures; 1 when a policy without limits and budgets adds more than its share."""
    without: list[float] = []
    ruled: dict[str, list[float]] = {name: [] for name in RULED}
    cpu_us: dict[str, list[float]] = {name: [] for name in RULED}
    with tempfile.TemporaryDirectory() as directory:
        async with running_fleet(Path(directory), local=1, cloud=1) as running, Fleet.connect(running.url) as fleet:
            pids = {"orchestrator": [each.pid for each in running.orchestrators]}
            admin, counting = await running.admin(), await running.connect(running.server.orchestrator())

            async def ask() -> object:
                return await fleet.ask("classify", BODIES["classify"])

            async def count() -> object:
                return await counting.nc.request("counter.budget.bench.2026-01", headers={"Nats-Incr": "+1"}, timeout=5)

            await median_us(ask, WARM)
            for _ in range(ROUNDS):
                await admin.nc.publish("$KV.policy.routing", headers=DELETED)
                await asyncio.sleep(SETTLE_S)
                without.append(await median_us(ask, ASKS))
                for name, policy in RULED.items():
                    await fleet.policy.set(policy)
                    await asyncio.sleep(SETTLE_S)
                    cpu = CpuTime(pids)
                    with cpu.running():
                        ruled[name].append(await median_us(ask, ASKS))
                        cpu.tasks += ASKS
                    cpu_us[name].append(cpu.of_all_us())
            round_trip_us = await median_us(count, ASKS)
    sys.stdout.write(f"{'no policy':10} {statistics.median(without):7.0f} us an asked task (median)\n")
    # Of pairs that lie next to each other in time: what else the machine does weighs on both alike.
    added = {
        name: statistics.median(one / other - 1 for one, other in zip(took, without, strict=True))
        for name, took in ruled.items()
    }
    for name, took in ruled.items():
        spent_us = statistics.median(cpu_us[name])
        sys.stdout.write(
            f"{name:10} {statistics.median(took):7.0f} us, adds {added[name]:7.1%}; orchestrator CPU {spent_us:5.0f} us\n"
        )
    pairs = [(ruled["elsewhere"], ruled["policy"]), (cpu_us["elsewhere"], cpu_us["policy"])]
    median_x, cpu_x = (
        statistics.median(one / other for one, other in zip(took, plain, strict=True)) for took, plain in pairs
    )
    sys.stdout.write(f"elsewhere / policy: {median_x:.3f} of the median, {cpu_x:.3f} of the CPU time\n")
    sys.stdout.write(f"{'a counter':10} {round_trip_us:7.0f} us: of a budget an attempt waits for one\n")
    sys.stdout.write(f"a policy without limits and budgets may add {SHARE_MAX:.0%}\n")
    return 1 if added["policy"] > SHARE_MAX else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
