"""
How well load finds free slots: the makespan of an open-loop run against that of one ideal line, and requests per task.

Tasks arrive by a Poisson process whether or not those before them are done; their service times are planned, and the
arrivals as they really happened are played through the ideal line with the same times.
"""

import asyncio
import os
import time
from pathlib import Path
from typing import Final

from msgspec import Struct

from flotilla.cli.bench import closed_balance
from flotilla.cli.bench.cpu_time import CpuTime, cpu_figures
from flotilla.cli.bench.figures import Figure, percentile
from flotilla.cli.bench.fleets import running_fleet, tenant
from flotilla.cli.bench.queue_simulation import Job, finish_times_s, makespan_s, mean_stay_s, poisson_jobs
from flotilla.cli.bench.replicas import announced_slots, running_replicas
from flotilla.cli.bench.timed_worker import WARM_UP, Tally, requests_sent
from flotilla.cli.bench.traffic import ASK_SUBJECT, check_ok, classify_body
from flotilla.fabric.connection import Connection

MAKESPAN_AT_MOST: Final = 1.05
REQUESTS_AT_MOST: Final = 2.0
SERVICE_S: Final = (0.2, 0.4)
DURATION_S: Final = 8.0
SEED: Final = 20
BODY_BYTES: Final = 256
ANSWER_WITHIN_S: Final = 60.0
WARM_UP_TASKS: Final = 128
WARM_UP_S: Final = 0.02
MS_PER_S: Final = 1000


class Shape(Struct, frozen=True, kw_only=True):
    """
    One way to lay out a pool.

    Attributes:
        load: The arrivals' share of the slots' capacity.
        processes: That the replicas are spread over.
    """

    replicas: int
    slots: int
    load: float
    processes: int

    @property
    def name(self) -> str:
        """Such as `balance_4x8`."""
        return f"balance_{self.replicas}x{self.slots}"


FEW_LARGE: Final = Shape(replicas=4, slots=8, load=0.90, processes=4)
MANY_SMALL: Final = Shape(replicas=64, slots=1, load=0.95, processes=2)


async def measure(shape: Shape, directory: Path) -> list[Figure]:
    """Run a fleet of this shape of its own, and put load on it."""
    jobs = poisson_jobs(
        slots=shape.replicas * shape.slots,
        load=shape.load,
        duration_s=DURATION_S,
        service_s=SERVICE_S,
        seed=SEED,
    )
    tallies: list[Tally] = []
    async with (
        running_fleet(directory, local=0, slots=1) as facts,
        tenant(facts) as connection,
        running_replicas(facts, shape.replicas, slots=shape.slots, processes=shape.processes, tallies=tallies) as pids,
    ):
        await announced_slots(connection, shape.replicas * shape.slots)
        await _warm_up(connection)
        cpu = CpuTime({**facts.pids, "replicas": pids, "client": [os.getpid()]})
        with cpu.running():
            happened, ends_s = await open_loop(connection, jobs)
        cpu.tasks = len(jobs)
        closed = await closed_balance.figures_of(connection, shape.name, slots=shape.replicas * shape.slots)
    ideal_s = finish_times_s(happened, shape.replicas * shape.slots)
    requests = requests_sent(tallies) / (len(jobs) + closed_balance.tasks_of(shape.replicas * shape.slots))
    return [*_figures(shape, happened, ends_s, ideal_s, requests), *closed, *cpu_figures(shape.name, cpu)]


async def open_loop(connection: Connection, jobs: list[Job]) -> tuple[list[Job], list[float]]:
    """
    Ask for each job's task at its time; gives the jobs as they really arrived, and when each was answered.

    Raises:
        WrongAnswerError: A task failed.
    """
    sent_s: list[float] = []
    ends_s = [0.0] * len(jobs)
    began = time.perf_counter()
    request = connection.nc.request

    async def ask(index: int, service_s: float) -> None:
        body = classify_body(BODY_BYTES, text=f"{service_s:.6f} ")
        reply = await request(ASK_SUBJECT, body, timeout=ANSWER_WITHIN_S)
        ends_s[index] = time.perf_counter() - began
        check_ok(reply.data)

    async with asyncio.TaskGroup() as group:
        for index, job in enumerate(jobs):
            ahead_s = job.arrives_s - (time.perf_counter() - began)
            if ahead_s > 0:
                await asyncio.sleep(ahead_s)
            sent_s.append(time.perf_counter() - began)
            group.create_task(ask(index, job.service_s))
    happened = [Job(arrives_s=at_s, service_s=job.service_s) for at_s, job in zip(sent_s, jobs, strict=True)]
    return happened, ends_s


async def _warm_up(connection: Connection) -> None:
    body = classify_body(BODY_BYTES, text=f"{WARM_UP_S} ")

    async def ask(number: int) -> None:
        headers = {"Nats-Msg-Id": f"{WARM_UP}{number}"}
        check_ok((await connection.nc.request(ASK_SUBJECT, body, ANSWER_WITHIN_S, headers=headers)).data)

    for first in range(0, WARM_UP_TASKS, 8):
        await asyncio.gather(*(ask(number) for number in range(first, first + 8)))


def _figures(
    shape: Shape, happened: list[Job], ends_s: list[float], ideal_s: list[float], requests: float
) -> list[Figure]:
    makespan = makespan_s(happened, ends_s) / makespan_s(happened, ideal_s)
    where = f"{shape.replicas} replicas x {shape.slots} slots in {shape.processes} processes"
    late_ms = [(end - ideal) * MS_PER_S for end, ideal in zip(sorted(ends_s), sorted(ideal_s), strict=True)]
    return [
        Figure(
            measurement=shape.name,
            name="makespan / ideal",
            value=makespan,
            unit="x",
            at_most=MAKESPAN_AT_MOST,
            note=f"{where}, {shape.load:.0%} load, Poisson, {len(happened)} tasks of "
            f"{SERVICE_S[0] * MS_PER_S:.0f} to {SERVICE_S[1] * MS_PER_S:.0f} ms",
        ),
        Figure(
            measurement=shape.name,
            name="requests per task",
            value=requests,
            at_most=REQUESTS_AT_MOST,
            note="refused ones included, from the orchestrator's attempt numbers",
        ),
        Figure(
            measurement=shape.name,
            name="mean stay / ideal",
            value=mean_stay_s(happened, ends_s) / mean_stay_s(happened, ideal_s),
            unit="x",
            note="from arrival to answer; the ideal line takes no time on the way",
        ),
        Figure(measurement=shape.name, name="behind the ideal, p50", value=percentile(late_ms, 50), unit="ms"),
        Figure(measurement=shape.name, name="behind the ideal, largest", value=max(late_ms), unit="ms"),
    ]
