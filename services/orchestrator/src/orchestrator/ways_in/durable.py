"""
The durable way in: tasks pulled from a scope's stream, dispatched, their results committed, then acknowledged.

No more is pulled than the fleet has slots for; the rest of the backlog stays in JetStream.
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import Final, Literal

import structlog

from flotilla.contracts import subjects
from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorBody, ErrorKind
from flotilla.contracts.headers import DataClass
from flotilla.contracts.names import task_id_of
from flotilla.contracts.subjects import PRIORITIES, Priority
from flotilla.fabric.connection import Connection
from flotilla.fabric.eager import start
from flotilla.fabric.errors import FabricError
from flotilla.fabric.inbox import Requests
from flotilla.fabric.per_item import guarded
from flotilla.fabric.pull_consumers import HEARTBEAT_EVERY_S, Delivery, Puller, PullGroup
from flotilla.fabric.stored import StoredMessage
from orchestrator.execution.dependencies import NoRouteNowError
from orchestrator.execution.dispatch import Dispatcher
from orchestrator.reporting.metrics import OrchestratorMetrics
from orchestrator.state.fleet import Fleet
from orchestrator.state.pulled_bytes import PulledBytes
from orchestrator.state.tasks import Task
from orchestrator.ways_in.commits import Commits
from orchestrator.ways_in.durable_answers import DurableAnswer, refusal
from orchestrator.ways_in.intake import Intake, read_options
from orchestrator.ways_in.replies import internal
from orchestrator.ways_in.settlement import Settlement

logger = structlog.get_logger("orchestrator")

DELIVERIES_MAX: Final = 20
PARKED_MAX: Final = 1000
"""
Of a capability; then no more of it are pulled. Handed back, a task that only waits for a route would soon look like one
that ends every orchestrator that takes it.
"""
PARKED_SHARE: Final = 2
"""Of a scope's bytes one in so many may be parked: then no more are pulled of the capabilities that have parked tasks."""
PULL_TICK_S: Final = 0.5
HAND_BACK_AFTER_S: Final = 5.0
CANCELLED_MAX: Final = 10_000


class Durable:
    """
    Serves the task stream of one scope.

    Attributes:
        pull_groups: By capability: its pullers, one per priority.
        parked: Deliveries that wait for a route to come back; they take no room.
        answering: Tasks whose answer is not there yet; those being committed are not counted.
    """

    def __init__(
        self,
        connection: Connection,
        requests: Requests,
        *,
        scope: str,
        fleet: Fleet,
        intake: Intake,
        dispatcher: Dispatcher,
        commits: Commits,
        settlement: Settlement,
        pulled: PulledBytes,
        data_class_of: Callable[[str], DataClass],
        metrics: OrchestratorMetrics,
    ) -> None:
        self._connection = connection
        self._requests = requests
        self._scope = scope
        self._fleet = fleet
        self._intake = intake
        self._dispatcher = dispatcher
        self._commits = commits
        self._settlement = settlement
        self._pulled = pulled
        self._data_class_of = data_class_of
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._held: dict[Delivery, asyncio.Task[None] | None] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._pull_due = asyncio.Event()
        self._taking = True
        self._cancelled: dict[str, None] = {}
        self.pull_groups: dict[str, PullGroup] = {}
        self.parked: set[Delivery] = set()
        self.parked_bytes = 0
        self.answering = 0

    @property
    def held(self) -> int:
        """Messages held unacknowledged."""
        return len(self._held)

    async def start(self) -> None:
        """Begin to pull for what the fleet can serve."""
        self._connection.on_reconnect(self._on_reconnect)
        self._tasks = [
            self._loop.create_task(self._pull_loop()),
            self._loop.create_task(self._heartbeat_loop()),
        ]

    def look_again(self) -> None:
        """The fleet or the consumers changed: pull without waiting for the next tick."""
        self._pull_due.set()

    def remember_cancelled(self, task_id: str) -> None:
        """A task was cancelled that nobody held: do not begin it when it comes."""
        self._cancelled[task_id] = None
        while len(self._cancelled) > CANCELLED_MAX:
            del self._cancelled[next(iter(self._cancelled))]

    def open_pull_group(self, capability: str) -> PullGroup:
        """The pullers of a capability, whose consumers exist."""
        pull_group = self.pull_groups.get(capability)
        if pull_group is None:
            pull_group = self.pull_groups[capability] = PullGroup(
                {
                    priority: Puller(
                        self._connection,
                        self._requests,
                        scope=self._scope,
                        capability=capability,
                        priority=priority,
                        allowance=self._pulled,
                        on_delivery=self._on_delivery,
                        on_refused=self.look_again,
                    )
                    for priority in PRIORITIES
                }
            )
            self._pulled.pullers = len(self.pull_groups) * len(PRIORITIES)
        return pull_group

    def stop_taking(self) -> None:
        """Pull no more; what is on its way, and what only waits for a route, is handed back for others."""
        self._taking = False
        for delivery in self.parked:
            handling = self._held.get(delivery)
            if handling is not None:
                handling.cancel()

    async def finish(self, grace_s: float) -> None:
        """Finish what is held within `grace_s`; hand the rest back for another orchestrator."""
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
        for pull_group in self.pull_groups.values():
            for puller in pull_group.pullers.values():
                puller.forget_pulls()
        self._pull_due.set()

    async def _pull_loop(self) -> None:
        while self._taking:
            # A timer of its own is cheaper than `wait_for`, which makes a task for every wait.
            tick = self._loop.call_later(PULL_TICK_S, self._pull_due.set)
            await self._pull_due.wait()
            tick.cancel()
            self._pull_due.clear()
            if self._connection.is_connected:
                try:
                    await self._pull()
                except Exception as error:  # noqa: BLE001  (a full output buffer while disconnected: the next turn)
                    logger.warning("pull_failed", error=type(error).__name__)

    async def _pull(self) -> None:
        total = 2 * self._fleet.slots() - self.answering
        parked_enough = self.parked_bytes > self._pulled.largest // PARKED_SHARE
        for capability, pull_group in list(self.pull_groups.items()):
            if self._taking and pull_group.parked < PARKED_MAX and not (pull_group.parked and parked_enough):
                with guarded("pulls", capability):
                    await pull_group.pull(min(self._fleet.slots_for(capability) - pull_group.in_hand, total))

    async def _heartbeat_loop(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_EVERY_S)
            for delivery in list(self._held):
                with guarded("deliveries", delivery.sequence):
                    await delivery.in_progress()

    def _on_delivery(self, delivery: Delivery) -> None:
        self._held[delivery] = None
        handling = start(self._handle(delivery))
        if delivery in self._held:
            self._held[delivery] = handling

    async def _handle(self, delivery: Delivery) -> None:
        place = _Place(self, delivery)
        try:
            if not self._taking:
                await delivery.nak()
                return
            place.take()
            answer = await self._answer(delivery, place)
            place.give_up()
            self._pull_due.set()
            if not await self._settlement.settle(self._scope, delivery, answer):
                await delivery.nak_after(HAND_BACK_AFTER_S)
        except NoRouteNowError:
            await delivery.nak_after(HAND_BACK_AFTER_S)
        except asyncio.CancelledError:
            await delivery.nak()
        except FabricError as error:
            logger.warning("task_handed_back", sequence=delivery.sequence, error=type(error).__name__)
            await delivery.nak_after(HAND_BACK_AFTER_S)
        except Exception:
            logger.exception("durable_task_crashed", sequence=delivery.sequence)
            await delivery.nak_after(HAND_BACK_AFTER_S)
        finally:
            place.give_up()
            del self._held[delivery]
            self._pulled.give_back(delivery.size_bytes)
            self._pull_due.set()

    async def _answer(self, delivery: Delivery, place: "_Place") -> DurableAnswer:
        """The result to commit, or the one that is committed already."""
        try:
            task = self._take(delivery)
        except TaskError as error:
            return DurableAnswer(refusal(delivery, error.body))
        if delivery.deliveries > 1:
            found = await self._commits.find(self._scope, task.id, task.capability)
            if found is not None:
                return DurableAnswer(found, task, committed=True)
        if (self._scope, task.id) in self._dispatcher.held:
            # The same task, delivered again while it is worked on here: the one under way will commit.
            raise NoRouteNowError
        if delivery.deliveries > DELIVERIES_MAX:
            text = f"given up after {DELIVERIES_MAX} deliveries that ended without a result"
            return self._failed(task, ErrorBody(kind=ErrorKind.INTERNAL, message=text, retryable=True))
        if task.id in self._cancelled:
            del self._cancelled[task.id]
            task.cancelled.set()
        task.park = place.park
        return await self._run(task)

    async def _run(self, task: Task) -> DurableAnswer:
        try:
            return DurableAnswer(await self._dispatcher.run(task), task)
        except (NoRouteNowError, FabricError):
            raise
        except Exception:
            reference = secrets.token_hex(6)
            logger.exception("task_crashed", id=reference, task=task.id, capability=task.capability)
            return self._failed(task, internal(reference).body)

    async def answer_overdue(self, message: StoredMessage) -> DurableAnswer | None:
        """The end of a task that waits in the stream beyond its deadline, or is none; None while it may wait."""
        try:
            task = self._take(message)
        except TaskError as error:
            return DurableAnswer(refusal(message, error.body))
        if time.monotonic() < task.deadline_at or (self._scope, task.id) in self._dispatcher.held:
            return None
        return DurableAnswer(await self._dispatcher.run(task), task)

    def _failed(self, task: Task, error: ErrorBody) -> DurableAnswer:
        """The end of a task that no run brought to a result."""
        result = task.failed(error)
        self._metrics.task_ended(task, result, None)
        return DurableAnswer(result, task)

    def _take(self, delivery: Delivery | StoredMessage) -> Task:
        parsed = subjects.parse_tasks(delivery.subject)
        if parsed is None:
            raise TaskError(ErrorKind.UNKNOWN_CAPABILITY, "the subject is not tasks.<capability>[.high|.low]")
        options = read_options(delivery.raw_headers)
        return self._intake.take(
            scope=self._scope,
            capability=parsed.capability,
            priority=parsed.priority,
            task_id=task_id_of(options.task_id, delivery.sequence),
            options=options,
            body=delivery.body,
            accepted_unix_ms=delivery.stored_unix_ms,
            durable=True,
            data_class_default=self._data_class_of(self._scope),
        )


class _Place:
    """A delivery's place in what this orchestrator has in hand: taken, parked, or given up."""

    __slots__ = ("_delivery", "_durable", "_priority", "_pull_group", "_state")

    def __init__(self, durable: Durable, delivery: Delivery) -> None:
        parsed = subjects.parse_tasks(delivery.subject)
        self._durable = durable
        self._delivery = delivery
        self._pull_group = durable.pull_groups.get(parsed.capability) if parsed is not None else None
        self._priority: Priority = parsed.priority if parsed is not None else "normal"
        self._state: Literal["none", "taken", "parked"] = "none"

    def take(self) -> None:
        """It is being answered, and counts against the room there is."""
        if self._pull_group is not None and self._state == "none":
            self._state = "taken"
            self._pull_group.held[self._priority] += 1
            self._durable.answering += 1

    def park(self, begins: bool) -> None:  # noqa: FBT001  (see `Task.park`)
        """It waits for a route and leaves its room to others, or goes on."""
        if not begins:
            if self._state == "parked":
                self.give_up()
                self.take()
            return
        if self._pull_group is None:
            return
        self.give_up()
        self._state = "parked"
        self._pull_group.parked += 1
        self._durable.parked.add(self._delivery)
        self._durable.parked_bytes += self._delivery.size_bytes
        self._durable.look_again()

    def give_up(self) -> None:
        """It is over."""
        if self._pull_group is None:
            return
        if self._state == "taken":
            self._pull_group.held[self._priority] -= 1
            self._durable.answering -= 1
        elif self._state == "parked":
            self._pull_group.parked -= 1
            self._durable.parked.discard(self._delivery)
            self._durable.parked_bytes -= self._delivery.size_bytes
        self._state = "none"
