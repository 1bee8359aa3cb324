"""API requests about tasks and replicas: `api.result`, `status`, `cancel` and `replicas`."""

import asyncio
import time
from typing import Final

import msgspec
from msgspec import UNSET

from flotilla.contracts import subjects
from flotilla.contracts.api import (
    Backlog,
    Cancelled,
    CancelQuery,
    FleetStatus,
    ReplicasReply,
    ResultQuery,
    StatusQuery,
    TaskStatus,
)
from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorBody, ErrorKind
from flotilla.contracts.headers import TASK_ID
from flotilla.contracts.names import SEQUENCE_ID_PREFIX
from flotilla.contracts.results import Result, input_digest
from flotilla.contracts.subjects import PRIORITIES
from flotilla.fabric.connection import Connection, Message
from flotilla.fabric.errors import FabricError, NoRespondersError, RequestTimeoutError
from flotilla.fabric.held_subjects import count_of_each, few_subjects_holding
from flotilla.fabric.inbox import Requests
from flotilla.fabric.message import HeaderBlock
from flotilla.fabric.publish_outcomes import Stored
from flotilla.fabric.stored import StoredMessage, between, delete_message, message_at
from flotilla.fabric.stream_usage import held_by, sequences
from orchestrator.api.fleet_needs import NeedsOfFleet
from orchestrator.api.requests import ApiRequest, decode_query, not_found
from orchestrator.api.turns import Turns
from orchestrator.approvals.gate import Gate
from orchestrator.approvals.suspensions import Suspensions, read_suspended
from orchestrator.execution.dispatch import Dispatcher
from orchestrator.execution.executors import Executors
from orchestrator.state.fleet import Fleet
from orchestrator.ways_in.commits import Commits
from orchestrator.ways_in.durable import Durable
from orchestrator.ways_in.durable_answers import refusal
from orchestrator.ways_in.replies import may_answer

HOLDER_TIMEOUT_S: Final = 0.4
HOLDER_PATIENCE_S: Final = 2.0
"""Before a task that nothing is stored of cannot be cancelled: whoever holds it may be busy for a moment."""
WAITING_LOOKED_AT_MAX: Final = 50_000
"""How many waiting tasks are read to find one by an id of the caller's own; the stream has no index of these."""
BACKLOG_ASKED_MAX: Final = 64
"""Capabilities whose tasks are counted one by one."""
WAITING_BYTES_MAX: Final = 256 * 1024 * 1024


class TaskHandlers:
    """Answers API requests about tasks, asking the other orchestrators for those that are not held here."""

    def __init__(
        self,
        connection: Connection,
        requests: Requests,
        *,
        instance: str,
        fleet: Fleet,
        dispatcher: Dispatcher,
        executors: Executors,
        commits: Commits,
        durables: dict[str, Durable],
        suspensions: Suspensions,
        gate: Gate,
        walks: Turns,
        needs: NeedsOfFleet,
        sealed: bool = False,
    ) -> None:
        self._connection = connection
        self._requests = requests
        self._instance = instance
        self._fleet = fleet
        self._dispatcher = dispatcher
        self._executors = executors
        self._commits = commits
        self._durables = durables
        self._suspensions = suspensions
        self._gate = gate
        self._walks = walks
        self._needs = needs
        self._sealed = sealed

    async def start(self) -> None:
        """Listen to the other orchestrators."""
        for scope in self._durables:
            await self._connection.subscribe(subjects.orchestrator_control(scope, "*"), self._on_control)

    async def _on_control(self, message: Message) -> None:
        """Another orchestrator asks who holds a task; only the one that does answers."""
        _, scope, verb = message.subject.split(".")
        task_id = message.data.decode("ascii", "replace")
        if verb == "cancel":
            was = await self._executors.cancel(scope, task_id)
            if was is not None and may_answer(message.reply):
                await self._connection.publish(message.reply, was.encode())
        elif verb == "withdraw":
            # It was seen waiting in the stream; whoever has pulled it since must not begin it.
            if await self._executors.cancel(scope, task_id) is None and scope in self._durables:
                self._durables[scope].cancelled.remember(task_id)
        elif verb == "where":
            status = self._held_status(scope, task_id)
            if status is not None and may_answer(message.reply):
                await self._connection.publish(message.reply, msgspec.json.encode(status))

    async def result(self, question: ApiRequest) -> Result:
        """The committed result of a durable task."""
        query = decode_query(question, ResultQuery)
        found = await self._commits.find(question.scope, query.task)
        if found is None:
            raise not_found(query.task, "has no committed result")
        return found

    async def status(self, question: ApiRequest) -> TaskStatus | FleetStatus:
        """Where one task stands, or the fleet."""
        query = decode_query(question, StatusQuery)
        return (
            await self._fleet_status(question, needs=query.needs is True)
            if query.task is None
            else await self._task_status(question.scope, query.task)
        )

    async def _task_status(self, scope: str, task_id: str) -> TaskStatus:
        found = await self._commits.find(scope, task_id)
        if found is None:
            reply = await self._ask_all(scope, "where", task_id)
            if reply is not None:
                return msgspec.json.decode(reply, type=TaskStatus)
            waiting = await self._find_suspended(scope, task_id) or await self._find_waiting(scope, task_id)
            if waiting is not None:
                parsed = subjects.parse_tasks(waiting.subject)
                return TaskStatus(
                    task=task_id,
                    state="waiting",
                    capability=parsed.capability if parsed else "",
                    input_sha256=input_digest(waiting.body),
                )
            # It may have ended while it was looked for.
            found = await self._commits.find(scope, task_id)
        if found is None:
            raise not_found(task_id, "is not known")
        return TaskStatus(
            task=task_id,
            state="ok" if found.status == "ok" else "failed",
            capability=found.capability,
            pool=found.pool,
            model=found.model,
            replica=found.replica,
            running_ms=found.latency_ms,
            error=found.error if isinstance(found.error, ErrorBody) else None,
            input_sha256=found.input_sha256,
        )

    def _held_status(self, scope: str, task_id: str) -> TaskStatus | None:
        run = self._dispatcher.held.get((scope, task_id))
        if run is None:
            held = self._executors.held.get((scope, task_id))
            return (
                None
                if held is None
                else TaskStatus(
                    task=task_id, state="running", capability=held.capability, input_sha256=held.input_sha256
                )
            )
        task = run.task
        attempt = next((each for each in run.running() if each.heard_at is not None), None)
        if attempt is None:
            return TaskStatus(task=task_id, state="waiting", capability=task.capability, input_sha256=task.input_sha256)
        return TaskStatus(
            task=task_id,
            state="running",
            capability=task.capability,
            pool=attempt.route.pool,
            model=attempt.route.model,
            replica=attempt.replica,
            running_ms=attempt.elapsed_ms,
            input_sha256=task.input_sha256,
        )

    async def _fleet_status(self, question: ApiRequest, *, needs: bool) -> FleetStatus:
        scope = question.scope
        backlog: dict[str, dict[str, int]] = {}
        for subject, count in (await self._held(scope)).items():
            parsed = subjects.parse_tasks(subject)
            if parsed is not None:
                backlog.setdefault(parsed.capability, {})[parsed.priority] = count
        return FleetStatus(
            scope=scope,
            orchestrator=self._instance,
            pools=self._fleet.statuses(),
            backlog=[Backlog(capability=name, **counts) for name, counts in sorted(backlog.items())],
            dead=(await held_by(self._requests, subjects.dead_stream(scope))).messages,
            now_unix_ms=time.time_ns() // 1_000_000,
            lane="sealed" if self._sealed else UNSET,
            needs=await self._needs.of(question) if needs else UNSET,
            stores_nothing=UNSET if self._fleet.is_storing() else True,
        )

    async def _held(self, scope: str) -> dict[str, int]:
        """The tasks that wait, by subject; of what is served alone, where they are on more subjects than are listed."""
        stream = subjects.tasks_stream(scope)
        held = await few_subjects_holding(self._requests, stream, f"scope.{scope}.tasks.>")
        if held is not None:
            return held
        served = sorted(self._fleet.capabilities())[:BACKLOG_ASKED_MAX]
        asked = [subjects.tasks(scope, capability, priority) for capability in served for priority in PRIORITIES]
        return await count_of_each(self._requests, stream, asked)

    async def cancel(self, question: ApiRequest) -> Cancelled:
        """Stop a task, wherever it is."""
        query = decode_query(question, CancelQuery)
        asking = asyncio.create_task(self._ask_all(question.scope, "cancel", query.task, timeout_s=HOLDER_PATIENCE_S))
        try:
            await asyncio.wait({asking}, timeout=HOLDER_TIMEOUT_S)
            reply = asking.result() if asking.done() else None
            return await self._cancel(question.scope, query, asking) if reply is None else _cancelled(query.task, reply)
        finally:
            asking.cancel()

    async def _cancel(self, scope: str, query: CancelQuery, asking: "asyncio.Task[bytes | None]") -> Cancelled:
        """Of a task that nobody has said to hold yet; `asking` goes on."""
        found = await self._commits.find(scope, query.task)
        if found is not None:
            raise not_found(query.task, f"is over already ({found.status})")
        suspended = await self._suspensions.find(scope, query.task)
        waiting = _original(scope, suspended) or await self._find_waiting(scope, query.task)
        if waiting is None:
            reply = await asking
            if reply is None:
                raise not_found(query.task, "is not known")
            return _cancelled(query.task, reply)
        await self._connection.publish(subjects.orchestrator_control(scope, "withdraw"), query.task.encode())
        error = ErrorBody(kind=ErrorKind.CANCELLED, message="cancelled by the caller")
        result = refusal(waiting, error)
        stored = await self._commits.commit(scope, result)
        if stored is Stored.NOT:
            raise FabricError("the end of a cancelled task could not be committed")
        if stored is Stored.NOW:
            if suspended is not None:
                await self._suspensions.drop(scope, suspended)
            else:
                await delete_message(self._requests, subjects.tasks_stream(scope), waiting.sequence)
            await self._gate.withdraw(scope, query.task)
        else:
            # Somebody ended it in this moment: what that came to is what the caller is told.
            other = await self._commits.find(scope, query.task)
            was_cancelled = (
                other is not None and isinstance(other.error, ErrorBody) and other.error.kind is ErrorKind.CANCELLED
            )
            if other is not None and not was_cancelled:
                raise not_found(query.task, f"is over already ({other.status})")
        return Cancelled(task=query.task, was="waiting")

    async def replicas(self, _question: ApiRequest) -> ReplicasReply:
        """Every live replica's card; of a pool whose cards take more than its share of an answer, as many as fit."""
        return ReplicasReply(replicas=self._fleet.cards_within(self._connection.payload_bytes_max // 2))

    async def _ask_all(
        self, scope: str, verb: str, task_id: str, *, timeout_s: float = HOLDER_TIMEOUT_S
    ) -> bytes | None:
        """Ask every orchestrator, this one included; the one that holds the task answers."""
        try:
            reply = await self._requests.request(
                subjects.orchestrator_control(scope, verb), task_id.encode(), timeout_s=timeout_s
            )
        except (RequestTimeoutError, NoRespondersError):
            return None
        return reply.data

    async def _find_suspended(self, scope: str, task_id: str) -> StoredMessage | None:
        """A task that waits for an approval, as it was submitted."""
        return _original(scope, await self._suspensions.find(scope, task_id))

    async def _find_waiting(self, scope: str, task_id: str) -> StoredMessage | None:
        """
        A task that is in the stream and held by nobody.

        Raises:
            TaskError: `backlog_full`: it has an id of its own and is not among the oldest WAITING_LOOKED_AT_MAX, or
                WAITING_BYTES_MAX of them, but more wait.
        """
        stream = subjects.tasks_stream(scope)
        if task_id.startswith(SEQUENCE_ID_PREFIX):
            sequence = task_id.removeprefix(SEQUENCE_ID_PREFIX)
            # An id is written in one way only: `seq-07` is not another name of `seq-7`.
            is_derived = sequence.isdigit() and not sequence.startswith("0")
            return await message_at(self._requests, stream, int(sequence)) if is_derived else None
        async with self._walks.turn(scope):
            return await self._walk_to(scope, task_id)

    async def _walk_to(self, scope: str, task_id: str) -> StoredMessage | None:
        stream = subjects.tasks_stream(scope)
        _, last = await sequences(self._requests, stream)
        looked_at = size = 0
        async for message in between(
            self._requests, stream, f"scope.{scope}.tasks.>", from_sequence=1, before=last + 1
        ):
            if looked_at >= WAITING_LOOKED_AT_MAX or size >= WAITING_BYTES_MAX:
                raise TaskError(
                    ErrorKind.BACKLOG_FULL,
                    f"cannot tell whether task {task_id} waits: it is not among the {looked_at} oldest, and more wait",
                    details={"task": task_id, "looked_at": looked_at},
                )
            if message.headers.get(TASK_ID) == task_id:
                return message
            looked_at += 1
            size += len(message.body)
        return None


def _cancelled(task_id: str, was: bytes) -> Cancelled:
    """In the words of the orchestrator that held it."""
    return Cancelled(task=task_id, was="running" if was == b"running" else "waiting")


def _original(scope: str, suspended: StoredMessage | None) -> StoredMessage | None:
    kept = None if suspended is None else read_suspended(scope, suspended.body)
    if kept is None:
        return None
    original = kept.original
    return StoredMessage(
        subject=original.subject,
        sequence=original.sequence,
        stored_unix_ms=original.stored_unix_ms,
        headers=HeaderBlock(original.raw_headers or b"").fields,
        body=original.body,
        raw_headers=original.raw_headers,
    )
