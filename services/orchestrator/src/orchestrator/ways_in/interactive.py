"""The interactive way in: `ask.<capability>`, answered with the result, or with pieces and then the result."""

import asyncio
import secrets
from collections.abc import Callable
from functools import partial

from flotilla.contracts import subjects
from flotilla.contracts.clock import unix_ms
from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorKind
from flotilla.contracts.headers import DataClass
from flotilla.contracts.results import StepMessage
from flotilla.fabric.backpressure import BoundedMembership
from flotilla.fabric.connection import Connection, Message
from flotilla.fabric.eager import start
from orchestrator.execution.executors import Executors
from orchestrator.reporting.metrics import OrchestratorMetrics
from orchestrator.state.ask_quota import AsksInFlight, size_of
from orchestrator.state.reading_time import ReadingTime, refused
from orchestrator.state.tasks import Task
from orchestrator.ways_in.acceptances import Acceptances
from orchestrator.ways_in.intake import Intake, read_options
from orchestrator.ways_in.replies import Replies, may_answer


class Interactive:
    """Serves the `ask` subjects of the scopes it was given."""

    def __init__(
        self,
        connection: Connection,
        *,
        scopes: tuple[str, ...],
        intake: Intake,
        executors: Executors,
        room: AsksInFlight,
        data_class_of: Callable[[str], DataClass],
        metrics: OrchestratorMetrics,
        replies: Replies,
    ) -> None:
        self._connection = connection
        self._reading = ReadingTime(scopes)
        self._scopes = scopes
        self._intake = intake
        self._executors = executors
        self._room = room
        self._data_class_of = data_class_of
        self._metrics = metrics
        self._replies = replies
        self._acceptances = Acceptances(replies)
        self._serving: set[asyncio.Task[None]] = set()
        self._memberships: dict[str, BoundedMembership] = {}
        self._salt = secrets.token_hex(4)
        self._count = 0

    @property
    def in_flight(self) -> int:
        """Requests being served."""
        return len(self._serving)

    async def start(self) -> None:
        """Join the orchestrators' queue group."""
        self._acceptances.start()
        for scope in self._scopes:
            joined = await self._connection.subscribe(
                subjects.ask(scope, ">"), self._on_request, queue=subjects.ORCHESTRATOR_GROUP
            )
            self._memberships[scope] = BoundedMembership(
                self._connection, joined, partial(self._metrics.asks_held_off, scope)
            )

    async def stop_taking(self) -> None:
        """Leave the group; what had been sent here is still served."""
        await asyncio.gather(*(membership.end() for membership in self._memberships.values()))

    async def finish(self, grace_s: float) -> None:
        """Await what is being served, and cancel what is not done within `grace_s`: its callers are told."""
        if self._serving:
            await asyncio.wait(self._serving, timeout=grace_s)
        self._acceptances.stop()
        late = list(self._serving)
        for serving in late:
            serving.cancel()
        if late:
            await asyncio.wait(late, timeout=1.0)

    async def _on_request(self, message: Message) -> None:
        _, scope, _ = message.subject.split(".", 2)
        size_bytes = size_of(message)
        membership = self._memberships.get(scope)
        if membership is not None:
            membership.read(size_bytes)
        self._reading.arrived(scope, size_bytes)
        if not may_answer(message.reply):
            # Without a reply subject nobody could hear the answer; a task that needs none is published to `tasks`.
            return
        held_off_s = self._hold_off(scope)
        if held_off_s:
            await self._refuse(message.reply, refused(held_off_s))
            return
        try:
            self._room.enter(scope, size_bytes)
        except TaskError as error:
            await self._refuse(message.reply, error)
            return
        serving = start(self._hold(message, scope))
        if serving is not None:
            self._serving.add(serving)
            serving.add_done_callback(self._serving.discard)
        self._hold_off(scope)

    def _hold_off(self, scope: str) -> float:
        """Have the server send no more of a scope whose asks take too long to be read; for how long, in seconds."""
        held_off_s = self._reading.held_off_s(scope)
        if held_off_s and (membership := self._memberships.get(scope)) is not None:
            membership.hold_off(held_off_s)
        return held_off_s

    async def _hold(self, message: Message, scope: str) -> None:
        """Serve an ask that has entered, and have it leave whatever becomes of it."""
        try:
            await self._serve(message)
        finally:
            self._acceptances.over(message.reply)
            self._room.leave(scope, size_of(message))

    async def _serve(self, message: Message) -> None:
        reply = message.reply
        try:
            task = self._take(message)
        except TaskError as error:
            await self._refuse(reply, error)
            return
        if task.options.accepted:
            self._acceptances.expect(reply, task.id)
        seq = 0

        async def on_piece(text: str) -> None:
            nonlocal seq
            await self._replies.piece(reply, seq, text)
            seq += 1

        told: list[asyncio.Task[None]] = []

        def on_step(step: StepMessage) -> None:
            telling = start(self._replies.step(reply, step))
            if telling is not None:
                told.append(telling)

        if task.options.stream:
            task.on_step = on_step
        try:
            result = await self._executors.run(task, on_piece if task.options.stream else None)
        except asyncio.CancelledError:
            stopped = TaskError(ErrorKind.INTERNAL, "the orchestrator was stopped before the answer came")
            await self._replies.error(reply, stopped)
            return
        if told:
            await asyncio.wait(told)
        await self._replies.result(reply, result)

    async def _refuse(self, reply: str, error: TaskError) -> None:
        """It never became a task."""
        self._metrics.refused(path="interactive", outcome=error.kind.value)
        await self._replies.error(reply, error)

    def _take(self, message: Message) -> Task:
        _, scope, _, *rest = message.subject.split(".")
        options = read_options(message.raw_headers)
        task_id = options.task_id
        if task_id is None:
            self._count += 1
            task_id = f"ask-{self._salt}{self._count:x}"
        if self._executors.holds(scope, task_id):
            raise TaskError(ErrorKind.BAD_REQUEST, "a task with this id is being worked on", details={"task": task_id})
        take = partial(
            self._intake.take,
            scope=scope,
            capability=".".join(rest),
            priority="high",
            task_id=task_id,
            options=options,
            body=message.data,
            accepted_unix_ms=unix_ms(),
            durable=False,
            data_class_default=self._data_class_of(scope),
        )
        return self._reading.measured(scope, len(message.data), take)
