"""Whatever bytes a client makes the server pass on: one message is dropped, and the connection goes on."""

import asyncio
import logging
from collections.abc import AsyncGenerator

import pytest

from flotilla.fabric import subscription_lines
from flotilla.fabric.connection import Connection, Message, connected
from flotilla.fabric.inbox import Requests
from flotilla.fabric.unreadable import UNREADABLE
from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.plain_client import eventually
from flotilla.testkit.raw_client import RawClient, raw_client

GOOD = b"hostile.good"
LAST = b"last"

SUBJECTS = {
    "not UTF-8": b"hostile.\xff\xfe",
    "half a character": b"hostile.\xe6\x9d",
    "a surrogate": b"hostile.\xed\xa0\x80",
    "a vertical tab": b"hostile.a\x0bb",
    "a form feed": b"hostile.a\x0cb",
    "a carriage return": b"hostile.a\rb",
    "a NUL": b"hostile.a\x00b",
    "an escape": b"hostile.\x1b[2J",
    "a control character of two bytes": b"hostile.\xc2\x85",
    "a space that is none": "hostile.a\u2028b".encode(),
    "what turns text around": "hostile.a\u202eb".encode(),
    "a wildcard": b"hostile.*",
    "two wildcards": b"hostile.a.>",
    "more than the bound": b"hostile." + b"a" * 2_000,
}
HEADERS = {
    "a status that is not UTF-8": b"NATS/1.0 \xff\xff\xff\r\n\r\n",
    "a status": b"NATS/1.0 503\r\n\r\n",
    "an idle heartbeat": b"NATS/1.0 100 Idle Heartbeat\r\n\r\n",
    "digits of another script": "NATS/1.0 ٣٣٣\r\n\r\n".encode(),
    "only the first line": b"NATS/1.0\r\n\r\n",
    "neither colon nor ASCII": b"NATS/1.0\r\n:::\r\nA\r\n\xff: b\r\n\r\n",
    "another version": b"X\r\n\r\n",
    "cut short": b"NATS/1.0",
    "one byte": b"N",
    "only line ends": b"\r\n\r\n",
    "a description that is not UTF-8": b"NATS/1.0 100 \xff\r\n\xff\r\n\r\n",
    "a NUL": b"NATS/1.0\r\nA\x00: \x00\r\n\r\n",
}


@pytest.fixture
async def connection(nats_server: RunningServer) -> AsyncGenerator[Connection]:
    """
    One that may use any subject.
    """
    async with connected(nats_server.admin(), name="reader") as connection:
        yield connection


@pytest.fixture
async def hostile(nats_server: RunningServer) -> AsyncGenerator[RawClient]:
    """
    A client that sends any bytes, to any subject.
    """
    async with raw_client(nats_server.admin()) as client:
        yield client


class Heard:
    """What came in on `hostile.>`, by a handler of its own and by a subscription that is nats-py's."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.plain: list[bytes] = []
        self.last = asyncio.Event()

    async def listen(self, connection: Connection) -> None:
        """Subscribe in both ways."""

        async def hear(message: Message) -> None:
            self.messages.append(message)
            self._check()

        async def hear_plainly(message: object) -> None:
            self.plain.append(message.data)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType]
            self._check()

        await connection.subscribe("hostile.>", hear)
        await connection.nc.subscribe("hostile.>", cb=hear_plainly)  # pyright: ignore[reportUnknownMemberType, reportArgumentType]
        await connection.settle()

    def _check(self) -> None:
        if self.plain[-1:] == [LAST] and self.messages and self.messages[-1].data == LAST:
            self.last.set()

    async def all(self, hostile: RawClient) -> list[Message]:
        """Everything that was sent before, without the last that tells that nothing more comes."""
        hostile.publish(GOOD, LAST)
        await hostile.flush()
        await asyncio.wait_for(self.last.wait(), 60)
        return self.messages[:-1]


@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=SUBJECTS)
async def test_a_subject_that_is_none_costs_one_message(connection: Connection, hostile: RawClient, subject: bytes):
    """
    It is dropped and counted; the next message on the same connection is heard.
    """
    heard = Heard()
    await heard.listen(connection)
    before = UNREADABLE.counts["subject"]

    hostile.publish(subject, b"body", reply=b"_INBOX.hostile")

    assert ([], 0) == (await heard.all(hostile), connection.reconnects)
    if not any(b"Invalid" in line for line in hostile.said):
        assert before < UNREADABLE.counts["subject"]


@pytest.mark.parametrize(
    "reply", [subject.replace(b"hostile", b"_INBOX") for subject in SUBJECTS.values()], ids=SUBJECTS
)
async def test_a_reply_subject_that_is_none_costs_one_message(connection: Connection, hostile: RawClient, reply: bytes):
    """
    Nobody could be answered.
    """
    heard = Heard()
    await heard.listen(connection)
    before = UNREADABLE.counts["reply"]

    hostile.publish(GOOD, b"body", reply=reply)

    assert ([], 0) == (await heard.all(hostile), connection.reconnects)
    assert before < UNREADABLE.counts["reply"]


@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS)
async def test_headers_in_any_form_are_handed_over_as_they_came(
    connection: Connection, hostile: RawClient, headers: bytes
):
    """
    Who reads them decides what they are; with a body and without.
    """
    heard = Heard()
    await heard.listen(connection)

    for body in (b"", b"body"):
        hostile.publish(GOOD, body, headers=headers)
    messages = await heard.all(hostile)

    assert [(b"", headers), (b"body", headers)] == [(message.data, message.raw_headers) for message in messages]
    for message in messages:
        assert all(name.isascii() for name in message.headers)
    assert connection.reconnects == 0


async def test_a_subject_that_continues_the_line_reaches_nobody_else(connection: Connection, hostile: RawClient):
    """
    A vertical tab is no space to the server: what follows it is no subscription's id and no size.
    """
    others: list[Message] = []

    async def hear_other(message: Message) -> None:
        others.append(message)

    heard = Heard()
    other = await connection.subscribe("other", hear_other)
    await heard.listen(connection)
    sid: int = other._id  # pyright: ignore[reportPrivateUsage]

    for space in (b"\x0b", b"\x0c"):
        hostile.publish(b"hostile.a%b%d" % (space, sid), b"x" * 40)

    assert ([], []) == (await heard.all(hostile), others)


async def test_many_are_logged_once_a_minute(
    connection: Connection, hostile: RawClient, caplog: pytest.LogCaptureFixture
):
    """
    Without a word of what the sender wrote.
    """
    heard = Heard()
    await heard.listen(connection)
    with caplog.at_level(logging.WARNING, "flotilla.fabric"):
        for number in range(200):
            hostile.publish(b"hostile.secret-%d.\xff" % number, b"secret")
        await heard.all(hostile)

    said = [record for record in caplog.records if record.message == "nats_message_unreadable"]
    assert len(said) <= 1
    assert "secret" not in str([vars(record) for record in said])


async def ways_back(server: RunningServer) -> int:
    """How many answers the server still expects to carry from the fleet's account to another."""
    found = await server.monitored("/accountz?acc=FLEET")
    return len(found["account_detail"].get("responses") or {})


async def test_a_request_from_another_account_that_is_dropped_leaves_nothing_in_the_server(
    nats_server: RunningServer, monkeypatch: pytest.MonkeyPatch
):
    """
    Neither one that cannot be read nor one that comes behind too many: for each the server would keep a way back for an hour.
    """
    monkeypatch.setattr(subscription_lines, "BEHIND_MAX", 3)
    asked: list[Message] = []
    go_on = asyncio.Event()

    async def hold(message: Message) -> None:
        asked.append(message)
        await go_on.wait()
        await member.publish(message.reply)

    async with (
        connected(nats_server.orchestrator(), name="asked") as member,
        raw_client(nats_server.tenant()) as tenant,
    ):
        await member.subscribe("scope.*.ask.>", hold)
        await member.settle()
        for number in range(20):
            tenant.publish(b"ask.\xff", b"{}", reply=b"_INBOX.a.%d" % number)
            tenant.publish(b"ask.%b" % (b"a" * 2_000), b"{}", reply=b"_INBOX.b.%d" % number)
            tenant.publish(b"ask.classify", b"{}", reply=b"_INBOX.c.%d" % number)
        await tenant.flush()

        async def held_alone() -> bool:
            # The one that is in hand, and those behind it.
            return await ways_back(nats_server) == 1 + subscription_lines.BEHIND_MAX

        await eventually(held_alone, timeout_s=60)
        go_on.set()

        async def nothing() -> bool:
            return await ways_back(nats_server) == 0

        await eventually(nothing, timeout_s=60)

    assert {message.subject for message in asked} == {"scope.default.ask.classify"}


async def test_requests_go_on_while_unreadable_messages_come(connection: Connection, hostile: RawClient):
    """
    Replies among them: a worker may answer with any subject and header block.
    """

    async def answer(message: Message) -> None:
        hostile.publish(message.reply.encode() + b"\xff", b"no")
        hostile.publish(message.reply.encode(), b"yes", headers=b"NATS/1.0 \xff\r\n\r\n")
        await hostile.flush()

    requests = Requests(connection)
    await requests.start()
    await connection.subscribe("hostile.question", answer)
    await connection.settle()

    answers = [(await requests.request("hostile.question")).data for _ in range(20)]
    await requests.stop()

    assert ([b"yes"] * 20, 0) == (answers, connection.reconnects)
