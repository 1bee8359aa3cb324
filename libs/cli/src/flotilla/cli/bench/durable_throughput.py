"""
How many durable tasks a second, from the first submission to the last committed result, against raw JetStream.

Raw is what a plain worker does at best: a pull consumer on a file-backed work queue that is full already, batches
fetched, every message acknowledged. The fleet's time holds submission too, its acknowledgements awaited.
"""

import asyncio
import time
from typing import Any, Final

from flotilla.cli.bench.cpu_time import CpuTime, cpu_figures, cpu_ratio
from flotilla.cli.bench.errors import WrongAnswerError
from flotilla.cli.bench.figures import Figure, ratio_of
from flotilla.cli.bench.stage import Stage
from flotilla.cli.bench.traffic import (
    BODY_BYTES,
    check_ok,
    classify_body,
    publish_acknowledged,
)
from flotilla.fabric.connection import Connection, Message

NAME: Final = "durable_throughput"
AT_LEAST: Final = 0.15
STRETCH: Final = 0.3
ROUNDS: Final = 4
RAW_MESSAGES: Final = 10_000
TASKS: Final = 2_500
FETCHED_MAX: Final = 256
FETCH_TIMEOUT_S: Final = 5.0
RESULTS_WITHIN_S: Final = 60.0
RAW_ROLES: Final = ("nats", "client")

_STREAM: Final = "BENCH"
_SUBJECT: Final = "bench.tasks"


async def measure(stage: Stage) -> list[Figure]:
    """Take ROUNDS rounds, raw and fleet in turn."""
    await make_raw_stream(stage.raw)
    cpu = CpuTime(stage.pids)
    raw_cpu = CpuTime({role: stage.pids[role] for role in RAW_ROLES})
    pairs: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        await publish_acknowledged(stage.raw, _SUBJECT, classify_body(), RAW_MESSAGES)
        with raw_cpu.running():
            raw_per_s = RAW_MESSAGES / await pull_all_s(stage.raw, RAW_MESSAGES)
        raw_cpu.tasks += RAW_MESSAGES
        with cpu.running():
            fleet_per_s = TASKS / await submit_all_s(stage.caller, TASKS)
        cpu.tasks += TASKS
        pairs.append((raw_per_s, fleet_per_s))
    ratio = ratio_of(pairs)
    return [
        Figure(
            measurement=NAME,
            name="submit to committed result, fleet / raw",
            value=ratio.value,
            unit="x",
            at_least=AT_LEAST,
            stretch=STRETCH,
            note=f"{BODY_BYTES} bytes, {ratio.spread}",
        ),
        Figure(measurement=NAME, name="fleet", value=ratio.fleet, unit="/s", note="submission included"),
        Figure(measurement=NAME, name="raw", value=ratio.raw, unit="/s", note="JetStream pull and ack"),
        cpu_ratio(NAME, raw=raw_cpu, fleet=cpu),
        *cpu_figures(NAME, cpu),
    ]


async def make_raw_stream(connection: Connection) -> Any:
    """Make the raw work queue, on file as the fleet's; gives nats-py's JetStream context."""
    jetstream: Any = connection.nc.jetstream()  # pyright: ignore[reportUnknownMemberType]  # untyped options
    await jetstream.add_stream(name=_STREAM, subjects=[_SUBJECT], retention="workqueue")
    return jetstream


async def pull_all_s(connection: Connection, count: int) -> float:
    """How long it takes to pull and acknowledge what the raw stream holds, in seconds."""
    jetstream: Any = connection.nc.jetstream()  # pyright: ignore[reportUnknownMemberType]  # untyped options
    subscription = await jetstream.pull_subscribe(_SUBJECT, durable="bench", stream=_STREAM)
    left = count
    began = time.perf_counter()
    while left:
        for message in await subscription.fetch(min(FETCHED_MAX, left), timeout=FETCH_TIMEOUT_S):
            await message.ack()
            left -= 1
    elapsed_s = time.perf_counter() - began
    await subscription.unsubscribe()
    return elapsed_s


async def submit_all_s(connection: Connection, count: int, *, capability: str = "classify") -> float:
    """
    Submit tasks, all with the input of `classify`, and await their committed results.

    Gives the seconds from the first submission to the last result.

    Raises:
        WrongAnswerError: A task failed, or not all results came within RESULTS_WITHIN_S.
    """
    results: dict[str, bytes] = {}
    complete = asyncio.Event()

    async def on_result(message: Message) -> None:
        results[message.subject] = message.data
        if len(results) == count:
            complete.set()

    subscription = await connection.subscribe(f"results.{capability}.*", on_result)
    await connection.settle()
    began = time.perf_counter()
    try:
        await publish_acknowledged(connection, f"tasks.{capability}", classify_body(), count)
        async with asyncio.timeout(RESULTS_WITHIN_S):
            await complete.wait()
        elapsed_s = time.perf_counter() - began
    except TimeoutError:
        raise WrongAnswerError(f"{len(results)} of {count} results came within {RESULTS_WITHIN_S:g} s") from None
    finally:
        await subscription.unsubscribe()
    for body in results.values():
        check_ok(body)
    return elapsed_s
