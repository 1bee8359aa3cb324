"""How much longer an interactive task takes than a raw request and reply: one at a time, the median."""

from typing import Final

from flotilla.client.bench.figures import Figure, percentile, ratio_of
from flotilla.client.bench.stage import Stage
from flotilla.client.bench.traffic import BODY_BYTES, closed_loop, fleet_request, raw_request

NAME: Final = "interactive_latency"
AT_MOST: Final = 2.5
ROUNDS: Final = 15
ROUND_S: Final = 0.25
PERCENT: Final = 50


async def measure(stage: Stage) -> list[Figure]:
    """Take ROUNDS rounds, raw and fleet in turn."""
    raw, fleet = raw_request(stage.raw), fleet_request(stage.caller)
    pairs: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        before = await closed_loop(raw, in_flight=1, duration_s=ROUND_S)
        after = await closed_loop(fleet, in_flight=1, duration_s=ROUND_S)
        pairs.append((percentile(before.latencies_ms, PERCENT), percentile(after.latencies_ms, PERCENT)))
    ratio = ratio_of(pairs)
    return [
        Figure(
            measurement=NAME,
            name="p50, fleet / raw",
            value=ratio.value,
            unit="x",
            at_most=AT_MOST,
            note=f"one in flight, {BODY_BYTES} bytes, {ratio.spread}",
        ),
        Figure(measurement=NAME, name="p50, fleet", value=ratio.fleet, unit="ms"),
        Figure(measurement=NAME, name="p50, raw", value=ratio.raw, unit="ms", note="nats-py request and reply"),
    ]
