"""`python -m orchestrator`: wiring only."""

import asyncio
import os
import sys
from contextlib import AsyncExitStack

import structlog

import orchestrator
from flotilla.chassis.probes import Probes, beating, probes_served
from flotilla.chassis.service import run_service
from flotilla.chassis.signals import stop_signals
from flotilla.chassis.tracing import traced
from flotilla.contracts.presence import EXPIRY_S, ReplicaCard, decode_card
from flotilla.contracts.subjects import PRESENCE_BUCKET
from flotilla.fabric.connection import connected
from flotilla.fabric.discovery import discoverable
from flotilla.fabric.inbox import Requests
from flotilla.fabric.mirror import Mirror
from flotilla.fabric.topology import TopologyLimits, ensure, topology
from flotilla.inference.catalogue import Catalogue
from orchestrator.api import Api
from orchestrator.attempts import Attempts
from orchestrator.blackboard import Blackboard
from orchestrator.commits import Commits
from orchestrator.course import Means
from orchestrator.dead_questions import DeadQuestions
from orchestrator.dispatch import Dispatcher
from orchestrator.durable import Durable
from orchestrator.events import Events
from orchestrator.fleet import Fleet
from orchestrator.free_signals import FreeSignals
from orchestrator.health import HealthBoard
from orchestrator.intake import Intake, Limits
from orchestrator.interactive import Interactive
from orchestrator.ledger import Ledger
from orchestrator.metrics import OrchestratorMetrics
from orchestrator.routing.router import PolicyRouter
from orchestrator.routing_questions import RoutingQuestions
from orchestrator.settings import OrchestratorSettings
from orchestrator.sweep import Sweep
from orchestrator.task_questions import TaskQuestions
from orchestrator.traces import Traces

logger = structlog.get_logger("orchestrator")

INBOX_PREFIX = "_INBOX.orchestrator"


async def run(settings: OrchestratorSettings, instance: str) -> None:
    """Serve until a stop signal, then leave gracefully."""
    catalogue = Catalogue.load(settings.capability_files)
    scopes = settings.scope_names()
    fleet = Fleet()
    router = PolicyRouter(instance)
    metrics = OrchestratorMetrics(fleet, router)
    probes = Probes(metrics.registry)
    async with AsyncExitStack() as stack:
        stop = stack.enter_context(stop_signals())
        await stack.enter_async_context(probes_served(probes, host=settings.http_host, port=settings.http_port))
        tracer = await stack.enter_async_context(traced(os.environ, service="orchestrator", instance=instance))
        traces = Traces(tracer)
        connection = await stack.enter_async_context(
            connected(settings.nats(INBOX_PREFIX), name=f"orchestrator {instance}")
        )
        requests = Requests(connection)
        await requests.start()
        limits = TopologyLimits(replicas=settings.stream_replicas, backlog_max=settings.backlog_max)
        await ensure(requests, topology(scopes, limits))
        intake = Intake(catalogue, Limits(payload_bytes_max=connection.payload_bytes_max))
        attempts = Attempts(connection, instance, traces, fleet.replicas_of)
        board = HealthBoard(connection, requests, router)
        ledger = Ledger(router.recorder, fleet, metrics)
        means = Means(fleet=fleet, router=router, attempts=attempts, events=Events(connection), ledger=ledger)
        dispatcher = Dispatcher(means, metrics, traces)
        commits = Commits(connection, requests)
        durables = {
            scope: Durable(
                connection,
                requests,
                scope=scope,
                fleet=fleet,
                intake=intake,
                dispatcher=dispatcher,
                commits=commits,
                data_class_of=router.data_class_of,
                metrics=metrics,
            )
            for scope in scopes
        }
        sweeps = [
            Sweep(requests, scope=scope, intake=intake, fleet=fleet, durable=durable, commits=commits, metrics=metrics)
            for scope, durable in durables.items()
        ]
        interactive = Interactive(
            connection,
            scopes=scopes,
            intake=intake,
            dispatcher=dispatcher,
            data_class_of=router.data_class_of,
            metrics=metrics,
        )
        tasks = TaskQuestions(
            connection,
            requests,
            instance=instance,
            fleet=fleet,
            dispatcher=dispatcher,
            commits=commits,
            durables=durables,
        )
        routing = RoutingQuestions(
            requests,
            instance=instance,
            router=router,
            fleet=fleet,
            intake=intake,
            policy_scopes=frozenset(settings.policy_scope_names()),
            policy_revision=lambda: board.policy_revision,
        )
        blackboard = Blackboard(connection, requests)
        api = Api(
            connection,
            scopes=scopes,
            verbs={
                "result": tasks.result,
                "status": tasks.status,
                "cancel": tasks.cancel,
                "replicas": tasks.replicas,
                "dead": DeadQuestions(requests).answer,
                "explain": routing.explain,
                "stats": routing.stats,
                "policy": routing.policy,
                "blackboard": blackboard.answer,
            },
        )

        def on_fleet_change() -> None:
            intake.announce(fleet.capabilities())
            for sweep in sweeps:
                sweep.look_again()
            for durable in durables.values():
                durable.look_again()

        fleet.on_change = on_fleet_change
        presence: Mirror[ReplicaCard] = Mirror(
            connection, requests, PRESENCE_BUCKET, decode=decode_card, on_change=fleet.on_card, expiry_s=EXPIRY_S
        )
        await attempts.start()
        probes.live = beating(lambda: attempts.renewed_at)
        await FreeSignals(connection, attempts=attempts, fleet=fleet).start()
        await board.start()
        await presence.start()
        await asyncio.wait_for(presence.listed.wait(), 30.0)
        for durable in durables.values():
            await durable.start()
        for sweep in sweeps:
            await sweep.start()
        await tasks.start()
        await blackboard.start()
        await api.start()
        await interactive.start()
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
        probes.ready = lambda: connection.is_connected and not stop.is_set()
        logger.info("ready", scopes=scopes)

        closed = asyncio.ensure_future(connection.closed.wait())
        stopped = asyncio.ensure_future(stop.wait())
        await asyncio.wait([closed, stopped], return_when=asyncio.FIRST_COMPLETED)
        logger.info("leaving", interactive=interactive.in_flight, durable=sum(d.held for d in durables.values()))
        # Stop taking first, everywhere; then finish what is held; then close.
        for durable in durables.values():
            durable.stop_taking()
        for sweep in sweeps:
            await sweep.stop()
        await asyncio.gather(interactive.stop_taking(), api.stop())
        await asyncio.gather(
            interactive.finish(settings.grace_s), *(durable.finish(settings.grace_s) for durable in durables.values())
        )
        await means.events.flush()
        await presence.stop()
        await board.stop()
        await attempts.stop()
        await requests.stop()
        closed.cancel()
        stopped.cancel()
    logger.info("left")


if __name__ == "__main__":
    sys.exit(run_service("orchestrator", OrchestratorSettings, run))
