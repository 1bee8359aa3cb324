"""A replica's heartbeats: its card while it lives, an empty message when it leaves."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from flotilla.contracts import subjects
from flotilla.contracts.presence import REFRESH_S, ReplicaCard, encode_card
from flotilla.fabric.connection import Connection

FIRST_REFRESHES_S: Final = (0.25, 0.25, 0.5, 1.0)
"""Often at first: an orchestrator that starts together with the replica may not have heard the one before."""


async def announce(connection: Connection, card: ReplicaCard) -> None:
    """Send one heartbeat."""
    await connection.publish(_subject(card), encode_card(card))


async def say_goodbye(connection: Connection, card: ReplicaCard) -> None:
    """Say that the replica is gone, so that nobody waits for its next heartbeat."""
    await connection.publish(_subject(card))


def _subject(card: ReplicaCard) -> str:
    return subjects.heartbeat(card.zone, card.pool, card.replica)


@asynccontextmanager
async def announced(connection: Connection, card: Callable[[], ReplicaCard]) -> AsyncGenerator[None]:
    """Send a heartbeat every REFRESH_S while the block runs, and say goodbye at its end."""

    async def refresh() -> None:
        for pause_s in itertools.chain(FIRST_REFRESHES_S, itertools.repeat(REFRESH_S)):
            await asyncio.sleep(pause_s)
            with suppress(Exception):  # a full output buffer while disconnected; the next heartbeat tries again
                await announce(connection, card())

    await announce(connection, card())
    refresher = asyncio.get_running_loop().create_task(refresh())
    try:
        yield
    finally:
        refresher.cancel()
        if connection.is_connected:
            await say_goodbye(connection, card())
