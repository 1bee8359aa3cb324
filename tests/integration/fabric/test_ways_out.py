"""By whatever way something is sent, what is no subject does not reach the server."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pytest
from nats.micro import add_service  # pyright: ignore[reportUnknownVariableType]
from nats.micro.service import ServiceConfig

from flotilla.fabric.connection import Connection, Message, connected
from flotilla.fabric.errors import MalformedHeaderError, MalformedSubjectError
from flotilla.fabric.inbox import Requests
from flotilla.testkit.nats_server import RunningServer

INJECTED = "x 2\r\n{}\r\nPUB $KV.policy.routing 2\r\n{}\r\nPUB y"
NO_SUBJECTS = [INJECTED, "a b", "a..b", "a\x0bb", "a.*", "a\ud800", ""]
NOT_SUBSCRIBED = [INJECTED, "a b", "a..b", "a\x0bb", "a\ud800"]
Send = Callable[[Connection, str], Awaitable[Any]]


async def _nobody(_message: Message) -> None: ...


async def _jetstream(connection: Connection, subject: str) -> None:
    jetstream: Any = connection.nc.jetstream()  # pyright: ignore[reportUnknownMemberType]
    await jetstream.publish(subject, b"{}", timeout=1)


async def _service(connection: Connection, subject: str) -> None:
    service = await add_service(connection.nc, ServiceConfig(name="s", version="1.0.0", description="", metadata={}))
    await service.add_endpoint(name="e", subject=subject, handler=_nobody)  # pyright: ignore[reportArgumentType]


PUBLISHED: dict[str, Send] = {
    "publish": lambda connection, subject: connection.publish(subject, b"{}"),
    "publish a lot": lambda connection, subject: connection.publish(subject, b"x" * 100_000),
    "publish with headers": lambda connection, subject: connection.publish(subject, b"{}", headers={"A": "b"}),
    "nats-py's publish": lambda connection, subject: connection.nc.publish(subject, b"{}"),
    "nats-py's request": lambda connection, subject: connection.nc.request(subject, b"{}", 1),
    "nats-py's old request": lambda connection, subject: connection.nc.request(subject, b"{}", 1, old_style=True),
    "JetStream": _jetstream,
}
REPLIED: dict[str, Send] = {
    "reply": lambda connection, subject: connection.publish("a", b"{}", reply=subject),
    "reply with headers": lambda connection, subject: connection.publish("a", b"", reply=subject, headers={"A": "b"}),
    "nats-py's reply": lambda connection, subject: connection.nc.publish("a", b"{}", reply=subject),
}
SUBSCRIBED: dict[str, Send] = {
    "subscribe": lambda connection, subject: connection.subscribe(subject, _nobody),
    "nats-py's subscribe": lambda connection, subject: connection.nc.subscribe(subject, cb=_nobody),  # pyright: ignore[reportArgumentType, reportUnknownMemberType, reportUnknownLambdaType]
    "micro": _service,
}


@pytest.fixture
async def connection(nats_server: RunningServer) -> AsyncGenerator[Connection]:
    """
    One that may use any subject; it must not be lost.
    """
    async with connected(nats_server.admin(), name="sender") as connection:
        yield connection
        await connection.settle()
        assert connection.reconnects == 0


@pytest.fixture
async def heard(nats_server: RunningServer) -> AsyncGenerator[Callable[[], Awaitable[list[str]]]]:
    """
    What the server was sent by others, until `sentinel` is published.
    """
    subjects: list[str] = []
    done = asyncio.Event()

    async def hear(message: Message) -> None:
        subjects.append(message.subject)
        if message.subject == "sentinel":
            done.set()

    async with connected(nats_server.admin(), name="listener") as listener:
        await listener.subscribe(">", hear)
        await listener.settle()

        async def until_sentinel() -> list[str]:
            await asyncio.wait_for(done.wait(), 60)
            return [subject for subject in subjects if not subject.startswith(("$SRV", "$SYS", "$JS", "_INBOX"))]

        yield until_sentinel


@pytest.mark.parametrize("way", PUBLISHED.values(), ids=PUBLISHED)
async def test_nothing_is_published_to_what_is_no_subject(
    connection: Connection, heard: Callable[[], Awaitable[list[str]]], way: Send
):
    """
    The rest of the line would be the protocol's next words, with the sender's rights.
    """
    for subject in NO_SUBJECTS:
        with pytest.raises(MalformedSubjectError):
            await way(connection, subject)

    await connection.publish("sentinel")
    assert await heard() == ["sentinel"]


@pytest.mark.parametrize("way", REPLIED.values(), ids=REPLIED)
async def test_nothing_is_published_with_a_reply_that_is_no_subject(
    connection: Connection, heard: Callable[[], Awaitable[list[str]]], way: Send
):
    """
    It stands in the same line.
    """
    for reply in filter(None, NO_SUBJECTS):
        with pytest.raises(MalformedSubjectError):
            await way(connection, reply)

    await connection.publish("sentinel")
    assert await heard() == ["sentinel"]


@pytest.mark.parametrize("way", SUBSCRIBED.values(), ids=SUBSCRIBED)
async def test_what_is_no_subject_is_not_subscribed_to(
    connection: Connection, heard: Callable[[], Awaitable[list[str]]], way: Send
):
    """
    Nor is it kept, to be sent when the connection is made again.
    """
    for subject in NOT_SUBSCRIBED:
        with pytest.raises((MalformedSubjectError, ValueError)):  # some of nats-py's ways look for themselves
            await way(connection, subject)

        kept: Any = connection.nc._subs  # pyright: ignore[reportPrivateUsage]
        assert subject not in [subscription.subject for subscription in kept.values()]
    await connection.publish("sentinel")
    assert await heard() == ["sentinel"]


async def test_a_queue_group_is_one_word(connection: Connection):
    """
    It is told to the server in the same line.
    """
    with pytest.raises(MalformedSubjectError):
        await connection.subscribe("a", _nobody, queue="q 1\r\nPUB x 0\r\n\r\nSUB b")


@pytest.mark.parametrize("size", [10, 100_000])
async def test_a_header_with_a_line_end_is_not_sent(
    connection: Connection, heard: Callable[[], Awaitable[list[str]]], size: int
):
    """
    Whichever client writes it.
    """
    with pytest.raises(MalformedHeaderError):
        await connection.publish("a", b"x" * size, headers={"A": "b\r\nNats-Trace-Dest: c"})

    await connection.publish("sentinel")
    assert await heard() == ["sentinel"]


async def test_headers_arrive_as_they_were_sent(connection: Connection):
    """
    By both ways of sending: small messages and large ones.
    """
    requests = Requests(connection)
    await requests.start()
    seen: list[bytes | None] = []

    async def answer(message: Message) -> None:
        seen.append(message.raw_headers)
        await connection.publish(message.reply, headers=message.headers)

    await connection.subscribe("echo", answer)
    headers = {"Flotilla-Label-Team": "Büro 東京", "traceparent": "00-0af7651916cd43dd8448eb211c80319c"}
    replies = [await requests.request("echo", b"x" * size, headers=headers) for size in (10, 100_000)]
    await requests.stop()

    assert [headers, headers] == [reply.headers for reply in replies]
    assert seen[0] == seen[1]


async def test_a_handler_that_raises_at_any_rate_is_logged_once(
    connection: Connection, caplog: pytest.LogCaptureFixture
):
    """
    Whoever can make it raise could fill the disk.
    """
    done = asyncio.Event()

    async def fail(message: Message) -> None:
        if message.data:
            done.set()
        raise ValueError("no")

    await connection.subscribe("fail", fail)
    with caplog.at_level(logging.WARNING, "flotilla.fabric"):
        for _ in range(100):
            await connection.publish("fail")
        await connection.publish("fail", b"last")
        await asyncio.wait_for(done.wait(), 60)

    assert [record.message for record in caplog.records] == ["nats_error"]
