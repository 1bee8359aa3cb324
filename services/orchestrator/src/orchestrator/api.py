"""Questions to the fleet: `api.<verb>`, answered by any orchestrator of the queue group."""

import asyncio
import secrets
from typing import Any, Final, TypeVar

import msgspec
import structlog

from flotilla.contracts import subjects
from flotilla.contracts.api import (
    Backlog,
    Cancelled,
    CancelQuery,
    DeadEntry,
    DeadList,
    DeadQuery,
    FleetStatus,
    PoolStatus,
    ReplicasReply,
    ResultQuery,
    Retried,
    StatusQuery,
    TaskStatus,
)
from flotilla.contracts.attempts import UNDECODABLE, safe_text
from flotilla.contracts.errors import BadRequestError, TaskError
from flotilla.contracts.failures import ErrorBody, ErrorKind
from flotilla.contracts.headers import TASK_ID
from flotilla.contracts.names import SEQUENCE_ID_PREFIX, TASK_ID_LENGTH_MAX
from flotilla.contracts.presence import ReplicaCard
from flotilla.contracts.results import DeadRecord, Result, decode_dead
from flotilla.fabric.connection import Connection, Message
from flotilla.fabric.errors import FabricError, NoRespondersError, RequestTimeoutError
from flotilla.fabric.groups import leave
from flotilla.fabric.inbox import Requests
from flotilla.fabric.stored import (
    StoredMessage,
    delete_message,
    last_message,
    message_at,
    scan,
    subjects_holding,
)
from orchestrator.commits import Commits, Committed
from orchestrator.dispatch import Dispatcher
from orchestrator.durable import Durable, refusal
from orchestrator.fleet import Fleet
from orchestrator.replies import internal, reply_error

logger = structlog.get_logger("orchestrator")

HOLDER_TIMEOUT_S: Final = 0.4
WAITING_SCANNED_MAX: Final = 5_000
DEAD_SCANNED_MAX: Final = 10_000
IN_FLIGHT_MAX: Final = 256

Query = TypeVar("Query", bound=msgspec.Struct)


class Api:
    """Serves the `api` subjects of the scopes it was given, and tells the other orchestrators what all must know."""

    def __init__(
        self,
        connection: Connection,
        requests: Requests,
        *,
        instance: str,
        fleet: Fleet,
        dispatcher: Dispatcher,
        commits: Commits,
        durables: dict[str, Durable],
    ) -> None:
        self._connection = connection
        self._requests = requests
        self._instance = instance
        self._fleet = fleet
        self._dispatcher = dispatcher
        self._commits = commits
        self._durables = durables
        self._memberships: list[Any] = []
        self._serving: set[asyncio.Task[None]] = set()
        self._verbs = {
            "result": self._result,
            "status": self._status,
            "cancel": self._cancel,
            "replicas": self._replicas,
            "dead": self._dead,
        }

    async def start(self) -> None:
        """Join the queue group of every scope, and listen to the other orchestrators."""
        for scope in self._durables:
            self._memberships.append(
                await self._connection.subscribe(
                    subjects.api(scope, "*"), self._on_request, queue=subjects.ORCHESTRATOR_GROUP
                )
            )
            self._memberships.append(
                await self._connection.subscribe(subjects.orchestrator_control(scope, "*"), self._on_control)
            )

    async def stop(self) -> None:
        """Leave the groups."""
        memberships, self._memberships = self._memberships, []
        await asyncio.gather(*(leave(self._connection, member) for member in memberships))

    async def _on_request(self, message: Message) -> None:
        if not message.reply:
            return
        if len(self._serving) >= IN_FLIGHT_MAX:
            await reply_error(
                self._connection, message.reply, TaskError(ErrorKind.NO_CAPACITY, "too many questions at a time")
            )
            return
        serving = asyncio.get_running_loop().create_task(self._serve(message))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)

    async def _serve(self, message: Message) -> None:
        _, scope, _, verb = message.subject.split(".")
        answer_with = self._verbs.get(verb)
        try:
            if answer_with is None:
                known = ", ".join(sorted(self._verbs))
                raise BadRequestError(f"no such question; known are {known}", path="subject", expected=known)
            answer = await answer_with(scope, message.data)
        except TaskError as error:
            await reply_error(self._connection, message.reply, error)
        except FabricError as error:
            logger.warning("api_failed", verb=verb, error=type(error).__name__)
            text = "the stores could not be reached; try again"
            await reply_error(self._connection, message.reply, TaskError(ErrorKind.INTERNAL, text))
        except Exception:
            reference = secrets.token_hex(6)
            logger.exception("api_crashed", id=reference, verb=verb)
            await reply_error(self._connection, message.reply, internal(reference))
        else:
            await self._connection.publish(message.reply, msgspec.json.encode(answer))

    async def _on_control(self, message: Message) -> None:
        """Another orchestrator asks who holds a task; only the one that does answers."""
        _, scope, verb = message.subject.split(".")
        task_id = message.data.decode("ascii", "replace")
        if verb == "cancel":
            was = await self._dispatcher.cancel(scope, task_id)
            if was is not None:
                await self._connection.publish(message.reply, was.encode())
        elif verb == "withdraw":
            # It was seen waiting in the stream; whoever has pulled it since must not begin it.
            if await self._dispatcher.cancel(scope, task_id) is None and scope in self._durables:
                self._durables[scope].remember_cancelled(task_id)
        elif verb == "where":
            status = self._held_status(scope, task_id)
            if status is not None:
                await self._connection.publish(message.reply, msgspec.json.encode(status))

    # --- the verbs ------------------------------------------------------------------------------------------------

    async def _result(self, scope: str, body: bytes) -> Result:
        query = _query(body, ResultQuery)
        found = await self._commits.find(scope, query.task)
        if found is None:
            raise _not_found(query.task, "has no committed result")
        return found

    async def _status(self, scope: str, body: bytes) -> TaskStatus | FleetStatus:
        query = _query(body, StatusQuery)
        return await self._fleet_status(scope) if query.task is None else await self._task_status(scope, query.task)

    async def _task_status(self, scope: str, task_id: str) -> TaskStatus:
        found = await self._commits.find(scope, task_id)
        if found is not None:
            error = found.error if isinstance(found.error, ErrorBody) else None
            return TaskStatus(
                task=task_id,
                state="ok" if found.status == "ok" else "failed",
                capability=found.capability,
                pool=found.pool,
                model=found.model,
                replica=found.replica,
                running_ms=found.latency_ms,
                error=error,
            )
        reply = await self._ask_all(scope, "where", task_id)
        if reply is not None:
            return msgspec.json.decode(reply, type=TaskStatus)
        waiting = await self._find_waiting(scope, task_id)
        if waiting is None:
            raise _not_found(task_id, "is not known")
        parsed = subjects.parse_tasks(waiting.subject)
        return TaskStatus(task=task_id, state="waiting", capability=parsed.capability if parsed else "")

    def _held_status(self, scope: str, task_id: str) -> TaskStatus | None:
        task = self._dispatcher.held.get((scope, task_id))
        if task is None:
            return None
        attempt = self._dispatcher.attempt_of(scope, task_id)
        if attempt is None or attempt.heard_at is None:
            return TaskStatus(task=task_id, state="waiting", capability=task.capability)
        return TaskStatus(
            task=task_id,
            state="running",
            capability=task.capability,
            pool=attempt.route.pool,
            model=attempt.route.model,
            replica=attempt.replica,
            running_ms=attempt.elapsed_ms,
        )

    async def _fleet_status(self, scope: str) -> FleetStatus:
        backlog: dict[str, dict[str, int]] = {}
        stream = subjects.tasks_stream(scope)
        for subject, count in (await subjects_holding(self._requests, stream, f"scope.{scope}.tasks.>")).items():
            parsed = subjects.parse_tasks(subject)
            if parsed is not None:
                backlog.setdefault(parsed.capability, {})[parsed.priority] = count
        dead = await subjects_holding(self._requests, subjects.DEAD_STREAM, subjects.dead(scope, "*", "*"))
        return FleetStatus(
            scope=scope,
            orchestrator=self._instance,
            pools=_pools(self._fleet.cards),
            backlog=[Backlog(capability=name, **counts) for name, counts in sorted(backlog.items())],
            dead=len(dead),
        )

    async def _cancel(self, scope: str, body: bytes) -> Cancelled:
        query = _query(body, CancelQuery)
        reply = await self._ask_all(scope, "cancel", query.task)
        if reply is not None:
            return Cancelled(task=query.task, was="running" if reply == b"running" else "waiting")
        found = await self._commits.find(scope, query.task)
        if found is not None:
            raise _not_found(query.task, f"is over already ({found.status})")
        waiting = await self._find_waiting(scope, query.task)
        if waiting is None:
            raise _not_found(query.task, "is not known")
        await self._connection.publish(subjects.orchestrator_control(scope, "withdraw"), query.task.encode())
        error = ErrorBody(kind=ErrorKind.CANCELLED, message="cancelled by the caller")
        result = refusal(waiting.subject, waiting.headers, waiting.sequence, error)
        if await self._commits.commit(scope, result) is Committed.HERE:
            await delete_message(self._requests, subjects.tasks_stream(scope), waiting.sequence)
        return Cancelled(task=query.task, was="waiting")

    async def _replicas(self, _scope: str, _body: bytes) -> ReplicasReply:
        cards = sorted(self._fleet.cards, key=lambda card: (card.zone, card.pool, card.replica))
        return ReplicasReply(replicas=cards)

    async def _dead(self, scope: str, body: bytes) -> DeadList | DeadRecord | Retried:
        query = _query(body, DeadQuery)
        if query.verb == "list":
            return await self._dead_list(scope, query.limit)
        if query.task is None:
            raise BadRequestError(f"dead {query.verb} needs a task", path="$.task", expected="a task id")
        record = await self._dead_record(scope, query.task)
        return record if query.verb == "show" else await self._retry(record)

    async def _dead_list(self, scope: str, limit: int) -> DeadList:
        found = await scan(
            self._requests, subjects.DEAD_STREAM, subjects.dead(scope, "*", "*"), messages_max=DEAD_SCANNED_MAX
        )
        records = [decode_dead(message.body) for message in found[-limit:]]
        return DeadList(
            dead=[
                DeadEntry(
                    task=record.task,
                    capability=record.capability,
                    error=record.error,
                    at_unix_ms=record.at_unix_ms,
                    size_bytes=len(record.body),
                )
                for record in reversed(records)
            ]
        )

    async def _dead_record(self, scope: str, task_id: str) -> DeadRecord:
        message = await last_message(self._requests, subjects.DEAD_STREAM, subjects.dead(scope, "*", task_id))
        if message is None:
            raise _not_found(task_id, "is not among the dead")
        return decode_dead(message.body)

    async def _retry(self, record: DeadRecord) -> Retried:
        """Submit the original again under a new id: a result is committed once per id, and this one has its."""
        suffix = f"-r{secrets.token_hex(3)}"
        stem = (
            record.task.removeprefix(SEQUENCE_ID_PREFIX) if record.task.startswith(SEQUENCE_ID_PREFIX) else record.task
        )
        task_id = stem[: TASK_ID_LENGTH_MAX - len(suffix)] + suffix
        headers = {name: value for name, value in record.headers.items() if name.lower() != TASK_ID.lower()}
        headers[TASK_ID] = task_id
        reply = await self._requests.request(record.subject, record.body, headers=headers)
        error = msgspec.json.decode(reply.data).get("error")
        if error is not None:
            raise TaskError(ErrorKind.BACKLOG_FULL, "the task stream takes no more of this capability now")
        return Retried(task=record.task, retried_as=task_id)

    # --- finding tasks --------------------------------------------------------------------------------------------

    async def _ask_all(self, scope: str, verb: str, task_id: str) -> bytes | None:
        """Ask every orchestrator, this one included; the one that holds the task answers."""
        try:
            reply = await self._requests.request(
                subjects.orchestrator_control(scope, verb), task_id.encode(), timeout_s=HOLDER_TIMEOUT_S
            )
        except (RequestTimeoutError, NoRespondersError):
            return None
        return reply.data

    async def _find_waiting(self, scope: str, task_id: str) -> StoredMessage | None:
        """A task that is in the stream and held by nobody; of those with an id of their own the oldest are searched."""
        stream = subjects.tasks_stream(scope)
        if task_id.startswith(SEQUENCE_ID_PREFIX):
            sequence = task_id.removeprefix(SEQUENCE_ID_PREFIX)
            return await message_at(self._requests, stream, int(sequence)) if sequence.isdigit() else None
        waiting = await scan(self._requests, stream, f"scope.{scope}.tasks.>", messages_max=WAITING_SCANNED_MAX)
        return next((message for message in waiting if message.headers.get(TASK_ID) == task_id), None)


def _query(body: bytes, kind: type[Query]) -> Query:
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except UNDECODABLE as error:
        raise BadRequestError(f"the question did not decode: {safe_text(error)}") from None


def _not_found(task_id: str, why: str) -> TaskError:
    return TaskError(ErrorKind.NOT_FOUND, f"task {task_id} {why}", details={"task": task_id})


def _pools(cards: list[ReplicaCard]) -> list[PoolStatus]:
    by_pool: dict[tuple[subjects.Zone, str], list[ReplicaCard]] = {}
    for card in cards:
        by_pool.setdefault((card.zone, card.pool), []).append(card)
    return [
        PoolStatus(
            zone=zone,
            pool=pool,
            provider=", ".join(sorted({card.provider for card in members})),
            replicas=len(members),
            slots=sum(card.slots for card in members),
            busy=sum(card.busy for card in members),
            models=sorted({model.name for card in members for model in card.models}),
            capabilities=sorted({name for card in members for name in card.capabilities}),
        )
        for (zone, pool), members in sorted(by_pool.items())
    ]
