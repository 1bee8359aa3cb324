"""
The raw counterparts of a worker and of an orchestrator: `python -m flotilla.cli.bench.responder ROLE URL CREDS`.

The echo answers with what it was sent. The relay passes requests on to the echo and its replies back: the two hops that
every task makes, and nothing else. Processes of their own, as workers and orchestrators are; each says `ready` when
requests will be answered, and ends with its standard input.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from flotilla.cli.bench.children import child
from flotilla.cli.bench.fleets import admin_settings
from flotilla.cli.bench.loops import run_loop
from flotilla.cli.supervisor.supervisor import FleetFacts
from flotilla.contracts.names import ADMIN
from flotilla.fabric.connection import Connection, Message, connected
from flotilla.fabric.inbox import Inbox
from flotilla.fabric.unpatched_client import UnpatchedClient

ECHO_SUBJECT: Final = "bench.echo"
RELAY_SUBJECT: Final = "bench.relay"
ECHO: Final = "echo"
RELAY: Final = "relay"
READY: Final = b"ready\n"


async def respond(role: str, url: str, creds: str) -> None:
    """Answer until standard input ends."""
    async with connected(
        admin_settings(url, creds), name=f"flotilla bench {role}", client=UnpatchedClient
    ) as connection:
        await (_relay if role == RELAY else _echo)(connection)
        await connection.settle()
        sys.stdout.buffer.write(READY)
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.buffer.read)


async def _echo(connection: Connection) -> None:
    async def answer(message: Message) -> None:
        await connection.publish(message.reply, message.data)

    await connection.subscribe(ECHO_SUBJECT, answer)


async def _relay(connection: Connection) -> None:
    inbox = Inbox(connection, connection.inbox)
    await inbox.start()

    async def pass_on(message: Message) -> None:
        async def pass_back(reply: Message) -> None:
            inbox.close(way_back)
            await connection.publish(message.reply, reply.data)

        way_back = inbox.open(pass_back)
        await connection.publish(ECHO_SUBJECT, message.data, reply=way_back)

    await connection.subscribe(RELAY_SUBJECT, pass_on)


@asynccontextmanager
async def responding(facts: FleetFacts, role: str) -> AsyncGenerator[int]:
    """
    Run an ECHO or a RELAY while the block runs; gives its process id.

    Raises:
        BenchError: It did not come up.
    """
    arguments = (role, facts.url, facts.credentials[ADMIN])
    async with child("flotilla.cli.bench.responder", *arguments, name=f"the raw {role}") as (pid, _):
        yield pid


if __name__ == "__main__":
    run_loop(lambda: respond(*sys.argv[1:4]))
