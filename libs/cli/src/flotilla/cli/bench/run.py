"""The whole benchmark: which measurements there are, in which order, on which fleets."""

import asyncio
import platform
import tempfile
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final, cast

from flotilla.cli.bench import (
    balance,
    chat_throughput,
    durable_throughput,
    interactive_latency,
    interactive_throughput,
    memory,
    pipelines,
)
from flotilla.cli.bench.errors import BenchError
from flotilla.cli.bench.figures import Figure
from flotilla.cli.bench.loops import run_loop
from flotilla.cli.bench.machine import OtherLoad
from flotilla.cli.bench.report import Report
from flotilla.cli.bench.stage import Stage, staged
from flotilla.cli.bench.traffic import closed_loop, fleet_request

SLOTS: Final = 64
"""Of the one worker; with fewer than requests in flight, lines are measured and not the way through."""

WARM_UP_S: Final = 1.5
WHOLE_WITHIN_S: Final = 300.0

ON_STAGE: Final = {
    memory.NAME: memory.measure,
    interactive_latency.NAME: interactive_latency.measure,
    interactive_throughput.NAME: interactive_throughput.measure,
    durable_throughput.NAME: durable_throughput.measure,
}
SHAPES: Final = {shape.name: shape for shape in (balance.FEW_LARGE, balance.MANY_SMALL)}
OWN_FLEET: Final = {chat_throughput.NAME: chat_throughput.measure, pipelines.NAME: pipelines.measure}
MEASUREMENTS: Final = (*ON_STAGE, *OWN_FLEET, *SHAPES)

Say = Callable[[str], None]


def run(only: Collection[str], say: Say) -> Report:
    """
    Measure; every measurement when `only` is empty.

    Args:
        only: Names of MEASUREMENTS.
        say: Told what is being measured, a line at a time.

    Raises:
        BenchError: A fleet did not come up, answered wrongly, or everything took longer than WHOLE_WITHIN_S.
    """
    began = time.perf_counter()
    figures = run_loop(lambda: _within(only, say))
    return Report(
        figures=figures,
        took_s=time.perf_counter() - began,
        python=platform.python_version(),
        slots=SLOTS,
    )


async def _within(only: Collection[str], say: Say) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="flotilla-bench-") as directory:
        try:
            async with asyncio.timeout(WHOLE_WITHIN_S):
                return await _all(only, say, Path(directory))
        except TimeoutError:
            raise BenchError(f"the benchmark was not done within {WHOLE_WITHIN_S:g} s") from None
        except ExceptionGroup as group:
            # Many requests fail for one reason; a task group tells them all.
            found = group.subgroup(BenchError)
            raise (_first(found) if found is not None else _first(group)) from None


async def _all(only: Collection[str], say: Say, directory: Path) -> list[Figure]:
    wanted = [name for name in MEASUREMENTS if not only or name in only]
    figures: list[Figure] = []
    if any(name in ON_STAGE for name in wanted):
        async with staged(directory / "stage", slots=SLOTS) as stage:
            figures += await _on_stage(stage, [name for name in wanted if name in ON_STAGE], say)
    for name in wanted:
        if name in OWN_FLEET:
            say(name)
            figures += await OWN_FLEET[name](directory / name)
        if name in SHAPES:
            say(name)
            figures += await balance.measure(SHAPES[name], directory / name)
    return figures


async def _on_stage(stage: Stage, names: list[str], say: Say) -> list[Figure]:
    others = OtherLoad(stage)
    figures: list[Figure] = []
    if memory.NAME not in names:
        await closed_loop(fleet_request(stage.caller), in_flight=SLOTS, duration_s=WARM_UP_S)
    for name in names:
        say(name)
        figures += await ON_STAGE[name](stage)
    return figures + others.figures()


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseException", error.exceptions[0])
    return error
