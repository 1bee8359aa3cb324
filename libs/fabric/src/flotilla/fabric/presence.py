"""A replica's card in the presence bucket: written while it lives, gone when it leaves or dies."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress

from flotilla.contracts import subjects
from flotilla.contracts.presence import REFRESH_S, ReplicaCard, encode_card
from flotilla.fabric.connection import Connection

DELETED = {"KV-Operation": "DEL"}


async def write_card(connection: Connection, card: ReplicaCard) -> None:
    """Write a card now; the server keeps it for the bucket's TTL."""
    await connection.publish(_subject(card), encode_card(card))


async def remove_card(connection: Connection, card: ReplicaCard) -> None:
    """Remove a card, so that nobody waits for its TTL."""
    await connection.publish(_subject(card), b"", headers=DELETED)


def _subject(card: ReplicaCard) -> str:
    return subjects.key(subjects.PRESENCE_BUCKET, subjects.presence_key(card.zone, card.pool, card.replica))


@asynccontextmanager
async def announced(connection: Connection, card: Callable[[], ReplicaCard]) -> AsyncGenerator[None]:
    """
    Keep a card in the presence bucket while the block runs, refreshed every REFRESH_S; remove it at the end.

    The write is a plain publish: an acknowledgement would tell nothing that the next refresh does not mend.
    """

    async def refresh() -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            with suppress(Exception):  # a full output buffer while disconnected; the next refresh tries again
                await write_card(connection, card())

    await write_card(connection, card())
    refresher = asyncio.get_running_loop().create_task(refresh())
    try:
        yield
    finally:
        refresher.cancel()
        if connection.is_connected:
            await remove_card(connection, card())
