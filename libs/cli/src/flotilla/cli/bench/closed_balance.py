"""
How well load finds free slots while some are always free: a fixed number of tasks in flight, fewer than there are slots.

Nobody has to wait then: the ideal fleet begins every task at once.
"""

import asyncio
import time
from typing import Final

import msgspec
from msgspec import Struct

from flotilla.cli.bench.figures import Figure, percentile
from flotilla.cli.bench.traffic import ASK_SUBJECT, check_ok, classify_body
from flotilla.fabric.connection import Connection

MAKESPAN_AT_MOST: Final = 1.05
WAIT_MS_AT_MOST: Final = 10.0
FREE_SLOTS: Final = 3
SERVICE_S: Final = 0.1
TASKS_PER_LOOP: Final = 40
BODY_BYTES: Final = 256
ANSWER_WITHIN_S: Final = 60.0


class _Result(Struct):
    """What is read of a result."""

    queued_ms: float = 0.0


_decode: Final = msgspec.json.Decoder(_Result).decode


def tasks_of(slots: int) -> int:
    """How many tasks are asked."""
    return (slots - FREE_SLOTS) * TASKS_PER_LOOP


async def figures_of(connection: Connection, name: str, *, slots: int) -> list[Figure]:
    """
    Keep all slots but FREE_SLOTS busy for a while; `name` is the measurement's.

    Raises:
        WrongAnswerError: A task failed.
    """
    in_flight = slots - FREE_SLOTS
    body = classify_body(BODY_BYTES, text=f"{SERVICE_S:.6f} ")
    waits_ms: list[float] = []

    async def loop() -> None:
        for _ in range(TASKS_PER_LOOP):
            reply = await connection.nc.request(ASK_SUBJECT, body, timeout=ANSWER_WITHIN_S)
            check_ok(reply.data)
            waits_ms.append(_decode(reply.data).queued_ms)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(loop())
    took_s = time.perf_counter() - began
    note = f"{in_flight} in flight over {slots} slots, {SERVICE_S * 1000:.0f} ms each, {len(waits_ms)} tasks"
    return [
        Figure(
            measurement=name,
            name="closed loop, makespan / ideal",
            value=took_s / (TASKS_PER_LOOP * SERVICE_S),
            unit="x",
            at_most=MAKESPAN_AT_MOST,
            note=note,
        ),
        Figure(
            measurement=name,
            name="closed loop, largest wait",
            value=max(waits_ms),
            unit="ms",
            at_most=WAIT_MS_AT_MOST,
            note=f"for a slot; the median waits {percentile(waits_ms, 50):.1f} ms",
        ),
    ]
