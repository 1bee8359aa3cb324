"""How many interactive tasks a second, against raw requests, with the same number in flight; and their CPU time."""

from typing import Final

from flotilla.cli.bench.cpu_time import CpuTime, cpu_figures, cpu_ratio
from flotilla.cli.bench.figures import Figure, ratio_of
from flotilla.cli.bench.responder import ECHO
from flotilla.cli.bench.stage import Stage
from flotilla.cli.bench.traffic import BODY_BYTES, closed_loop, fleet_request, raw_request, relayed_request

NAME: Final = "interactive_throughput"
AT_LEAST: Final = 0.2
STRETCH: Final = 0.35
IN_FLIGHT: Final = 64
ROUNDS: Final = 5
ROUND_S: Final = 0.6
RAW_ROLES: Final = ("nats", ECHO, "client")


async def measure(stage: Stage) -> list[Figure]:
    """Take ROUNDS rounds: raw, relayed and fleet in turn."""
    raw, relayed, fleet = raw_request(stage.raw), relayed_request(stage.raw), fleet_request(stage.caller)
    cpu = CpuTime(stage.pids)
    raw_cpu = CpuTime({role: {**stage.pids, **stage.raw_pids}[role] for role in RAW_ROLES})
    rounds: list[tuple[float, float, float]] = []
    for _ in range(ROUNDS):
        with raw_cpu.running():
            one_hop = await closed_loop(raw, in_flight=IN_FLIGHT, duration_s=ROUND_S)
        raw_cpu.tasks += len(one_hop.latencies_ms)
        two_hops = await closed_loop(relayed, in_flight=IN_FLIGHT, duration_s=ROUND_S)
        with cpu.running():
            tasks = await closed_loop(fleet, in_flight=IN_FLIGHT, duration_s=ROUND_S)
        cpu.tasks += len(tasks.latencies_ms)
        rounds.append((one_hop.per_s, two_hops.per_s, tasks.per_s))
    of_relay = ratio_of([(one_hop, two_hops) for one_hop, two_hops, _ in rounds])
    of_fleet = ratio_of([(one_hop, tasks) for one_hop, _, tasks in rounds])
    return [
        Figure(
            measurement=NAME,
            name="tasks a second, fleet / raw",
            value=of_fleet.value,
            unit="x",
            at_least=AT_LEAST,
            stretch=STRETCH,
            note=f"{IN_FLIGHT} in flight, {BODY_BYTES} bytes, {of_fleet.spread}",
        ),
        Figure(
            measurement=NAME,
            name="bare two hops / raw",
            value=of_relay.value,
            unit="x",
            note=f"a relay in place of the orchestrator, {of_relay.spread}",
        ),
        Figure(measurement=NAME, name="fleet", value=of_fleet.fleet, unit="/s"),
        Figure(measurement=NAME, name="raw", value=of_fleet.raw, unit="/s", note="nats-py request and reply"),
        cpu_ratio(NAME, raw=raw_cpu, fleet=cpu),
        *cpu_figures(NAME, cpu),
    ]
