"""
What a second attempt beside a slow one is worth: p99 with hedging and without, where one replica in ten is slow.

Run it by itself: `python tests/bench/bench_routing_hedging.py`. Nine replicas answer at once and one takes its time; the
second attempt goes to another pool. It fails when hedging does not halve the p99, or makes more calls than its share.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

from flotilla.cli.replay.figures import nearest_rank
from flotilla.client import Fleet
from flotilla.contracts.subjects import Zone
from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.plain_client import BODIES
from flotilla.testkit.scripted_worker import Line, ScriptedWorker, finished, scripted_worker

ASKS = 300
IN_FLIGHT = 4
ROUNDS = 2
FAST_S, SLOW_S = 0.02, 2.0
REPLICAS = 10
AFTER_MS, SHARE_MAX = 400, 0.2
P99_MAX = 0.5
POLICY = """
[capabilities.classify]
routes = [{ pool = "home" }, { pool = "spare" }]
"""
HEDGED = f"{POLICY}hedge = {{ after_ms = {AFTER_MS}, share_max = {SHARE_MAX} }}\n"


class Row(NamedTuple):
    """How long tasks took in ms, and how many calls each had."""

    p50_ms: float
    p99_ms: float
    calls: float


def answers(after_s: float) -> Any:
    """A script: an answer after so long."""

    def script(_request: dict[str, Any]) -> Sequence[Line]:
        return [{"type": "accepted"}, after_s, finished({"label": BODIES["classify"]["labels"][0], "confidence": 1.0})]

    return script


async def in_force(fleet: Fleet, policy: str) -> None:
    """Set a policy, and wait until it is followed."""
    revision = (await fleet.policy.set(policy)).revision
    while (await fleet.explain("classify")).policy_revision != revision:
        await asyncio.sleep(0.05)


async def measured(fleet: Fleet, workers: Sequence[ScriptedWorker]) -> Row:
    """So many tasks, some at a time."""
    places, took = asyncio.Semaphore(IN_FLIGHT), list[float]()
    before = sum(len(worker.requests) for worker in workers)

    async def one() -> None:
        async with places:
            began = time.perf_counter()
            await fleet.ask("classify", BODIES["classify"])
            took.append((time.perf_counter() - began) * 1000)

    await asyncio.gather(*(one() for _ in range(ASKS)))
    took.sort()
    calls = sum(len(worker.requests) for worker in workers) - before
    return Row(nearest_rank(took, 0.5), nearest_rank(took, 0.99), calls / ASKS)


async def workers_of(running: RunningFleet, stack: AsyncExitStack) -> list[ScriptedWorker]:
    """Ten replicas at home, one of which is slow, and one to spare."""
    found: list[ScriptedWorker] = []
    for place in range(REPLICAS + 1):
        pool = "home" if place < REPLICAS else "spare"
        client = await running.connect(running.server.worker("local", pool))
        script = answers(SLOW_S if place == 0 else FAST_S)
        worker = scripted_worker(
            client, script, pool=pool, replica=f"{pool}-{place}", capabilities=("classify",), slots=4 * IN_FLIGHT
        )
        found.append(await stack.enter_async_context(worker))
    await running.until_replicas({f"home-{place}" for place in range(REPLICAS)} | {f"spare-{REPLICAS}"})
    return found


async def main() -> int:
    """Print the figures; 1 when hedging is not worth it."""
    plain: list[Row] = []
    hedged: list[Row] = []
    with tempfile.TemporaryDirectory() as directory:
        pools: tuple[tuple[Zone, str], ...] = (("local", "home"), ("local", "spare"))
        async with AsyncExitStack() as stack:
            running = await stack.enter_async_context(running_fleet(Path(directory), local=0, pools=pools))
            fleet = await stack.enter_async_context(Fleet.connect(running.url))
            workers = await workers_of(running, stack)
            for _ in range(ROUNDS):
                for policy, rows in ((POLICY, plain), (HEDGED, hedged)):
                    await in_force(fleet, policy)
                    rows.append(await measured(fleet, workers))
    for name, rows in (("alone", plain), ("hedged", hedged)):
        for row in rows:
            sys.stdout.write(
                f"{name:7} p50 {row.p50_ms:5.0f} ms   p99 {row.p99_ms:5.0f} ms   {row.calls - 1:6.1%} more calls\n"
            )
    ratio = max(row.p99_ms for row in hedged) / min(row.p99_ms for row in plain)
    more = max(row.calls for row in hedged) - 1
    sys.stdout.write(
        f"p99 hedged / alone {ratio:.2f}, at most {P99_MAX:g}; more calls {more:.1%}, at most {SHARE_MAX:.0%}\n"
    )
    return 0 if ratio <= P99_MAX and more <= SHARE_MAX else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
