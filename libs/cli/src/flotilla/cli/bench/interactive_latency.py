"""
How much longer an interactive task takes than a raw request and reply: one at a time, the median.

A task makes two hops where the raw request makes one; what two bare hops take is told beside it, as the least that any
orchestrator in Python with this client could take.
"""

from typing import Final

from flotilla.cli.bench.figures import Figure, percentile, ratio_of
from flotilla.cli.bench.stage import Stage
from flotilla.cli.bench.traffic import BODY_BYTES, closed_loop, fleet_request, raw_request, relayed_request

NAME: Final = "interactive_latency"
AT_MOST: Final = 2.5
ROUNDS: Final = 13
ROUND_S: Final = 0.2
PERCENT: Final = 50


async def measure(stage: Stage) -> list[Figure]:
    """Take ROUNDS rounds: raw, relayed and fleet in turn."""
    requests = (raw_request(stage.raw), relayed_request(stage.raw), fleet_request(stage.caller))
    rounds: list[list[float]] = []
    for _ in range(ROUNDS):
        loops = [await closed_loop(request, in_flight=1, duration_s=ROUND_S) for request in requests]
        rounds.append([percentile(loop.latencies_ms, PERCENT) for loop in loops])
    relayed = ratio_of([(raw, relay) for raw, relay, _ in rounds])
    fleet = ratio_of([(raw, task) for raw, _, task in rounds])
    return [
        Figure(
            measurement=NAME,
            name="p50, fleet / raw",
            value=fleet.value,
            unit="x",
            at_most=AT_MOST,
            note=f"one in flight, {BODY_BYTES} bytes, {fleet.spread}",
        ),
        Figure(
            measurement=NAME,
            name="p50, bare two hops / raw",
            value=relayed.value,
            unit="x",
            note=f"a relay in place of the orchestrator, {relayed.spread}",
        ),
        Figure(measurement=NAME, name="p50, fleet", value=fleet.fleet, unit="ms"),
        Figure(measurement=NAME, name="p50, raw", value=fleet.raw, unit="ms", note="nats-py request and reply"),
    ]
