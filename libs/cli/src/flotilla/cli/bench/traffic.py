"""What the client does, for the fleet and for raw NATS alike: requests in a closed loop, and publishing with acks."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from msgspec import Struct

from flotilla.cli.bench.errors import WrongAnswerError
from flotilla.cli.bench.responder import ECHO_SUBJECT, RELAY_SUBJECT
from flotilla.contracts.decoding import UNDECODABLE
from flotilla.contracts.results import ErrorReply
from flotilla.fabric.connection import Connection, Message

BODY_BYTES: Final = 1024
REQUEST_TIMEOUT_S: Final = 30.0
UNACKNOWLEDGED_MAX: Final = 512
ACKS_WITHIN_S: Final = 60.0
ASK_SUBJECT: Final = "ask.classify"

_decode_refusal: Final = msgspec.json.Decoder(ErrorReply).decode
_OK: Final = b'"status":"ok"'
_REFUSED: Final = b'"error"'

Request = Callable[[], Awaitable[None]]


class Loop(Struct, frozen=True, kw_only=True):
    """
    What a closed loop came to.

    Attributes:
        latencies_ms: Of each request, in no order.
    """

    latencies_ms: list[float]
    elapsed_s: float

    @property
    def per_s(self) -> float:
        """Requests answered in a second."""
        return len(self.latencies_ms) / self.elapsed_s


def classify_body(size_bytes: int = BODY_BYTES, *, text: str = "") -> bytes:
    """Make a `classify` input of this size; its document begins with `text`."""
    empty = len(msgspec.json.encode({"document": "", "labels": ["billing", "technical"]}))
    document = text.ljust(size_bytes - empty, ".")
    return msgspec.json.encode({"document": document, "labels": ["billing", "technical"]})


def fleet_request(connection: Connection) -> Request:
    """One interactive task and its result, by nats-py's own request."""
    request, body = connection.nc.request, classify_body()

    async def call() -> None:
        check_ok((await request(ASK_SUBJECT, body, timeout=REQUEST_TIMEOUT_S)).data)

    return call


def raw_request(connection: Connection) -> Request:
    """One request to the echo and its reply, by nats-py's own request."""
    return _echoed(connection, ECHO_SUBJECT)


def relayed_request(connection: Connection) -> Request:
    """The same through the relay: the two hops of a task, without what a fleet does on the way."""
    return _echoed(connection, RELAY_SUBJECT)


def _echoed(connection: Connection, subject: str) -> Request:
    request, body = connection.nc.request, classify_body()

    async def call() -> None:
        if len((await request(subject, body, timeout=REQUEST_TIMEOUT_S)).data) != BODY_BYTES:
            raise WrongAnswerError("the raw responder answered something else")

    return call


def check_ok(result: bytes) -> None:
    """
    See that a result is that of a task that went well; costs a search of a few bytes.

    Raises:
        WrongAnswerError: It is not.
    """
    if _OK not in result:
        raise WrongAnswerError(f"a task was not answered with a result but with {_kind(result)}: the fleet is not well")


def _kind(result: bytes) -> str:
    try:
        return _decode_refusal(result).error.kind.value
    except UNDECODABLE:
        return f"{len(result)} bytes"


async def closed_loop(request: Request, *, in_flight: int, duration_s: float) -> Loop:
    """
    Keep `in_flight` requests under way for a while; those under way at the end are awaited and counted.

    There are that many at least, however late the machine begins them.
    """
    latencies_ms: list[float] = []
    began = time.perf_counter()
    end_at = began + duration_s

    async def one_after_the_other() -> None:
        ended = time.perf_counter()
        while True:
            sent, _ = ended, await request()
            ended = time.perf_counter()
            latencies_ms.append((ended - sent) * 1000)
            if ended >= end_at:
                return

    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(one_after_the_other())
    return Loop(latencies_ms=latencies_ms, elapsed_s=time.perf_counter() - began)


async def publish_acknowledged(connection: Connection, subject: str, body: bytes, count: int) -> None:
    """
    Publish to a stream, at most UNACKNOWLEDGED_MAX ahead of its acknowledgements; returns when all are there.

    Raises:
        WrongAnswerError: The stream refused one.
    """
    acknowledged = 0
    refused = False
    room = asyncio.Event()

    async def on_ack(message: Message) -> None:
        nonlocal acknowledged, refused
        acknowledged += 1
        refused = refused or not message.data or _REFUSED in message.data
        room.set()

    inbox = f"{connection.inbox}.acks"
    subscription = await connection.subscribe(inbox, on_ack)
    try:
        async with asyncio.timeout(ACKS_WITHIN_S):
            for sent in range(count):
                while sent - acknowledged >= UNACKNOWLEDGED_MAX:
                    room.clear()
                    await room.wait()
                await connection.publish(subject, body, reply=inbox)
            while acknowledged < count:
                room.clear()
                await room.wait()
    finally:
        await subscription.unsubscribe()
    if refused:
        raise WrongAnswerError(f"the stream of {subject} refused a message")
