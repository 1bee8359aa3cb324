"""The far side of a client, as a test scripts it: answers what callers send, over a real server, as the wire says."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
from msgspec import Struct

from flotilla.contracts import subjects
from flotilla.contracts.attempts import Usage
from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorBody, ErrorKind
from flotilla.contracts.headers import ACCEPTED, ERROR_CODE, ERROR_TEXT, EVENT_TASK
from flotilla.contracts.results import AcceptedMessage, AttemptReport, ErrorReply, Event, PieceMessage, Result, encode
from flotilla.fabric.connection import Connection, Message, connected
from flotilla.fabric.inbox import Requests
from flotilla.fabric.stream_usage import held_by
from flotilla.provisioning.streams import ensure
from flotilla.provisioning.topology import TopologyLimits, topology
from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.plain_client import eventually

SCOPE: Final = "default"


class Asked(Struct, frozen=True, kw_only=True):
    """A request as it came: `name` is the capability of an ask, or the verb of a question."""

    name: str
    headers: dict[str, str]
    body: bytes
    reply: str


Script = Callable[[Asked], Awaitable[None]]


class FleetPeer:
    """
    Takes the place of the orchestrators.

    Attributes:
        asked: Every `ask` request, in order.
        api_requests: Every `api` request, in order.
        arrived: Set when a request arrives; a test clears it.
        on_ask: What to do with an `ask`; answers with the input unless a test sets it. None stays silent.
        on_question: The same for `api`, by verb; `result` is answered from `committed`, others with `not_found`.
        committed: Results by task id.
    """

    def __init__(self, connection: Connection, requests: Requests) -> None:
        self.connection: Final = connection
        self.requests: Final = requests
        self.asked: Final[list[Asked]] = []
        self.api_requests: Final[list[Asked]] = []
        self.arrived: Final = asyncio.Event()
        self.on_ask: Script | None = self.echo
        self.on_question: Final[dict[str, Script | None]] = {}
        self.committed: Final[dict[str, Result]] = {}

    async def start(self) -> None:
        """Join the orchestrators' queue group."""
        group = subjects.ORCHESTRATOR_GROUP
        await self.connection.subscribe(subjects.ask(SCOPE, "*"), self._on_ask, queue=group)
        await self.connection.subscribe(subjects.api(SCOPE, "*"), self._on_api, queue=group)
        await self.connection.settle()

    async def make_streams(self, limits: TopologyLimits | None = None) -> None:
        """Make the streams of the scope, so that tasks can be submitted."""
        await ensure(self.requests, topology((SCOPE,), limits))

    async def until_stored(self, tasks: int) -> None:
        """Return when so many tasks are stored: what `hold_tasks` hears may yet be refused."""

        async def stored() -> bool:
            return (await held_by(self.requests, subjects.tasks_stream(SCOPE))).messages >= tasks

        await eventually(stored, 30.0)

    async def hold_tasks(
        self, capability: str, script: Callable[[str, bytes, dict[str, str]], Awaitable[None]]
    ) -> None:
        """Call `script` with the subject, body and headers of every task of a capability, as it is published."""

        async def on_task(message: Message) -> None:
            if message.subject.split(".")[3] == capability:
                await script(message.subject, message.data, message.headers or {})

        await self.connection.subscribe(subjects.tasks(SCOPE, ">"), on_task)
        await self.connection.settle()

    async def echo(self, asked: Asked) -> None:
        """Answer with the input as output."""
        output = msgspec.json.decode(asked.body)
        await self.finish(asked, result_of(asked.headers.get("Nats-Msg-Id", "ask-1"), asked.name, output=output))

    async def accept(self, asked: Asked, task: str) -> None:
        """Say that it was taken."""
        await self.connection.publish(asked.reply, encode(AcceptedMessage(task=task)), headers={ACCEPTED: "true"})

    async def piece(self, asked: Asked, seq: int, text: str) -> None:
        """Send a piece."""
        await self.connection.publish(asked.reply, encode(PieceMessage(seq=seq, text=text)))

    async def finish(self, asked: Asked, result: Result) -> None:
        """Send the result, with the error headers if it failed, and close the reply as orchestrators do."""
        error = result.error if isinstance(result.error, ErrorBody) else None
        await self.connection.publish(asked.reply, encode(result), headers=_headers(error))
        await self.close(asked)

    async def refuse(self, asked: Asked, error: TaskError) -> None:
        """Refuse what never became a task."""
        await self.connection.publish(asked.reply, encode(ErrorReply(error=error.body)), headers=_headers(error.body))
        await self.close(asked)

    async def close(self, asked: Asked) -> None:
        """Send the empty message that ends the server's mapping of a reply."""
        await self.connection.publish(asked.reply)

    async def answer(self, asked: Asked, body: Struct) -> None:
        """Answer a question."""
        await self.connection.publish(asked.reply, msgspec.json.encode(body))

    async def commit(self, result: Result, *, announce: bool = True) -> None:
        """Commit the result of a durable task; without `announce` subscribers miss it, as in a reconnect."""
        self.committed[result.task] = result
        if announce:
            await self.connection.publish(subjects.results(SCOPE, result.capability, result.task), encode(result))

    async def tell(self, event: Event) -> None:
        """Publish an event."""
        subject = subjects.events(SCOPE, event.capability, event.kind)
        await self.connection.publish(subject, msgspec.json.encode(event), headers={EVENT_TASK: event.task})

    async def _on_ask(self, message: Message) -> None:
        asked = _asked(message)
        self.asked.append(asked)
        self.arrived.set()
        if self.on_ask is not None:
            await self.on_ask(asked)

    async def _on_api(self, message: Message) -> None:
        asked = _asked(message)
        self.api_requests.append(asked)
        self.arrived.set()
        script = self.on_question.get(asked.name, self._known)
        if script is not None:
            await script(asked)

    async def _known(self, asked: Asked) -> None:
        task = msgspec.json.decode(asked.body or b"{}").get("task", "")
        if asked.name == "result" and task in self.committed:
            await self.answer(asked, self.committed[task])
        else:
            await self.refuse(asked, TaskError(ErrorKind.NOT_FOUND, f"task {task} is not known"))


@asynccontextmanager
async def fleet_peer(server: RunningServer) -> AsyncGenerator[FleetPeer]:
    """A peer that serves the default scope; the admin, since it also looks at tasks as they are published."""
    async with connected(server.admin(), name="fleet-peer") as connection:
        requests = Requests(connection)
        await requests.start()
        peer = FleetPeer(connection, requests)
        await peer.start()
        try:
            yield peer
        finally:
            await requests.stop()


def result_of(task: str, capability: str, *, output: Any = None, error: ErrorBody | None = None) -> Result:
    """A result that ran on `local/small`; failed when there is an error."""
    attempt = AttemptReport(
        pool="local",
        model="small",
        outcome="ok" if error is None else "timeout",
        latency_ms=4.0,
        reason="the only route",
        message="" if error is None else "the model took too long",
    )
    common: dict[str, Any] = {
        "task": task,
        "capability": capability,
        "provider": "scripted",
        "model": "small",
        "zone": "local",
        "pool": "local",
        "replica": "local-1",
        "latency_ms": 5.5,
        "usage": Usage(input_tokens=30, output_tokens=2),
        "attempts": [attempt],
    }
    if error is not None:
        return Result(status="failed", error=error, **common)
    return Result(status="ok", output=msgspec.Raw(msgspec.json.encode(output)), **common)


def _asked(message: Message) -> Asked:
    return Asked(
        name=message.subject.rsplit(".", 1)[1],
        headers=dict(message.headers or {}),
        body=message.data,
        reply=message.reply,
    )


def _headers(error: ErrorBody | None) -> dict[str, str] | None:
    return None if error is None else {ERROR_CODE: str(error.kind.code), ERROR_TEXT: error.kind.value}
