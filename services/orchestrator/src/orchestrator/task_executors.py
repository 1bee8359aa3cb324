"""
Who serves which task. Before the pools stands the cache, and before that the policy's gates; beside them are pipelines,
whose steps have gates of their own and go to the cache and the pools.
"""

from collections.abc import Mapping, Sequence

from flotilla.capabilities.catalogue import Catalogue
from flotilla.contracts.subjects import Zone
from flotilla.fabric.inbox import Requests
from flotilla.pipelines.definition import Pipeline
from flotilla.routing.router import PolicyRouter
from flotilla.routing.types import TaskView
from orchestrator.approvals.gate import Gate
from orchestrator.approvals.gated_pools import GatedPools
from orchestrator.caching.executor import CachingExecutor
from orchestrator.caching.flights import Flights
from orchestrator.execution.dispatch import HEADERS_BYTES_MAX
from orchestrator.execution.executors import Executor, Executors, PoolExecutor
from orchestrator.execution.shut_zones import ALL_ZONES, goes_elsewhere
from orchestrator.execution.task_reports import TaskReports
from orchestrator.pipelines.dependencies import PipelineDependencies
from orchestrator.pipelines.executor import PipelineExecutor
from orchestrator.pipelines.step_results import StepResults
from orchestrator.reporting.events import Events
from orchestrator.reporting.metrics import OrchestratorMetrics
from orchestrator.settings import OrchestratorSettings
from orchestrator.state.fleet import Fleet
from orchestrator.state.shared_quota import Room


def task_executors(
    requests: Requests,
    pools: PoolExecutor,
    *,
    settings: OrchestratorSettings,
    fleet: Fleet,
    router: PolicyRouter,
    catalogue: Catalogue,
    pipelines: Mapping[str, Pipeline],
    flights: Flights,
    gate: Gate,
    events: Events,
    reports: TaskReports,
    metrics: OrchestratorMetrics,
    payload_bytes_max: int,
    others: Sequence[Executor] = (),
) -> Executors:
    """Put the executors in order; `others` come before pipelines and pools."""
    cached_pools = CachingExecutor(
        pools, flights, in_force=router, catalogue=catalogue, reports=reports, metrics=metrics
    )

    def needs_no_gate(view: TaskView, zones: frozenset[Zone]) -> bool:
        return not zones >= ALL_ZONES and goes_elsewhere(router.explain(view, fleet.view, fleet.busy), zones)

    gated_pools = GatedPools(cached_pools, gate, in_force=router, goes_elsewhere=needs_no_gate, reports=reports)
    if not pipelines:
        return Executors(pools, others, before_pools=gated_pools)
    outputs = Room(settings.scope_names(), total_max=settings.pulled_bytes_max, share_max=settings.scope_share_max)
    runs = PipelineExecutor(
        pipelines,
        PipelineDependencies(
            below=cached_pools,
            pipelines=frozenset(pipelines),
            catalogue=catalogue,
            events=events,
            reports=reports,
            results=StepResults(requests, outputs=outputs, payload_bytes_max=payload_bytes_max),
            policy=lambda: router.policy,
            at_least=settings.data_class_floor,
            outputs=outputs,
            gate=gate,
            goes_elsewhere=needs_no_gate,
            metrics=metrics.pipelines,
            payload_bytes_max=payload_bytes_max - HEADERS_BYTES_MAX,
        ),
    )
    return Executors(pools, [*others, runs], before_pools=gated_pools)
