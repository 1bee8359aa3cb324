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
from orchestrator.api.parts import Answers
from orchestrator.approvals.parts import Approvals
from orchestrator.caching.flights import FLIGHTS_MAX, Flights
from orchestrator.caching.store import AnswerStore
from orchestrator.economy.economy import Economy
from orchestrator.execution.execution import Execution
from orchestrator.execution.executors import Executor
from orchestrator.execution.task_reports import TaskReports
from orchestrator.policy_and_health.experiments import Experiments
from orchestrator.policy_and_health.health import HealthBoard
from orchestrator.policy_and_health.held_models import HeldModels
from orchestrator.policy_and_health.stores import Stores
from orchestrator.reporting.background_publisher import BackgroundPublisher
from orchestrator.reporting.events import Events
from orchestrator.reporting.metrics import OrchestratorMetrics
from orchestrator.reporting.traces import Traces
from orchestrator.settings import OrchestratorSettings
from orchestrator.state.fleet import Fleet
from orchestrator.state.outputs import Outputs
from orchestrator.state.shared_quota import Room
from orchestrator.state.unreadable_stored import UnreadableStored
from orchestrator.task_executors import task_executors
from orchestrator.ways_in.parts import WaysIn, deadlines_ms

logger = structlog.get_logger("orchestrator")

LIST_TIMEOUT_S: Final = 30.0
CACHE_GRACE_S: Final = 2.0
"""For what was left to be kept when the last task was over."""


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
        self._fleet = fleet
        scopes = settings.scope_names()
        payload_bytes_max = connection.payload_bytes_max
        outputs = Outputs(catalogue)
        self._economy = economy = Economy(
            connection,
            requests,
            instance,
            policy=lambda: router.policy.document,
            revision=lambda: router.policy.revision,
            scopes=scopes,
            price_of=fleet.price_of,
            metrics=metrics,
        )
        self._publisher = publisher = BackgroundPublisher(connection)
        events = Events(publisher)
        self._execution = execution = Execution(
            connection,
            instance=instance,
            sealed=settings.sealed,
            outputs=outputs,
            fleet=fleet,
            router=router,
            economy=economy,
            events=events,
            metrics=metrics,
            traces=traces,
        )
        self.attempts: Final = execution.attempts
        unreadable = UnreadableStored(metrics.unreadable)
        self._board = board = HealthBoard(connection, requests, router, execution.deaths)
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
        self._experiments = experiments = Experiments(connection, requests, unreadable, instance=instance)
        execution.dispatcher.on_split = experiments.ended
        self._flights = Flights(
            AnswerStore(connection, requests, instance=instance, outputs=outputs, unreadable=unreadable),
            Room(scopes, total_max=FLIGHTS_MAX, share_max=settings.scope_share_max),
        )
        self._approvals = approvals = Approvals(requests, events, scopes, metrics, payload_bytes_max=payload_bytes_max)
        reports = TaskReports(events, metrics, traces)
        executors = task_executors(
            requests,
            execution.pools,
            settings=settings,
            fleet=fleet,
            router=router,
            catalogue=catalogue,
            pipelines=pipelines or {},
            flights=self._flights,
            gate=approvals.gate,
            events=events,
            reports=reports,
            metrics=metrics,
            payload_bytes_max=payload_bytes_max,
            others=more_executors(execution.pools, reports),
        )
        self._ways_in = ways_in = WaysIn(
            connection,
            requests,
            settings=settings,
            catalogue=catalogue,
            executors=executors,
            deadlines_ms=deadlines_ms(pipelines or {}),
            approvals=approvals,
            router=router,
            publisher=publisher,
            unreadable=unreadable,
            metrics=metrics,
        )
        self._answers = Answers(
            connection,
            requests,
            settings=settings,
            instance=instance,
            fleet=fleet,
            router=router,
            pipelines=pipelines or {},
            dispatcher=execution.dispatcher,
            executors=executors,
            ways_in=ways_in,
            approvals=approvals,
            experiments=experiments,
            admission=economy.admission,
            unreadable=unreadable,
        )
        fleet.on_change = self._on_fleet_change
        fleet.on_refused = metrics.card_refused
        self._heartbeats = heartbeats = Heartbeats(connection, requests, fleet.on_card)
        heartbeats.on_refused = metrics.card_refused
        fleet.is_storing = lambda: heartbeats.is_storing

    async def learn(self) -> None:
        """
        Know the fleet and the policy; nothing is taken yet.

        Raises:
            PolicyNotUnderstoodError: The policy in force has a newer format than this version can read.
            TimeoutError: The buckets could not be listed.
        """
        await self._economy.start()
        await self._execution.start()
        await self._board.start()
        await self._held_models.start()
        await self.stores.start()
        await self._heartbeats.start()
        async with asyncio.timeout(LIST_TIMEOUT_S):
            await self._heartbeats.listed.wait()

    async def start(self) -> None:
        """Take tasks; only after `learn`."""
        await self._ways_in.start_durable()
        self._experiments.start()
        await self._approvals.watch.start()
        await self._answers.start()
        await self._ways_in.start_interactive()

    async def leave(self, grace_s: float) -> None:
        """Stop taking first, everywhere; then finish what is held within `grace_s`, or nak it."""
        logger.info("leaving", interactive=self._ways_in.asks_held, durable=self._ways_in.durable_held)
        await self._ways_in.stop_durable()
        await asyncio.gather(self._ways_in.stop_interactive(), self._answers.stop())
        await self._ways_in.finish(grace_s)
        await self._flights.finish(CACHE_GRACE_S)
        await self._approvals.watch.stop()
        await self._publisher.flush()
        await self._experiments.stop()
        # What shadows have cost is written as they end.
        await self._execution.dispatcher.shadows.stop()
        await self._economy.stop()
        await self._heartbeats.stop()
        await self._board.stop()
        await self._held_models.stop()
        await self.stores.stop()
        await self.attempts.stop()

    def _on_fleet_change(self, pool: str) -> None:
        self._ways_in.fleet_changed(pool, self._fleet.capabilities_of(pool))
