"""
The durable way in: tasks pulled from a scope's stream, and held until each is settled.

No more is pulled than executors have capacity for; the rest of the backlog stays in JetStream.
"""

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from typing import Final

import structlog

from flotilla.contracts.headers import DataClass
from flotilla.contracts.subjects import Priority
from flotilla.fabric.connection import Connection
from flotilla.fabric.deliveries import IN_PROGRESS_EVERY_S, Delivery
from flotilla.fabric.eager import start
from flotilla.fabric.inbox import Requests
from flotilla.fabric.per_item import ITEM_FAILURES, guarded
from flotilla.fabric.pull_consumers import Puller, tasks_of
from flotilla.fabric.pull_groups import PullGroups
from orchestrator.approvals.parts import Approvals
from orchestrator.execution.executors import Executor, Executors
from orchestrator.reporting.metrics import OrchestratorMetrics
from orchestrator.state.pulled_bytes import PulledBytes
from orchestrator.state.reading_time import ReadingTime
from orchestrator.ways_in.cancelled_tasks import CancelledTasks
from orchestrator.ways_in.commits import Commits
from orchestrator.ways_in.delivery_run import DeliveryDependencies, DeliveryRun
from orchestrator.ways_in.durable_intake import DurableIntake
from orchestrator.ways_in.in_hand import InHand
from orchestrator.ways_in.intake import Intake
from orchestrator.ways_in.resumed_tasks import ResumedTasks
from orchestrator.ways_in.settlement import Settlement

logger = structlog.get_logger("orchestrator")

PARKED_MAX: Final = 1000
"""
Of a capability, and of what was suspended; then no more of it are pulled. Given back, a task that only waits for a route
would soon look like one that ends every orchestrator that takes it.
"""
PARKED_SHARE: Final = 2
"""Of a scope's bytes one in so many may be parked: then no more are pulled of the capabilities that have parked tasks."""
PULL_TICK_S: Final = 0.5


class Durable:
    """
    Pulls from the task stream of one scope, and holds what is delivered.

    Attributes:
        intake: Of this scope's tasks.
        cancelled: Tasks that were cancelled while nobody held them.
        resumed: Those that were suspended, and are due.
    """

    def __init__(
        self,
        connection: Connection,
        requests: Requests,
        *,
        scope: str,
        intake: Intake,
        executors: Executors,
        commits: Commits,
        settlement: Settlement,
        approvals: Approvals,
        pulled: PulledBytes,
        reading: ReadingTime,
        data_class_of: Callable[[str], DataClass],
        metrics: OrchestratorMetrics,
    ) -> None:
        self._connection = connection
        self._requests = requests
        self._scope = scope
        self._executors = executors
        self._pulled = pulled
        self._loop = asyncio.get_running_loop()
        self._held: dict[DeliveryRun, asyncio.Task[None] | None] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._pull_due = asyncio.Event()
        self._taking = True
        self._looked_at = 0.0
        self.pull_groups: Final = PullGroups(self._puller, self._count_pullers)
        self._in_hand = InHand()
        self.resumed: Final = ResumedTasks(
            connection,
            requests,
            scope,
            pulled,
            suspensions=approvals.suspensions,
            capacity=lambda capability: executors.of(capability).capacity(capability),
            held=self._in_hand,
            on_delivery=self._on_delivery,
            on_refused=self.look_again,
            metrics=metrics.pipelines,
        )
        self.intake: Final = DurableIntake(intake, scope, data_class_of, reading)
        self.cancelled: Final = CancelledTasks()
        self._dependencies = DeliveryDependencies(
            scope=scope,
            intake=self.intake,
            executors=executors,
            commits=commits,
            settlement=settlement,
            approvals=approvals,
            cancelled=self.cancelled,
            groups=self.pull_groups.of,
            in_hand=self._in_hand,
            metrics=metrics,
            on_room=self._pull_due.set,
            on_end=self._ended,
        )

    @property
    def held(self) -> int:
        """Messages held unacknowledged."""
        return len(self._held)

    async def start(self) -> None:
        """Begin to pull for what executors can take."""
        self._connection.on_reconnect(self._on_reconnect)
        self._tasks = [
            self._loop.create_task(self._pull_loop()),
            self._loop.create_task(self._heartbeat_loop()),
        ]

    def look_again(self) -> None:
        """The fleet or the consumers changed: pull without waiting for the next tick."""
        self._pull_due.set()

    def _puller(self, capability: str, priority: Priority) -> Puller:
        return Puller(
            self._connection,
            self._requests,
            source=tasks_of(self._scope, capability, priority),
            allowance=self._pulled,
            on_delivery=self._on_delivery,
            on_refused=self.look_again,
        )

    def _count_pullers(self, count: int) -> None:
        # With that of the tasks that are resumed.
        self._pulled.pullers = count + 1

    def stop_taking(self) -> None:
        """Pull no more; what is on its way, and what only waits for a route, is given back for others."""
        self._taking = False
        for run, handling in self._held.items():
            if run.is_parked and handling is not None:
                handling.cancel()

    async def finish(self, grace_s: float) -> None:
        """Finish what is held within `grace_s`; give the rest back for another orchestrator."""
        held = [handling for handling in self._held.values() if handling is not None]
        if held:
            await asyncio.wait(held, timeout=grace_s)
        late = [handling for handling in self._held.values() if handling is not None]
        for handling in late:
            handling.cancel()
        if late:
            await asyncio.wait(late, timeout=1.0)
        for task in self._tasks:
            task.cancel()

    def _on_reconnect(self) -> None:
        for group in self.pull_groups.of.values():
            for puller in group.pullers.values():
                puller.forget_pulls()
        self.resumed.puller.forget_pulls()
        self._pull_due.set()

    async def _pull_loop(self) -> None:
        while self._taking:
            # A timer of its own is cheaper than `wait_for`, which makes a task for every wait.
            tick = self._loop.call_later(PULL_TICK_S, self._pull_due.set)
            await self._pull_due.wait()
            tick.cancel()
            self._pull_due.clear()
            if self._connection.is_connected:
                now = self._loop.time()
                whole = now - self._looked_at >= PULL_TICK_S
                if whole:
                    self._looked_at = now
                try:
                    await self._pull(whole=whole)
                except Exception as error:  # noqa: BLE001  (a full output buffer while disconnected: the next turn)
                    logger.warning("pull_failed", error=type(error).__name__)

    async def _pull(self, *, whole: bool) -> None:
        """
        Pull what there is room for.

        Args:
            whole: Look also at what has been asked for already: requests may have been lost. Every PULL_TICK_S is
                enough for that; without, a turn costs little however many capabilities there are.
        """
        if self.intake.is_held_off:
            return
        left: dict[Executor, int] = {}
        parked_enough = self._in_hand.parked_bytes > self._pulled.largest // PARKED_SHARE
        resumed_parked = self._in_hand.resumed_parked
        if whole and self._taking and resumed_parked < PARKED_MAX and not (resumed_parked and parked_enough):
            await self.resumed.pull()
        for capability, group in list(self.pull_groups.of.items()):
            if not self._taking or group.parked >= PARKED_MAX or (group.parked and parked_enough):
                continue
            try:
                executor = self._executors.of(capability)
                if executor not in left:
                    left[executor] = executor.total_capacity() - self._in_hand.answering[executor]
                room = min(executor.capacity(capability) - group.in_hand, left[executor])
                if whole or not group.asks_enough(room):
                    await group.pull(room)
            except Exception as error:  # noqa: BLE001  (as `guarded`, which would cost more than the rest)
                ITEM_FAILURES.tell("pulls", capability, error)

    async def _heartbeat_loop(self) -> None:
        while True:
            await asyncio.sleep(IN_PROGRESS_EVERY_S)
            for run in list(self._held):
                with guarded("deliveries", run.delivery.sequence):
                    await run.delivery.in_progress()

    def _on_delivery(self, delivery: Delivery) -> None:
        run = DeliveryRun(self._dependencies, delivery)
        self._held[run] = None
        # A context of its own: the log lines of a task carry its id.
        handling = start(run.run() if self._taking else run.nak(), copy_context())
        if run in self._held:
            self._held[run] = handling

    def _ended(self, run: DeliveryRun) -> None:
        del self._held[run]
        if run.delivery.is_resumed:
            self.resumed.in_hand -= 1
        self._pulled.give_back(run.delivery.size_bytes)
        self._pull_due.set()
