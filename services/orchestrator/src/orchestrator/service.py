"""The orchestrator put together: its parts made, started in order, and stopped in order."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

from flotilla.capabilities.catalogue import Catalogue
from flotilla.fabric.connection import Connection
from flotilla.fabric.heartbeats import Heartbeats
from flotilla.fabric.inbox import Requests
from flotilla.pipelines.definition import Pipeline
from flotilla.routing.router import PolicyRouter
from orchestrator.api.approval_handlers import ApprovalHandlers
from orchestrator.api.blackboard_handlers import Blackboard
from orchestrator.api.dead_letter_handlers import DeadLetterHandlers
from orchestrator.api.experiment_handlers import ExperimentHandlers
from orchestrator.api.policy_handlers import PolicyHandlers
from orchestrator.api.routing_handlers import RoutingHandlers
from orchestrator.api.server import Api
from orchestrator.api.spend_handlers import SpendHandlers
from orchestrator.api.task_handlers import TaskHandlers
from orchestrator.api.turns import Turns
from orchestrator.approvals.parts import Approvals
from orchestrator.caching.executor import CachingExecutor
from orchestrator.caching.flights import Flights
from orchestrator.caching.store import AnswerStore
from orchestrator.economy.economy import Economy
from orchestrator.execution.attempts import Attempts
from orchestrator.execution.death_notes import DeathNotes
from orchestrator.execution.dependencies import Dependencies
from orchestrator.execution.dispatch import HEADERS_BYTES_MAX, Dispatcher
from orchestrator.execution.executors import Executor, Executors, PoolExecutor
from orchestrator.execution.free_signals import FreeSignals
from orchestrator.execution.ledger import Ledger
from orchestrator.execution.task_reports import TaskReports
from orchestrator.pipelines.dependencies import PipelineDependencies
from orchestrator.pipelines.executor import PipelineExecutor
from orchestrator.pipelines.step_results import StepResults
from orchestrator.policy_and_health.experiments import Experiments
from orchestrator.policy_and_health.health import HealthBoard
from orchestrator.policy_and_health.held_models import HeldModels
from orchestrator.policy_and_health.stores import Stores
from orchestrator.reporting.background_publisher import BackgroundPublisher
from orchestrator.reporting.events import Events
from orchestrator.reporting.metrics import OrchestratorMetrics
from orchestrator.reporting.traces import Traces
from orchestrator.settings import OrchestratorSettings
from orchestrator.state.ask_quota import AsksInFlight
from orchestrator.state.fleet import Fleet
from orchestrator.state.outputs import Outputs
from orchestrator.state.pulled_bytes import PulledBytes
from orchestrator.state.shared_quota import Room
from orchestrator.state.unreadable_stored import UnreadableStored
from orchestrator.ways_in.commits import Commits
from orchestrator.ways_in.durable import Durable
from orchestrator.ways_in.intake import Intake, Limits
from orchestrator.ways_in.interactive import Interactive
from orchestrator.ways_in.replies import Replies
from orchestrator.ways_in.settlement import Settlement
from orchestrator.ways_in.sweep import Sweep

logger = structlog.get_logger("orchestrator")

LIST_TIMEOUT_S: Final = 30.0
CACHE_GRACE_S: Final = 2.0
"""For what was left to be kept when the last task was over."""
WALKS_MAX: Final = 3
"""API requests that read through a stream, each with some 8 MiB of it in memory."""


class Orchestrator:
    """
    One orchestrator.

    Attributes:
        attempts: Its sweep is the heartbeat that the liveness probe watches.
        stores: Whether the server has all that is to be kept is part of readiness.
    """

    def __init__(
        self,
        connection: Connection,
        requests: Requests,
        *,
        settings: OrchestratorSettings,
        instance: str,
        catalogue: Catalogue,
        fleet: Fleet,
        router: PolicyRouter,
        metrics: OrchestratorMetrics,
        traces: Traces,
        pipelines: Mapping[str, Pipeline] | None = None,
        more_executors: Callable[[Executor, TaskReports], Sequence[Executor]] = lambda _pools, _reports: (),
    ) -> None:
        """
        Put it together; nothing is started.

        Args:
            connection: To NATS, as an orchestrator.
            requests: The connection's, started.
            settings: As they were read from the environment.
            instance: Its name, unique in the fleet.
            catalogue: The definitions of capabilities.
            fleet: To be filled from heartbeats.
            router: To be told the policy.
            metrics: What is counted.
            traces: Where spans go.
            pipelines: That it serves, by name.
            more_executors: Gives those that come before the one that serves pools, from that one and what tells of tasks.
        """
        scopes = settings.scope_names()
        share_max = settings.scope_share_max
        self._connection = connection
        self._fleet = fleet
        outputs = Outputs(catalogue)
        self._economy = economy = Economy(
            connection, requests, instance, policy=lambda: router.policy.document, metrics=metrics
        )
        self.attempts: Final = Attempts(
            connection,
            instance,
            outputs,
            traces,
            fleet.replicas_of,
            redaction=lambda: router.policy.document.redaction,
            sealed=settings.sealed,
            gate=economy.gate,
        )
        deaths = DeathNotes(connection)
        unreadable = UnreadableStored(metrics.unreadable)
        self._board = board = HealthBoard(connection, requests, router, deaths)
        board.on_unreadable = unreadable.found
        self.stores: Final = Stores(
            connection,
            requests,
            scopes=scopes,
            limits=settings.topology_limits(),
            policy_in_force=lambda: board.body_in_force,
            on_made_again=metrics.stores_recreated,
        )
        self._held_models = HeldModels(connection, requests, router)
        self._publisher = publisher = BackgroundPublisher(connection)
        events = Events(publisher)
        ledger = Ledger(router.recorder, fleet, metrics)
        dependencies = Dependencies(
            fleet=fleet,
            router=router,
            attempts=self.attempts,
            events=events,
            ledger=ledger,
            deaths=deaths,
        )
        self._dispatcher = dispatcher = Dispatcher(
            dependencies, metrics, traces, payload_bytes_max=connection.payload_bytes_max, spend=economy.ledger
        )
        self._experiments = experiments = Experiments(connection, requests, unreadable, instance=instance)
        dispatcher.on_split = experiments.ended
        pools = PoolExecutor(fleet, dispatcher)
        reports = TaskReports(events, metrics, traces)
        self._flights = Flights(
            AnswerStore(connection, requests, instance=instance, outputs=outputs, unreadable=unreadable)
        )
        cached_pools = CachingExecutor(
            pools,
            self._flights,
            policy=lambda: router.policy,
            catalogue=catalogue,
            reports=reports,
            metrics=metrics,
        )
        self._approvals = approvals = Approvals(
            requests, events, scopes, metrics, payload_bytes_max=connection.payload_bytes_max
        )
        others = [*more_executors(pools, reports)]
        if pipelines:
            others.append(
                PipelineExecutor(
                    pipelines,
                    PipelineDependencies(
                        below=cached_pools,
                        catalogue=catalogue,
                        events=events,
                        reports=reports,
                        results=StepResults(requests, payload_bytes_max=connection.payload_bytes_max),
                        operator=lambda: router.policy.declassified,
                        at_least="restricted" if settings.sealed else "public",
                        outputs=Room(scopes, total_max=settings.pulled_bytes_max, share_max=share_max),
                        gate=approvals.gate,
                        metrics=metrics.pipelines,
                        payload_bytes_max=connection.payload_bytes_max - HEADERS_BYTES_MAX,
                    ),
                )
            )
        executors = Executors(pools, others, before_pools=cached_pools)
        deadlines_ms = {
            name: int(pipeline.deadline_s * 1000)
            for name, pipeline in (pipelines or {}).items()
            if pipeline.deadline_s is not None
        }
        self._intake = intake = Intake(
            catalogue,
            Limits(payload_bytes_max=connection.payload_bytes_max),
            executors.serves,
            deadlines_ms,
            sealed=settings.sealed,
        )
        commits = Commits(requests, unreadable)
        settlement = Settlement(connection, requests, commits=commits, metrics=metrics, sealed=settings.sealed)
        pulled = Room(scopes, total_max=settings.pulled_bytes_max, share_max=share_max)
        self._durables = {
            scope: Durable(
                connection,
                requests,
                scope=scope,
                intake=intake,
                executors=executors,
                commits=commits,
                settlement=settlement,
                suspensions=approvals.suspensions,
                is_decided=approvals.store.any_decided,
                pulled=PulledBytes(pulled, scope, payload_bytes_max=connection.payload_bytes_max),
                data_class_of=router.data_class_of,
                metrics=metrics,
            )
            for scope in scopes
        }
        self._sweeps = [
            Sweep(
                requests,
                scope=scope,
                intake=intake,
                executors=executors,
                durable=durable,
                settlement=settlement,
                metrics=metrics,
            )
            for scope, durable in self._durables.items()
        ]
        metrics.asks = asks = AsksInFlight(
            count=Room(scopes, total_max=settings.asks_max, share_max=share_max),
            size=Room(scopes, total_max=settings.asks_bytes_max, share_max=share_max),
        )
        self._interactive = Interactive(
            connection,
            scopes=scopes,
            intake=intake,
            executors=executors,
            room=asks,
            data_class_of=router.data_class_of,
            metrics=metrics,
            replies=Replies(connection, publisher),
        )
        walks = Turns(places=WALKS_MAX, per_scope_max=1)
        self._tasks = tasks = TaskHandlers(
            connection,
            requests,
            instance=instance,
            fleet=fleet,
            dispatcher=dispatcher,
            executors=executors,
            commits=commits,
            durables=self._durables,
            suspensions=approvals.suspensions,
            gate=approvals.gate,
            walks=walks,
            sealed=settings.sealed,
        )
        routing = RoutingHandlers(
            instance=instance,
            router=router,
            fleet=fleet,
            intake=intake,
            pipelines=pipelines or {},
            at_least="restricted" if settings.sealed else "public",
            gate=economy.gate,
        )
        policy = PolicyHandlers(
            requests,
            instance=instance,
            router=router,
            fleet=fleet,
            policy_scopes=frozenset(settings.policy_scope_names()),
        )
        self._experiment_handlers = arms = ExperimentHandlers(
            connection,
            requests,
            experiments=experiments,
            router=router,
            commits=commits,
            walks=walks,
            unreadable=unreadable,
            scopes=tuple(scopes),
        )
        self._blackboard = blackboard = Blackboard(connection, requests, scopes=scopes)
        self._api = Api(
            connection,
            scopes=scopes,
            verbs={
                "result": tasks.result,
                "status": tasks.status,
                "cancel": tasks.cancel,
                "replicas": tasks.replicas,
                "dead": DeadLetterHandlers(requests, walks, unreadable).answer,
                "explain": routing.explain,
                "stats": routing.stats,
                "policy": policy.answer,
                "blackboard": blackboard.answer,
                "feedback": arms.feedback,
                "experiment": arms.experiment,
                "spend": SpendHandlers(
                    requests, walks, scopes=scopes, policy_scopes=frozenset(settings.policy_scope_names())
                ).spend,
                **ApprovalHandlers(requests, approvals, walks).verbs(),
            },
        )
        fleet.on_change = self._on_fleet_change
        fleet.on_refused = metrics.card_refused
        self._heartbeats = Heartbeats(connection, requests, fleet.on_card)
        self._heartbeats.on_refused = metrics.card_refused

    async def learn(self) -> None:
        """
        Know the fleet and the policy; nothing is taken yet.

        Raises:
            PolicyNotUnderstoodError: The policy in force has a newer format than this version can read.
            TimeoutError: The buckets could not be listed.
        """
        await self.attempts.start()
        await self._economy.start()
        await FreeSignals(self._connection, attempts=self.attempts, fleet=self._fleet).start()
        await self._board.start()
        await self._held_models.start()
        await self.stores.start()
        await self._heartbeats.start()
        await asyncio.wait_for(self._heartbeats.listed.wait(), LIST_TIMEOUT_S)

    async def start(self) -> None:
        """Take tasks; only after `learn`."""
        for durable in self._durables.values():
            await durable.start()
        for sweep in self._sweeps:
            await sweep.start()
        await self._tasks.start()
        await self._experiment_handlers.start()
        self._experiments.start()
        await self._approvals.watch.start()
        await self._blackboard.start()
        await self._api.start()
        await self._interactive.start()

    async def leave(self, grace_s: float) -> None:
        """Stop taking first, everywhere; then finish what is held within `grace_s`, or hand it back."""
        durables = self._durables.values()
        held = sum(durable.held for durable in durables)
        logger.info("leaving", interactive=self._interactive.in_flight, durable=held)
        for durable in durables:
            durable.stop_taking()
        for sweep in self._sweeps:
            await sweep.stop()
        await asyncio.gather(self._interactive.stop_taking(), self._api.stop())
        await asyncio.gather(self._interactive.finish(grace_s), *(durable.finish(grace_s) for durable in durables))
        await self._flights.finish(CACHE_GRACE_S)
        await self._approvals.watch.stop()
        await self._publisher.flush()
        await self._experiments.stop()
        # What shadows have cost is written as they end.
        await self._dispatcher.shadows.stop()
        await self._economy.stop()
        await self._heartbeats.stop()
        await self._board.stop()
        await self._held_models.stop()
        await self.stores.stop()
        await self.attempts.stop()

    def _on_fleet_change(self, pool: str) -> None:
        self._intake.announce(pool, self._fleet.capabilities_of(pool))
        for sweep in self._sweeps:
            sweep.look_again()
        for durable in self._durables.values():
            durable.look_again()
