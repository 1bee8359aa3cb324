"""
The raw counterpart of a worker: `python -m flotilla.client.bench.responder URL CREDS` echoes what it is sent.

A process of its own, as workers are. It says `ready` when requests will be answered, and ends with its standard input.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from flotilla.client.bench.errors import BenchError
from flotilla.client.bench.fleets import admin_settings
from flotilla.client.bench.loops import run_loop
from flotilla.client.supervisor.supervisor import FleetFacts
from flotilla.fabric.connection import Message, connected
from flotilla.fabric.roles import ADMIN

SUBJECT: Final = "bench.echo"
READY: Final = b"ready\n"
READY_WITHIN_S: Final = 20.0


async def respond(url: str, creds: str) -> None:
    """Echo until standard input ends."""
    async with connected(admin_settings(url, creds), name="flotilla bench responder") as connection:

        async def echo(message: Message) -> None:
            await connection.publish(message.reply, message.data)

        await connection.subscribe(SUBJECT, echo)
        await connection.settle()
        sys.stdout.buffer.write(READY)
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.buffer.read)


@asynccontextmanager
async def responding(facts: FleetFacts) -> AsyncGenerator[int]:
    """
    Run a responder while the block runs; gives its process id.

    Raises:
        BenchError: It did not come up.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "flotilla.client.bench.responder", facts.url, facts.credentials[ADMIN]),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    line = b""
    try:
        if process.stdout is not None:
            with contextlib.suppress(TimeoutError):
                line = await asyncio.wait_for(process.stdout.readline(), READY_WITHIN_S)
        if line != READY:
            raise BenchError("the raw responder did not come up")
        yield process.pid
    finally:
        # It holds nothing that would be lost.
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


if __name__ == "__main__":
    run_loop(lambda: respond(*sys.argv[1:3]))
