"""The ways in of one orchestrator, put together: tasks that are pulled, those that the sweep finds, and asks."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Final

from flotilla.capabilities.catalogue import Catalogue
from flotilla.fabric.connection import Connection
from flotilla.fabric.inbox import Requests
from flotilla.pipelines.definition import Pipeline
from flotilla.routing.router import PolicyRouter
from orchestrator.approvals.parts import Approvals
from orchestrator.execution.executors import Executors
from orchestrator.reporting.background_publisher import BackgroundPublisher
from orchestrator.reporting.metrics import OrchestratorMetrics
from orchestrator.settings import OrchestratorSettings
from orchestrator.state.ask_quota import AsksInFlight
from orchestrator.state.pulled_bytes import PulledBytes
from orchestrator.state.reading_time import ReadingTime
from orchestrator.state.shared_quota import Room
from orchestrator.state.unreadable_stored import UnreadableStored
from orchestrator.ways_in.commits import Commits
from orchestrator.ways_in.durable import Durable
from orchestrator.ways_in.intake import Intake, Limits
from orchestrator.ways_in.interactive import Interactive
from orchestrator.ways_in.replies import Replies
from orchestrator.ways_in.settlement import Settlement
from orchestrator.ways_in.sweep import Sweep


class WaysIn:
    """
    The parts of one orchestrator.

    Attributes:
        intake: Checks what comes in.
        commits: Results of durable tasks.
        durables: What pulls tasks, by scope.
    """

    def __init__(
        self,
        connection: Connection,
        requests: Requests,
        *,
        settings: OrchestratorSettings,
        catalogue: Catalogue,
        executors: Executors,
        deadlines_ms: Mapping[str, int],
        approvals: Approvals,
        router: PolicyRouter,
        publisher: BackgroundPublisher,
        unreadable: UnreadableStored,
        metrics: OrchestratorMetrics,
    ) -> None:
        scopes, share_max = settings.scope_names(), settings.scope_share_max
        payload_bytes_max = connection.payload_bytes_max
        self.intake: Final = Intake(
            catalogue,
            Limits(payload_bytes_max=payload_bytes_max),
            executors.serves,
            deadlines_ms,
            sealed=settings.sealed,
        )
        self.commits: Final = Commits(requests, unreadable)
        self._settlement = settlement = Settlement(
            connection, requests, commits=self.commits, metrics=metrics, sealed=settings.sealed
        )
        pulled = Room(scopes, total_max=settings.pulled_bytes_max, share_max=share_max)
        reading = ReadingTime(scopes)
        self.durables: Final = {
            scope: Durable(
                connection,
                requests,
                scope=scope,
                intake=self.intake,
                executors=executors,
                commits=self.commits,
                settlement=settlement,
                approvals=approvals,
                pulled=PulledBytes(pulled, scope, payload_bytes_max=payload_bytes_max),
                reading=reading,
                data_class_of=router.data_class_of,
                metrics=metrics,
            )
            for scope in scopes
        }
        self._sweeps = [
            Sweep(
                requests,
                scope=scope,
                intake=self.intake,
                executors=executors,
                durable=durable,
                settlement=settlement,
                metrics=metrics,
            )
            for scope, durable in self.durables.items()
        ]
        metrics.gauges.asks = asks = AsksInFlight(
            count=Room(scopes, total_max=settings.asks_max, share_max=share_max),
            size=Room(scopes, total_max=settings.asks_bytes_max, share_max=share_max),
        )
        self._interactive = Interactive(
            connection,
            scopes=scopes,
            intake=self.intake,
            executors=executors,
            room=asks,
            data_class_of=router.data_class_of,
            metrics=metrics,
            replies=Replies(connection, publisher),
        )

    @property
    def durable_held(self) -> int:
        """Durable tasks that are not settled yet."""
        return sum(durable.held for durable in self.durables.values())

    @property
    def asks_held(self) -> int:
        """Asks that are not answered yet."""
        return self._interactive.in_flight

    async def start_durable(self) -> None:
        """Pull tasks, and look for those that nobody pulls."""
        for durable in self.durables.values():
            await durable.start()
        for sweep in self._sweeps:
            await sweep.start()

    async def start_interactive(self) -> None:
        """Take asks."""
        await self._interactive.start()

    def fleet_changed(self, pool: str, capabilities: Iterable[str]) -> None:
        """A pool has other capabilities or slots than before: there may be tasks for it."""
        self.intake.announce(pool, capabilities)
        for sweep in self._sweeps:
            sweep.look_again()
        for durable in self.durables.values():
            durable.look_again()

    async def stop_durable(self) -> None:
        """Pull no more, and sweep no more."""
        for durable in self.durables.values():
            durable.stop_taking()
        for sweep in self._sweeps:
            await sweep.stop()

    async def stop_interactive(self) -> None:
        """Take no more asks."""
        await self._interactive.stop_taking()

    async def finish(self, grace_s: float) -> None:
        """Finish what is held within `grace_s`; durable tasks that are not over then are nakked."""
        durables = (durable.finish(grace_s) for durable in self.durables.values())
        await asyncio.gather(self._interactive.finish(grace_s), *durables)
        await self._settlement.finish()


def deadlines_ms(pipelines: Mapping[str, Pipeline]) -> dict[str, int]:
    """The deadlines of pipelines that have one of their own, by name; in milliseconds."""
    return {
        name: int(pipeline.deadline_s * 1000) for name, pipeline in pipelines.items() if pipeline.deadline_s is not None
    }
