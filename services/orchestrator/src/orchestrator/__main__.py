"""`python -m orchestrator`: wiring only."""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import orchestrator
from flotilla.capabilities.catalogue import Catalogue
from flotilla.chassis.deployable import Deployable, Runtime, Served, run_deployable
from flotilla.chassis.probes import beating
from flotilla.chassis.service import run_service
from flotilla.chassis.signals import starting
from flotilla.fabric.inbox import Requests
from flotilla.pipelines.pipeline_files import capabilities_of, load_pipelines
from flotilla.provisioning.takeover import make_stores
from flotilla.routing.router import PolicyRouter
from orchestrator.policy_and_health.configured_policy import put_in_force, read_policy_setting
from orchestrator.reporting.metrics import OrchestratorMetrics
from orchestrator.reporting.traces import Traces
from orchestrator.service import Orchestrator
from orchestrator.settings import OrchestratorSettings
from orchestrator.state.fleet import Fleet

INBOX_PREFIX = "_INBOX.orchestrator"


async def run(settings: OrchestratorSettings, instance: str) -> None:
    """Serve until a stop signal, then leave gracefully."""
    catalogue = Catalogue.load(settings.capability_files)
    pipelines = load_pipelines(settings.capability_files, catalogue)
    catalogue = catalogue.with_capabilities(capabilities_of(pipelines.values()))
    policy = read_policy_setting(settings.policy_file)
    scopes = settings.scope_names()
    fleet = Fleet(settings.scope_weights_by_name())
    router = PolicyRouter(instance)
    metrics = OrchestratorMetrics(fleet, router)

    @asynccontextmanager
    async def serve(runtime: Runtime) -> AsyncGenerator[Served]:
        connection = runtime.connection
        requests = Requests(connection)
        with starting(runtime.stop):
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
                traces=Traces(runtime.tracer),
                pipelines=pipelines,
            )
            await service.learn()
        await service.start()
        yield Served(
            live=beating(lambda: service.attempts.renewed_at),
            ready=lambda: service.stores.complete,
            facts={"lane": settings.lane, "scopes": scopes},
        )
        await service.leave(settings.grace_s)
        await requests.stop()

    what = Deployable(
        connection_name="orchestrator",
        inbox_prefix=INBOX_PREFIX,
        trace_service="orchestrator",
        discovery_name="orchestrator",
        version=orchestrator.__version__,
        description="Flotilla: intake, routing, dispatch, commit",
        metadata={"instance": instance, "lane": settings.lane, "scopes": ",".join(scopes)},
        registry=metrics.registry,
        serve=serve,
    )
    await run_deployable(what, settings, instance)


if __name__ == "__main__":
    sys.exit(run_service("orchestrator", OrchestratorSettings, run))
