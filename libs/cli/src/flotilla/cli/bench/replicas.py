"""Starts the timed replicas, waits until the fleet sees them, and collects what they counted."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from flotilla.cli.bench.errors import BenchError
from flotilla.cli.bench.timed_worker import READY, ZONE, Plan, Tally
from flotilla.cli.supervisor.supervisor import FleetFacts
from flotilla.contracts.api import FleetStatus
from flotilla.fabric.connection import Connection

READY_WITHIN_S: Final = 30.0
STOPPED_WITHIN_S: Final = 15.0
STATUS_TIMEOUT_S: Final = 2.0
STATUS_EVERY_S: Final = 0.05
STATUS_SUBJECT: Final = "api.status"

_decode_status: Final = msgspec.json.Decoder(FleetStatus).decode
_decode_tally: Final = msgspec.json.Decoder(Tally).decode


@asynccontextmanager
async def running_replicas(
    facts: FleetFacts, replicas: int, *, slots: int, processes: int, tallies: list[Tally]
) -> AsyncGenerator[list[int]]:
    """
    Run replicas, spread over processes, while the block runs; then add what each process counted to `tallies`.

    Gives the process ids.

    Raises:
        BenchError: One did not come up.
    """
    started: list[asyncio.subprocess.Process] = []
    try:
        for number in range(processes):
            plan = Plan(
                url=facts.url,
                creds=facts.credentials[ZONE],
                name=f"timed-{number}",
                replicas=(replicas - number + processes - 1) // processes,
                slots=slots,
            )
            started.append(await _start(plan))
        await asyncio.gather(*(_ready(process) for process in started))
        yield [process.pid for process in started]
        tallies += await asyncio.gather(*(_stop(process) for process in started))
    finally:
        for process in started:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def announced_slots(connection: Connection, slots: int) -> None:
    """
    Return when the orchestrator knows of all slots.

    Raises:
        BenchError: It does not within READY_WITHIN_S.
    """
    try:
        async with asyncio.timeout(READY_WITHIN_S):
            while True:
                reply = await connection.nc.request(STATUS_SUBJECT, b"", timeout=STATUS_TIMEOUT_S)
                pools = _decode_status(reply.data).pools
                if sum(pool.slots for pool in pools) >= slots and not any(pool.draining for pool in pools):
                    return
                await asyncio.sleep(STATUS_EVERY_S)
    except TimeoutError:
        raise BenchError(f"the fleet never had {slots} slots") from None


async def _start(plan: Plan) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "flotilla.cli.bench.timed_worker", msgspec.json.encode(plan).decode()),
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )


async def _ready(process: asyncio.subprocess.Process) -> None:
    if await _line(process, READY_WITHIN_S) != READY:
        raise BenchError("the replicas to be measured did not come up")


async def _stop(process: asyncio.subprocess.Process) -> Tally:
    process.terminate()
    try:
        return _decode_tally(await _line(process, STOPPED_WITHIN_S))
    except msgspec.MsgspecError:
        raise BenchError("a process of replicas did not say what it counted") from None


async def _line(process: asyncio.subprocess.Process, within_s: float) -> bytes:
    if process.stdout is None:
        return b""
    try:
        async with asyncio.timeout(within_s):
            return await process.stdout.readline()
    except TimeoutError:
        return b""
