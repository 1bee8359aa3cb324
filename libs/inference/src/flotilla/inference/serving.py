"""A worker from start to end: connect, join the lane, announce, serve until told to stop, leave gracefully."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Final

import structlog
from msgspec import Struct, structs

from flotilla.capabilities.catalogue import Catalogue
from flotilla.chassis.probes import Probes, beating, probes_served
from flotilla.chassis.signals import starting, stop_signals
from flotilla.chassis.tracing import traced
from flotilla.contracts.errors import SettingsError
from flotilla.contracts.presence import ModelCard, ReplicaCard
from flotilla.contracts.subjects import inbox_prefix
from flotilla.fabric.connection import connected
from flotilla.fabric.discovery import discoverable
from flotilla.fabric.presence import announce, announced
from flotilla.fabric.slots import serving
from flotilla.inference.backend import Backend, NeverWaits
from flotilla.inference.checks import Finding
from flotilla.inference.handler import Handler, HandlerBackend
from flotilla.inference.metrics import WorkerMetrics
from flotilla.inference.settings import WorkerSettings
from flotilla.inference.traces import traced_work
from flotilla.inference.worker import Worker

logger = structlog.get_logger("worker")

VERSION: Final = "0.1.0"


class Serving(Struct, frozen=True, kw_only=True):
    """
    What a worker serves, ready made.

    Attributes:
        catalogue: Has every capability that the backend announces.
        models: For the card; every capability is served by at least one.
        stand_in: For the card: an engine in the place of a model.
        check: Looks whether the provider can serve at all; None where there is nothing to ask.
    """

    backend: Backend
    catalogue: Catalogue
    models: list[ModelCard]
    stand_in: bool = False
    check: Callable[[], Awaitable[list[Finding]]] | None = None


async def serve_worker(settings: WorkerSettings, replica: str, what: Serving, *, version: str = VERSION) -> None:
    """Serve until a stop signal, then leave gracefully: no task fails because a replica stopped."""
    zone, pool = settings.zone, settings.checked_pool()
    provider = what.backend.provider
    metrics = WorkerMetrics(zone=zone, pool=pool, provider=provider, models=what.models)
    probes = Probes(metrics.registry)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(what.backend.aclose)
        stop = stack.enter_context(stop_signals())
        with starting(stop):
            await stack.enter_async_context(probes_served(probes, host=settings.http_host, port=settings.http_port))
            place = {"flotilla.zone": zone, "flotilla.pool": pool}
            tracer = await stack.enter_async_context(
                traced(os.environ, service=f"{zone}-inference", instance=replica, attributes=place)
            )
            connection = await stack.enter_async_context(
                connected(settings.nats(inbox_prefix(zone, pool)), name=f"{pool} {replica}")
            )
        worker = Worker(what.backend, what.catalogue, zone=zone, replica=replica, observe=metrics.ended)
        joining = ReplicaCard(
            zone=zone,
            pool=pool,
            replica=replica,
            provider=provider,
            models=what.models,
            slots=settings.slots,
            draining=True,
            version=version,
            started_unix_ms=time.time_ns() // 1_000_000,
            stand_in=what.stand_in,
        )
        # Known before it joins, as one that takes nothing yet: from its first request on it is asked for what it holds.
        await announce(connection, joining)
        lane = await stack.enter_async_context(
            serving(
                connection,
                zone=zone,
                pool=pool,
                replica=replica,
                slots=settings.slots,
                work=traced_work(worker, tracer, provider),
                grace_s=settings.grace_s,
                eager=isinstance(what.backend, NeverWaits) and what.backend.never_waits and not tracer.on,
            )
        )
        metrics.lane = lane

        def card() -> ReplicaCard:
            return structs.replace(joining, slots=lane.slots, busy=lane.busy, draining=lane.draining)

        await stack.enter_async_context(
            discoverable(
                connection,
                name=f"{zone}-{pool}",
                version=version,
                description=f"Flotilla: {provider} in the {zone} zone",
                metadata={"replica": replica, "zone": zone, "pool": pool, "provider": provider},
            )
        )
        # Announced as free last, so gone first: no task waits for this lane before it is joined, nor while it is left.
        await stack.enter_async_context(announced(connection, card))
        probes.ready = lambda: connection.is_connected and not stop.is_set()
        probes.live = beating(lambda: lane.renewed_at)
        logger.info("ready", zone=zone, pool=pool, slots=settings.slots, provider=provider)
        if what.check is not None:
            # Behind the start: a server that is still to come must not keep the worker from waiting for it.
            checking = asyncio.ensure_future(_log_findings(what.check))
            stack.callback(checking.cancel)
        ends = [asyncio.ensure_future(event.wait()) for event in (stop, lane.drain_asked, connection.closed)]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
        logger.info("leaving", busy=lane.busy)
    logger.info("left")


async def _log_findings(check: Callable[[], Awaitable[list[Finding]]]) -> None:
    for found in await check():
        told = {"subject": found.subject, "says": found.says, "mend": found.mend}
        if found.state == "ok":
            logger.info("check_passed", subject=found.subject, says=found.says)
        elif found.state == "note":
            logger.info("check_noted", **told)
        else:
            logger.warning("check_failed", **told)


def serving_handlers(handlers: Mapping[str, Handler], settings: WorkerSettings) -> Serving:
    """
    Make functions of one's own servable: a capability name and a handler each.

    Raises:
        SettingsError: A name cannot be a capability.
    """
    try:
        backend = HandlerBackend(handlers, provider=settings.provider)
        catalogue = Catalogue.load(settings.capability_files).including(handlers)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    models = settings.model_cards(backend.capabilities(), default_model="handler")
    return Serving(backend=backend, catalogue=catalogue, models=models)
