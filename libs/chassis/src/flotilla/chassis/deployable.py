"""
A deployable from start to end, whatever it serves: probes, traces, connection, discovery, stop signals, draining.

A service says what it is (`Deployable`); its `serve` begins to serve and, when the block ends, drains. Everything that
every service has is done here.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

from msgspec import Struct
from prometheus_client import CollectorRegistry

from flotilla.chassis.plain_structlog import structlog
from flotilla.chassis.probes import Check, Probes, probes_served
from flotilla.chassis.settings import ServiceSettings
from flotilla.chassis.signals import starting, stop_signals
from flotilla.chassis.tracing import Tracer, traced
from flotilla.fabric.connection import Connection, connected
from flotilla.fabric.discovery import discoverable

logger = structlog.get_logger("service")


class Runtime(Struct, frozen=True):
    """
    What a service gets to serve with.

    Attributes:
        connection: Open; closed after the service has drained.
        tracer: Sends nothing when traces are off.
        stop: Set by a stop signal; what waits before it takes work stands under `starting(stop)`.
    """

    connection: Connection
    tracer: Tracer
    stop: asyncio.Event


class Served(Struct, frozen=True, kw_only=True):
    """
    A service that has begun to serve.

    Attributes:
        live: For `/livez`.
        ready: For `/readyz`, beside the connection and the stop signal, which are looked at anyway.
        ends: Whatever else ends it, beside a stop signal and a connection that is closed for good.
        facts: For the log event `ready`.
    """

    live: Check
    ready: Check = lambda: True
    ends: tuple[asyncio.Event, ...] = ()
    facts: Mapping[str, Any] = {}


class Deployable(Struct, frozen=True, kw_only=True):
    """
    One deployable, described before anything is connected.

    Attributes:
        connection_name: Told to the NATS server, with the instance behind it.
        inbox_prefix: Of its role.
        trace_service: `service.name` of its traces.
        trace_attributes: Of its traces' resource, beside `service.*`.
        discovery_name: As `nats micro ls` shows it, with the three that follow; None for a role that may not be asked.
        registry: Its metrics.
        serve: Begins to serve, and drains when the block ends. A StoppedAtStartError out of it is a good end.
    """

    connection_name: str
    inbox_prefix: str
    trace_service: str
    discovery_name: str | None
    version: str
    description: str
    metadata: dict[str, str]
    registry: CollectorRegistry
    serve: Callable[[Runtime], AbstractAsyncContextManager[Served]]
    trace_attributes: Mapping[str, str] = {}


async def run_deployable(what: Deployable, settings: ServiceSettings, instance: str) -> None:
    """
    Serve until a stop signal, then drain: what it holds is finished within `settings.grace_s` or given back.

    Raises:
        StoppedAtStartError: A stop signal came before it served.
        SettingsError: The port of the probes cannot be had, or a setting of the traces is wrong.
        ConnectFailedError: No server.
    """
    probes = Probes(what.registry)
    async with AsyncExitStack() as stack:
        stop = stack.enter_context(stop_signals())
        with starting(stop):
            await stack.enter_async_context(probes_served(probes, host=settings.http_host, port=settings.http_port))
            tracer = await stack.enter_async_context(
                traced(os.environ, service=what.trace_service, instance=instance, attributes=what.trace_attributes)
            )
            connection = await stack.enter_async_context(
                connected(settings.nats(what.inbox_prefix), name=f"{what.connection_name} {instance}")
            )
        served = await stack.enter_async_context(what.serve(Runtime(connection, tracer, stop)))
        probes.live = served.live
        if what.discovery_name is not None:
            await stack.enter_async_context(
                discoverable(
                    connection,
                    name=what.discovery_name,
                    version=what.version,
                    description=what.description,
                    metadata=what.metadata,
                )
            )
        await connection.settle()
        probes.ready = lambda: connection.is_connected and not stop.is_set() and served.ready()
        logger.info("ready", **served.facts)
        await _first_of(stop, connection.closed, *served.ends)
        probes.ready = lambda: False
    logger.info("stopped")


async def _first_of(*events: asyncio.Event) -> None:
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for each in waiting:
        each.cancel()
