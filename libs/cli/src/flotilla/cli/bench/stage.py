"""What the measurements on one running fleet share."""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec import Struct

from flotilla.cli.bench.fleets import admin, running_fleet, tenant
from flotilla.cli.bench.responder import ECHO, RELAY, responding
from flotilla.cli.supervisor.supervisor import FleetFacts
from flotilla.fabric.connection import Connection


class Stage(Struct, frozen=True, kw_only=True):
    """
    A fleet and the raw responders on the same server.

    Attributes:
        caller: Calls the fleet, as a tenant without credentials.
        raw: Calls the responders, in the fleet's own account.
        pids: Of everything that a task passes, this process as `client`.
        raw_pids: Of what only raw requests pass.
    """

    facts: FleetFacts
    caller: Connection
    raw: Connection
    pids: dict[str, list[int]]
    raw_pids: dict[str, list[int]]


@asynccontextmanager
async def staged(directory: Path, *, slots: int) -> AsyncGenerator[Stage]:
    """
    One orchestrator, one local worker with `slots` slots, and the raw responders, while the block runs.

    Raises:
        BenchError: One of them did not come up.
    """
    async with (
        running_fleet(directory, local=1, slots=slots) as facts,
        responding(facts, ECHO) as echo,
        responding(facts, RELAY) as relay,
        tenant(facts) as caller,
        admin(facts) as raw,
    ):
        pids = {**{role: list(members) for role, members in facts.pids.items()}, "client": [os.getpid()]}
        yield Stage(facts=facts, caller=caller, raw=raw, pids=pids, raw_pids={ECHO: [echo], RELAY: [relay]})
