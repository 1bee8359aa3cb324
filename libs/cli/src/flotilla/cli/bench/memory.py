"""Resident memory after few tasks and after ten times as many; it also warms the fleet up."""

import asyncio
from typing import Final

from flotilla.cli.bench.durable_throughput import submit_all_s
from flotilla.cli.bench.figures import Figure
from flotilla.cli.bench.processes import rss_mib
from flotilla.cli.bench.stage import Stage
from flotilla.cli.bench.traffic import fleet_request

NAME: Final = "memory"
FEW: Final = 2_000
MANY: Final = 20_000
IN_FLIGHT: Final = 64
DURABLE_SHARE: Final = 0.25
ROLES: Final = ("orchestrator", "local")


async def measure(stage: Stage) -> list[Figure]:
    """Do MANY tasks, a share of them durable, and look at FEW and at the end."""
    pids = {role: stage.pids[role] for role in ROLES}
    await _do(stage, FEW)
    few_mib = rss_mib(pids)
    await _do(stage, MANY - FEW)
    many_mib = rss_mib(pids)
    figures: list[Figure] = []
    for role in ROLES:
        figures += [
            Figure(measurement=NAME, name=f"RSS, {role}, {FEW:,} tasks", value=few_mib[role], unit="MiB"),
            Figure(
                measurement=NAME,
                name=f"RSS, {role}, {MANY:,} tasks",
                value=many_mib[role],
                unit="MiB",
                note=f"{many_mib[role] - few_mib[role]:+.1f} MiB",
            ),
        ]
    return figures


async def _do(stage: Stage, tasks: int) -> None:
    durable = int(tasks * DURABLE_SHARE)
    left = tasks - durable
    request = fleet_request(stage.caller)

    async def one_after_the_other() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await request()

    async with asyncio.TaskGroup() as group:
        for _ in range(IN_FLIGHT):
            group.create_task(one_after_the_other())
    await submit_all_s(stage.caller, durable)
