"""
What a pipeline costs: an asked run of three steps against one ask, and a durable run's step against a durable task.

The steps are the same no-op tasks, one after the other, so the ratio holds what a run adds: its plan, its steps' tasks and,
of a durable one, the results of the steps that are kept.
"""

from pathlib import Path
from typing import Final

from flotilla.cli.bench.durable_throughput import submit_all_s
from flotilla.cli.bench.figures import Figure, percentile, ratio_of
from flotilla.cli.bench.fleets import running_fleet, tenant
from flotilla.cli.bench.traffic import (
    REQUEST_TIMEOUT_S,
    Request,
    check_ok,
    classify_body,
    closed_loop,
    fleet_request,
)
from flotilla.fabric.connection import Connection

NAME: Final = "pipelines"
ASK_AT_MOST: Final = 3.3
STEP_AT_MOST: Final = 1.3
ASKED_STEPS: Final = 3
KEPT_STEPS: Final = 10
SLOTS: Final = 64
ROUNDS: Final = 9
ROUND_S: Final = 0.2
DURABLE_ROUNDS: Final = 3
RUNS: Final = 100
WARM_UP_S: Final = 1.0
PERCENT: Final = 50


async def measure(directory: Path) -> list[Figure]:
    """Take the rounds: a task and a pipeline in turn, first asked with one in flight, then durable."""
    files = directory / "capabilities"
    files.mkdir(parents=True)
    for steps in (ASKED_STEPS, KEPT_STEPS):
        (files / f"{_named(steps)}.toml").write_text(chain(steps))
    async with (
        running_fleet(directory, local=1, slots=SLOTS, capabilities=files) as facts,
        tenant(facts) as caller,
    ):
        one, run = fleet_request(caller), _run_request(caller)
        for request in (one, run):
            await closed_loop(request, in_flight=1, duration_s=WARM_UP_S)
        asked: list[tuple[float, float]] = []
        for _ in range(ROUNDS):
            loops = [await closed_loop(request, in_flight=1, duration_s=ROUND_S) for request in (one, run)]
            asked.append((percentile(loops[0].latencies_ms, PERCENT), percentile(loops[1].latencies_ms, PERCENT)))
        durable: list[tuple[float, float]] = []
        for _ in range(DURABLE_ROUNDS):
            task_s = await submit_all_s(caller, RUNS * KEPT_STEPS) / (RUNS * KEPT_STEPS)
            step_s = await submit_all_s(caller, RUNS, capability=_named(KEPT_STEPS)) / (RUNS * KEPT_STEPS)
            durable.append((task_s * 1000, step_s * 1000))
    return _figures(asked, durable)


def chain(steps: int) -> str:
    """A pipeline whose steps run one after the other, each on the caller's document."""
    lines = [f'name = "{_named(steps)}"', "[input]", 'type = "object"', 'required = ["document", "labels"]']
    for number in range(steps):
        lines += [f"[steps.s{number}]", 'capability = "classify"', "input = { document = "]
        lines[-1] += '"${input.document}", labels = "${input.labels}" }'
        if number:
            lines.append(f'needs = ["s{number - 1}"]')
    return "\n".join([*lines, "[output]", f'label = "${{steps.s{steps - 1}.label}}"', ""])


def _named(steps: int) -> str:
    return f"bench-{steps}-steps"


def _run_request(connection: Connection) -> Request:
    request, body, subject = connection.nc.request, classify_body(), f"ask.{_named(ASKED_STEPS)}"

    async def call() -> None:
        check_ok((await request(subject, body, timeout=REQUEST_TIMEOUT_S)).data)

    return call


def _figures(asked: list[tuple[float, float]], durable: list[tuple[float, float]]) -> list[Figure]:
    run, step = ratio_of(asked), ratio_of(durable)
    return [
        Figure(
            measurement=NAME,
            name=f"p50, asked run of {ASKED_STEPS} steps / one ask",
            value=run.value,
            unit="x",
            at_most=ASK_AT_MOST,
            note=f"one in flight, {run.spread}",
        ),
        Figure(measurement=NAME, name="p50, asked run", value=run.fleet, unit="ms"),
        Figure(
            measurement=NAME,
            name="durable step / durable task",
            value=step.value,
            unit="x",
            at_most=STEP_AT_MOST,
            note=f"{RUNS} runs of {KEPT_STEPS} steps, their results kept, {step.spread}",
        ),
        Figure(measurement=NAME, name="durable step", value=step.fleet, unit="ms", note="of all that run at a time"),
    ]
