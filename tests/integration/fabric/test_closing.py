"""The end of a connection, whatever the client was about when it came."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from flotilla.fabric.connection import Connection, connected
from flotilla.testkit.nats_server import RunningServer


def end_of_socket(connection: Connection) -> asyncio.Future[None]:
    """What nats-py's reconnecting task and its `close` both await."""
    transport: Any = connection.nc._transport  # pyright: ignore[reportPrivateUsage]
    return transport._io_writer._protocol._closed


async def test_a_reconnecting_task_that_is_cancelled_cancels_nobody_else(nats_server: RunningServer):
    """
    The client cancels its own task when it is closed meanwhile; whoever closes goes on to what comes behind.
    """
    came_behind = False
    async with connected(nats_server.orchestrator(), name="orchestrator") as connection:
        end_of_socket(connection).cancel()
    came_behind = True

    assert came_behind
    task = asyncio.current_task()
    assert task is not None
    assert 0 == task.cancelling()


async def test_whoever_is_cancelled_while_it_closes_is_cancelled(nats_server: RunningServer):
    """
    It is not mistaken for the client's own.
    """
    connection = Connection(nats_server.orchestrator(), name="orchestrator")
    await connection.open()

    async def close() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await connection.close()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(close())
    # The end of the socket, which it would await, may have been cancelled with it.
    with suppress(asyncio.CancelledError):
        await connection.nc.close()
