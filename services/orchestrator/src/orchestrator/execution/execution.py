"""What works on tasks with pools, put together: attempts, the runs that make them, and what is counted of both."""

from typing import Final

from flotilla.fabric.connection import Connection
from flotilla.routing.router import PolicyRouter
from orchestrator.economy.economy import Economy
from orchestrator.execution.attempts import Attempts
from orchestrator.execution.death_notes import DeathNotes
from orchestrator.execution.dependencies import Dependencies
from orchestrator.execution.dispatch import Dispatcher
from orchestrator.execution.executors import PoolExecutor
from orchestrator.execution.free_signals import FreeSignals
from orchestrator.execution.ledger import Ledger
from orchestrator.reporting.events import Events
from orchestrator.reporting.metrics import OrchestratorMetrics
from orchestrator.reporting.traces import Traces
from orchestrator.state.fleet import Fleet
from orchestrator.state.outputs import Outputs


class Execution:
    """
    The parts of one orchestrator.

    Attributes:
        attempts: What is with workers.
        deaths: Which replicas tasks took with them.
        dispatcher: Runs a task.
        pools: Serves what pools serve.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        instance: str,
        sealed: bool,
        outputs: Outputs,
        fleet: Fleet,
        router: PolicyRouter,
        economy: Economy,
        events: Events,
        metrics: OrchestratorMetrics,
        traces: Traces,
    ) -> None:
        self.attempts: Final = Attempts(
            connection,
            instance,
            outputs,
            traces,
            fleet.replicas_of,
            redaction=lambda: router.policy.document.redaction,
            sealed=sealed,
        )
        self.deaths: Final = DeathNotes(connection)
        dependencies = Dependencies(
            fleet=fleet,
            router=router,
            attempts=self.attempts,
            events=events,
            ledger=Ledger(router.recorder, fleet, metrics),
            deaths=self.deaths,
            admission=economy.admission,
        )
        self.dispatcher: Final = Dispatcher(
            dependencies, metrics, traces, payload_bytes_max=connection.payload_bytes_max, spend=economy.ledger
        )
        self.pools: Final = PoolExecutor(fleet, self.dispatcher)
        self._free_signals = FreeSignals(connection, attempts=self.attempts, fleet=fleet)

    async def start(self) -> None:
        """Hear replies, and which slots are free."""
        await self.attempts.start()
        await self._free_signals.start()
