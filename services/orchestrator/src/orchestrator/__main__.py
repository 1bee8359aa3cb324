"""`python -m orchestrator`: wiring only."""

import asyncio
import os
import sys
from contextlib import AsyncExitStack

import structlog

import orchestrator
from flotilla.capabilities.catalogue import Catalogue
from flotilla.chassis.probes import Probes, beating, probes_served
from flotilla.chassis.service import run_service
from flotilla.chassis.signals import starting, stop_signals
from flotilla.chassis.tracing import traced
from flotilla.fabric.connection import connected
from flotilla.fabric.discovery import discoverable
from flotilla.fabric.inbox import Requests
from flotilla.provisioning.takeover import make_stores
from flotilla.routing.router import PolicyRouter
from orchestrator.policy_and_health.configured_policy import put_in_force, read_policy_setting
from orchestrator.reporting.metrics import OrchestratorMetrics
from orchestrator.reporting.traces import Traces
from orchestrator.service import Orchestrator
from orchestrator.settings import OrchestratorSettings
from orchestrator.state.fleet import Fleet

logger = structlog.get_logger("orchestrator")

INBOX_PREFIX = "_INBOX.orchestrator"


async def run(settings: OrchestratorSettings, instance: str) -> None:
    """Serve until a stop signal, then leave gracefully."""
    catalogue = Catalogue.load(settings.capability_files)
    policy = read_policy_setting(settings.policy_file)
    scopes = settings.scope_names()
    fleet = Fleet(settings.scope_weights_by_name())
    router = PolicyRouter(instance)
    metrics = OrchestratorMetrics(fleet, router)
    probes = Probes(metrics.registry)
    async with AsyncExitStack() as stack:
        stop = stack.enter_context(stop_signals())
        with starting(stop):
            await stack.enter_async_context(probes_served(probes, host=settings.http_host, port=settings.http_port))
            tracer = await stack.enter_async_context(traced(os.environ, service="orchestrator", instance=instance))
            connection = await stack.enter_async_context(
                connected(settings.nats(INBOX_PREFIX), name=f"orchestrator {instance}")
            )
            requests = Requests(connection)
            await requests.start()
            await make_stores(requests, scopes, settings.topology_limits())
            if policy is not None:
                await put_in_force(requests, policy, instance=instance)
            service = Orchestrator(
                connection,
                requests,
                settings=settings,
                instance=instance,
                catalogue=catalogue,
                fleet=fleet,
                router=router,
                metrics=metrics,
                traces=Traces(tracer),
            )
            await service.learn()
        await service.start()
        probes.live = beating(lambda: service.attempts.renewed_at)
        await stack.enter_async_context(
            discoverable(
                connection,
                name="orchestrator",
                version=orchestrator.__version__,
                description="Flotilla: intake, routing, dispatch, commit",
                metadata={"instance": instance, "scopes": ",".join(scopes)},
            )
        )
        await connection.settle()
        probes.ready = lambda: connection.is_connected and service.stores.complete and not stop.is_set()
        logger.info("ready", scopes=scopes)

        ends = [asyncio.ensure_future(end.wait()) for end in (stop, connection.closed)]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
        await service.leave(settings.grace_s)
        await requests.stop()
    logger.info("left")


if __name__ == "__main__":
    sys.exit(run_service("orchestrator", OrchestratorSettings, run))
