"""NATS micro discovery: `nats micro ls` shows the fleet. For discovery and statistics; work never goes through it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from nats.micro import add_service  # pyright: ignore[reportUnknownVariableType]  # nats-py leaves **kwargs untyped
from nats.micro.service import ServiceConfig

from flotilla.fabric.connection import Connection


@asynccontextmanager
async def discoverable(
    connection: Connection, *, name: str, version: str, description: str, metadata: dict[str, str]
) -> AsyncGenerator[None]:
    """Answer `$SRV.PING`, `INFO` and `STATS` under `name` while the block runs."""
    config = ServiceConfig(name=name, version=version, description=description, metadata=metadata)
    service = await add_service(connection.nc, config)
    try:
        yield
    finally:
        if connection.is_connected:
            await service.stop()
