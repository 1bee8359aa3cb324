"""
A caller of the fleet that knows nothing of the project: nats-py, `json`, and what the wire's document says.

What it cannot do, a client in another language could not do either.
"""

import asyncio
import json
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from flotilla.contracts.headers import EVENT_TASK
from flotilla.testkit.patient_client import WAIT_S, PatientClient

Json = dict[str, Any]
Headers = dict[str, str]

DOCUMENT: Final = "My invoice was charged twice, please refund it."
BODIES: Final[dict[str, Json]] = {
    "classify": {"document": DOCUMENT, "labels": ["billing", "technical"]},
    "summarize": {"document": DOCUMENT},
    "chat": {"messages": [{"role": "user", "content": "hello"}]},
    "reason": {"question": "why?"},
    "translate": {"text": "good day", "target": "de"},
    "extract-entities": {"document": DOCUMENT},
}
"""A valid input for some capabilities."""


class Heard:
    """
    Everything that arrives on a subject, in order.

    Attributes:
        messages: What has arrived.
    """

    def __init__(self, nc: Client) -> None:
        self.messages: Final[list[Msg]] = []
        self._changed = asyncio.Event()
        self._nc: Final = nc
        self._subscription: Subscription | None = None

    async def subscribe(self, subject: str) -> Subscription:
        """Hear a subject from now on: the server knows of it when this returns."""
        self._subscription = await self._nc.subscribe(subject, cb=self.take)  # pyright: ignore[reportUnknownMemberType]  # nats-py's is partly untyped
        await settled(self._nc)
        return self._subscription

    async def take(self, message: Msg) -> None:
        """Take one message."""
        self.messages.append(message)
        self._changed.set()

    @property
    def subjects(self) -> list[str]:
        """The subjects, in order of arrival."""
        return [message.subject for message in self.messages]

    def bodies(self) -> list[Json]:
        """The bodies as JSON, in order of arrival."""
        return [json.loads(message.data) for message in self.messages]

    def counts(self) -> dict[str, int]:
        """How often something arrived, by the task it is about."""
        found: dict[str, int] = {}
        for message in self.messages:
            task = _task_of(message)
            found[task] = found.get(task, 0) + 1
        return found

    def about(self, task: str) -> list[Msg]:
        """What arrived about one task, in order."""
        return [message for message in self.messages if _task_of(message) == task]

    def of(self, task: str) -> Json | None:
        """The first result of a task; None while there is none."""
        return next((json.loads(message.data) for message in self.about(task)), None)

    async def caught_up(self) -> "Heard":
        """
        Take all that the server has for the connection; gives itself.

        For a count, and for what must not arrive: another connection may tell of something before this one has
        heard it. The end of `hearing` does the same.
        """
        await settled(self._nc)
        # The subscription's own task takes them, and tells nobody.
        while self._subscription is not None and self._subscription.pending_msgs:  # noqa: ASYNC110
            await asyncio.sleep(0)
        return self

    async def until(self, holds: Callable[["Heard"], object], timeout_s: float = WAIT_S) -> None:
        """
        Return when a condition holds of what has arrived.

        Raises:
            TimeoutError: It does not in time; says how much has arrived.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while not holds(self):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            text = f"not within {timeout_s:g} s; {len(self.messages)} messages came: {self.subjects[-20:]}"
            raise TimeoutError(text) from None

    async def result(self, task: str, timeout_s: float = WAIT_S) -> Json:
        """The result of a task, once it is there."""
        await self.until(lambda heard: heard.of(task) is not None, timeout_s)
        found = self.of(task)
        assert found is not None  # noqa: S101  (until says so)
        return found


def _task_of(message: Msg) -> str:
    """In a header of events, the third token of a `results` subject."""
    return (message.headers or {}).get(EVENT_TASK) or message.subject.split(".")[2]


class Answer:
    """
    What came back for one interactive task.

    Attributes:
        pieces: The texts of a stream, in order of arrival.
        result: The last message, as JSON.
        headers: Of the last message.
    """

    def __init__(self, pieces: list[Json], result: Json, headers: Headers) -> None:
        self.pieces: Final = pieces
        self.result: Final = result
        self.headers: Final = headers

    @property
    def kind(self) -> str:
        """The kind of the error; "" when the task went well."""
        error: Json = self.result.get("error") or {}
        return error.get("kind", "")


class PlainClient:
    """
    A connection of a caller.

    Attributes:
        nc: nats-py's own client, but for its patience.
    """

    def __init__(self, nc: Client) -> None:
        self.nc: Final = nc

    async def submit(
        self,
        capability: str,
        body: Json | bytes,
        *,
        headers: Headers | None = None,
        task: str | None = None,
        timeout_s: float = WAIT_S,
    ) -> Json:
        """Publish a durable task; gives the PubAck."""
        given = dict(headers or {})
        if task is not None:
            given["Nats-Msg-Id"] = task
        message = await self.nc.request(f"tasks.{capability}", _bytes(body), timeout=timeout_s, headers=given or None)
        return json.loads(message.data)

    async def submit_many(self, capability: str, body: Json | bytes, tasks: list[str], *, at_once: int = 50) -> None:
        """Publish durable tasks, a few at once; each must be accepted."""
        for start in range(0, len(tasks), at_once):
            acks = await asyncio.gather(
                *(self.submit(capability, body, task=task) for task in tasks[start : start + at_once])
            )
            refused = [ack for ack in acks if "error" in ack]
            assert not refused, refused[:3]  # noqa: S101

    async def ask(
        self, capability: str, body: Json | bytes, *, headers: Headers | None = None, timeout_s: float = WAIT_S
    ) -> Answer:
        """Ask an interactive task, with its pieces if a header wants them."""
        inbox = self.nc.new_inbox()
        arrived: asyncio.Queue[Msg] = asyncio.Queue()
        subscription = await self.nc.subscribe(inbox, cb=arrived.put)  # pyright: ignore[reportUnknownMemberType]  # nats-py's is partly untyped
        pieces: list[Json] = []
        try:
            await self.nc.publish(f"ask.{capability}", _bytes(body), reply=inbox, headers=headers)
            async with asyncio.timeout(timeout_s):
                while True:
                    message = await arrived.get()
                    if not message.data and message.headers:
                        raise ConnectionError(f"ask.{capability}: {message.headers.get('Status', 'empty')}")
                    if not message.data:
                        continue
                    answer = json.loads(message.data)
                    if answer.get("type") == "piece":
                        pieces.append(answer)
                        continue
                    return Answer(pieces, answer, dict(message.headers or {}))
        finally:
            # On a closed connection it would raise, and take the place of a cancellation.
            if not self.nc.is_closed:
                await subscription.unsubscribe()

    async def api(self, verb: str, question: Json | None = None, *, timeout_s: float = WAIT_S) -> Json:
        """Ask the fleet; gives the answer as it came, error or not."""
        message = await self.nc.request(f"api.{verb}", _bytes(question) if question else b"", timeout=timeout_s)
        return json.loads(message.data)

    async def stream(self, verb: str, name: str, question: Json | None = None) -> Json:
        """What JetStream says of a stream; for those who may ask (`fleet.admin()`)."""
        message = await self.nc.request(f"$JS.API.{verb}.{name}", _bytes(question) if question else b"", timeout=WAIT_S)
        return json.loads(message.data)

    async def messages_in(self, name: str, subjects: str = ">") -> int:
        """How many messages a stream holds on the subjects that match."""
        answer = await self.stream("STREAM.INFO", name, {"subjects_filter": subjects})
        counts: dict[str, int] = answer["state"].get("subjects") or {}
        return sum(counts.values())

    async def unacknowledged_in(self, name: str) -> int:
        """How many messages a stream's consumers have handed out and not got back."""
        answer = await self.stream("CONSUMER.LIST", name)
        return sum(consumer["num_ack_pending"] for consumer in answer["consumers"])

    async def until_empty(self, name: str, timeout_s: float = WAIT_S) -> None:
        """Return when a stream holds nothing any more."""

        async def empty() -> bool:
            return not await self.messages_in(name)

        await eventually(empty, timeout_s)

    async def until_status(self, task: str, state: str, timeout_s: float = WAIT_S) -> Json:
        """The status of a task, once it is in a state."""
        async with asyncio.timeout(timeout_s):
            while True:
                status = await self.api("status", {"task": task})
                if status.get("state") == state:
                    return status
                await asyncio.sleep(0.05)

    async def dead_record(self, task: str) -> Json:
        """The record of a dead task, once it is stored: its result is heard before that."""
        async with asyncio.timeout(WAIT_S):
            while "subject" not in (record := await self.api("dead", {"verb": "show", "task": task})):  # noqa: ASYNC110
                await asyncio.sleep(0.03)
        return record

    @asynccontextmanager
    async def hearing(self, subject: str) -> AsyncGenerator[Heard]:
        """
        What arrives on a subject while the block runs; subscribed when it begins, caught up when it ends.
        """
        heard = Heard(self.nc)
        subscription = await heard.subscribe(subject)
        try:
            yield heard
        except BaseException:
            if not self.nc.is_closed:
                await subscription.unsubscribe()
            raise
        if not self.nc.is_closed:
            await subscription.drain()

    async def publish_raw(self, subject: str, body: bytes, headers: Headers | None = None) -> None:
        """Publish and forget."""
        await self.nc.publish(subject, body, headers=headers)
        await settled(self.nc)


async def settled(nc: Client) -> None:
    """
    Return when the server has processed what was sent before.

    One flush of nats-py does not say so: its PING overtakes what is queued, such as a subscription.
    """
    await nc.flush()
    await nc.flush()


async def eventually(holds: Callable[[], Awaitable[object]], timeout_s: float = WAIT_S, every_s: float = 0.05) -> None:
    """
    Return when a question that can only be asked again and again is answered with something true.

    Raises:
        TimeoutError: It is not in time.
    """
    async with asyncio.timeout(timeout_s):
        while not await holds():  # noqa: ASYNC110  (nothing tells when)
            await asyncio.sleep(every_s)


async def connect_plainly(url: str, *, nkeys_seed: str | None = None, inbox_prefix: str = "_INBOX") -> PlainClient:
    """
    Connect; it reconnects soon and without end, so that a test may restart the server.

    `url` may be several with commas between: the nodes of a cluster.
    """
    nc = PatientClient()
    await nc.connect(
        url.split(","),
        nkeys_seed=nkeys_seed,
        inbox_prefix=inbox_prefix,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.1,
        error_cb=_ignore,
    )
    return PlainClient(nc)


def new_task(stem: str = "t") -> str:
    """A task id that no other test uses."""
    return f"{stem}-{secrets.token_hex(6)}"


async def _ignore(error: Exception) -> None:
    """Cut connections are what these tests are about."""
    del error


def _bytes(body: Json | bytes) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()
