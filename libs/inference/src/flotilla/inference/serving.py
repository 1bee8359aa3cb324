"""What a worker serves, and how: it announces itself, joins its lane, answers attempts, and drains when told to stop."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, nullcontext
from typing import Final

from msgspec import UNSET, Struct

from flotilla.capabilities.catalogue import Catalogue
from flotilla.chassis.deployable import Deployable, Runtime, Served, run_deployable
from flotilla.chassis.plain_structlog import structlog
from flotilla.chassis.probes import beating
from flotilla.contracts.errors import SettingsError
from flotilla.contracts.presence import ModelCard, ReplicaCard
from flotilla.contracts.subjects import inbox_prefix
from flotilla.fabric.connection import Connection
from flotilla.fabric.presence import announce, announced
from flotilla.fabric.slots import Slots, serving
from flotilla.inference.backend import Backend, NeverWaits
from flotilla.inference.checks import Finding
from flotilla.inference.handler import Handler, HandlerBackend
from flotilla.inference.metrics import WorkerMetrics
from flotilla.inference.settings import WorkerSettings
from flotilla.inference.traces import traced_work
from flotilla.inference.worker import Worker

logger = structlog.get_logger("worker")

VERSION: Final = "0.1.0"

Opened = Callable[[Connection], AbstractAsyncContextManager[None]]
"""Holds what a backend needs of the connection while the worker serves."""


class Serving(Struct, frozen=True, kw_only=True):
    """
    What a worker serves, ready made.

    Attributes:
        catalogue: Has every capability that the backend announces.
        models: For the card; every capability is served by at least one.
        stand_in: For the card: an engine in the place of a model.
        opened: Entered before the worker joins its lane, left after it has left.
        check: Looks whether the provider can serve at all; None where there is nothing to ask.
    """

    backend: Backend
    catalogue: Catalogue
    models: list[ModelCard]
    stand_in: bool = False
    opened: Opened = lambda _connection: nullcontext()
    check: Callable[[], Awaitable[list[Finding]]] | None = None


async def serve_worker(settings: WorkerSettings, replica: str, what: Serving, *, version: str = VERSION) -> None:
    """Serve until a stop signal, then leave gracefully: no task fails because a replica stopped."""
    zone, pool = settings.zone, settings.checked_pool()
    provider = what.backend.provider
    metrics = WorkerMetrics(zone=zone, pool=pool, provider=provider, models=what.models)
    worker = Worker(
        what.backend,
        what.catalogue,
        zone=zone,
        replica=replica,
        approvals=settings.approvals(),
        observe=metrics.ended,
        price=settings.price(),
    )

    def card(lane: Slots | None) -> ReplicaCard:
        return _card(settings, replica, what, lane, version=version, started_unix_ms=started_unix_ms)

    @asynccontextmanager
    async def serve(runtime: Runtime) -> AsyncGenerator[Served]:
        connection, tracer = runtime.connection, runtime.tracer
        # Known before it joins: from its first request on it is asked for what it holds.
        await announce(connection, card(None))
        async with (
            what.opened(connection),
            serving(
                connection,
                zone=zone,
                pool=pool,
                replica=replica,
                slots=settings.slots,
                work=traced_work(worker, tracer, provider),
                grace_s=settings.grace_s,
                eager=isinstance(what.backend, NeverWaits) and what.backend.never_waits and not tracer.on,
            ) as lane,
        ):
            metrics.lane = lane
            # Announced as free last, so gone first: no task waits for this lane before it is joined, nor while it is
            # left. The provider is looked at behind the start: one that is still to come must not delay the worker.
            async with announced(connection, lambda: card(lane)), _checking(what.check):
                yield Served(
                    live=beating(lambda: lane.renewed_at),
                    ends=(lane.drain_asked,),
                    facts={"zone": zone, "pool": pool, "slots": settings.slots, "provider": provider},
                )
                logger.info("leaving", busy=lane.busy)

    started_unix_ms = time.time_ns() // 1_000_000
    deployable = Deployable(
        connection_name=pool,
        inbox_prefix=inbox_prefix(zone, pool),
        trace_service=f"{zone}-inference",
        trace_attributes={"flotilla.zone": zone, "flotilla.pool": pool},
        discovery_name=f"{zone}-{pool}",
        version=version,
        description=f"Flotilla: {provider} in the {zone} zone",
        metadata={"replica": replica, "zone": zone, "pool": pool, "provider": provider},
        registry=metrics.registry,
        serve=serve,
    )
    async with aclosing(what.backend):
        await run_deployable(deployable, settings, replica)


def _card(
    settings: WorkerSettings, replica: str, what: Serving, lane: Slots | None, *, version: str, started_unix_ms: int
) -> ReplicaCard:
    """As the replica is; before it has joined, as one that takes nothing yet."""
    price = settings.price()
    return ReplicaCard(
        zone=settings.zone,
        pool=settings.checked_pool(),
        replica=replica,
        provider=what.backend.provider,
        models=what.models,
        slots=settings.slots if lane is None else lane.slots,
        busy=0 if lane is None else lane.busy,
        draining=lane is None or lane.draining,
        joining=True if lane is None else UNSET,
        version=version,
        started_unix_ms=started_unix_ms,
        stand_in=what.stand_in,
        price=UNSET if price is None else price,
    )


@asynccontextmanager
async def _checking(check: Callable[[], Awaitable[list[Finding]]] | None) -> AsyncGenerator[None]:
    """Look at the provider while the block runs."""
    looking = None if check is None else asyncio.ensure_future(_log_findings(check))
    try:
        yield
    finally:
        if looking is not None:
            looking.cancel()


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
