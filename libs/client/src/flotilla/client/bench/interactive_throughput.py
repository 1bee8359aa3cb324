"""How many interactive tasks a second, against raw requests, with the same number in flight; and their CPU time."""

from typing import Final

from flotilla.client.bench.cpu_time import CpuTime, cpu_figures
from flotilla.client.bench.figures import Figure, ratio_of
from flotilla.client.bench.stage import Stage
from flotilla.client.bench.traffic import BODY_BYTES, closed_loop, fleet_request, raw_request

NAME: Final = "interactive_throughput"
AT_LEAST: Final = 0.2
STRETCH: Final = 0.35
IN_FLIGHT: Final = 64
ROUNDS: Final = 5
ROUND_S: Final = 0.8


async def measure(stage: Stage) -> list[Figure]:
    """Take ROUNDS rounds, raw and fleet in turn."""
    raw, fleet = raw_request(stage.raw), fleet_request(stage.caller)
    cpu = CpuTime(stage.pids)
    pairs: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        before = await closed_loop(raw, in_flight=IN_FLIGHT, duration_s=ROUND_S)
        with cpu.running():
            after = await closed_loop(fleet, in_flight=IN_FLIGHT, duration_s=ROUND_S)
        cpu.tasks += len(after.latencies_ms)
        pairs.append((before.per_s, after.per_s))
    ratio = ratio_of(pairs)
    return [
        Figure(
            measurement=NAME,
            name="tasks a second, fleet / raw",
            value=ratio.value,
            unit="x",
            at_least=AT_LEAST,
            stretch=STRETCH,
            note=f"{IN_FLIGHT} in flight, {BODY_BYTES} bytes, {ratio.spread}",
        ),
        Figure(measurement=NAME, name="fleet", value=ratio.fleet, unit="/s"),
        Figure(measurement=NAME, name="raw", value=ratio.raw, unit="/s", note="nats-py request and reply"),
        *cpu_figures(NAME, cpu),
    ]
