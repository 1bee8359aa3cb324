"""Messages are handled as they are read and written in batches: in order, one at a time, none lost, none without bound."""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator

import nats.errors
import pytest

from flotilla.fabric import subscription_lines
from flotilla.fabric.connection import Connection, Message, NatsSettings, connected
from flotilla.fabric.errors import MalformedHeaderError
from flotilla.fabric.prompt_client import UNREAD_BYTES_MAX
from flotilla.testkit.nats_server import RunningServer

SMALL = b"x" * 100
LARGE = b"x" * 200_000


@pytest.fixture
async def connection(nats_server: RunningServer) -> AsyncGenerator[Connection]:
    """
    One that may use any subject.
    """
    async with connected(nats_server.admin(), name="prompt") as connection:
        yield connection


async def _until(holds: asyncio.Event) -> None:
    await asyncio.wait_for(holds.wait(), 60)


async def test_messages_behind_one_whose_handler_waits_are_handled_in_order(connection: Connection):
    """
    One at a time, also when only some of them wait; and leaving waits for all of them.
    """
    handled: list[int] = []
    first_waits, go_on = asyncio.Event(), asyncio.Event()

    async def handle(message: Message) -> None:
        number = int(message.data)
        if number == 0:
            first_waits.set()
            await go_on.wait()
        elif number % 3 == 0:
            await asyncio.sleep(0)
        handled.append(number)

    subscription = await connection.subscribe("prompt.order", handle)
    await connection.settle()
    for number in range(50):
        await connection.publish("prompt.order", b"%d" % number)
    await connection.settle()
    await _until(first_waits)
    sid: int = subscription._id  # pyright: ignore[reportPrivateUsage]
    all_handled = asyncio.ensure_future(connection.nc.handled(sid))
    await asyncio.sleep(0)
    assert ([], False) == (handled, all_handled.done())

    go_on.set()
    await asyncio.wait_for(all_handled, 60)

    assert list(range(50)) == handled


@pytest.mark.parametrize(("count_max", "bytes_max"), [(3, 10**9), (10**9, 3 * len(LARGE))])
async def test_what_waits_behind_a_handler_has_a_bound_in_number_and_bytes(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, count_max: int, bytes_max: int
):
    """
    The others are dropped, and those that come when it has been worked off are not.
    """
    monkeypatch.setattr(subscription_lines, "BEHIND_MAX", count_max)
    monkeypatch.setattr(subscription_lines, "BEHIND_BYTES_MAX", bytes_max)
    handled: list[int] = []
    go_on = asyncio.Event()

    async def handle(message: Message) -> None:
        await go_on.wait()
        handled.append(len(message.data))

    subscription = await connection.subscribe("prompt.behind", handle)
    await connection.settle()
    sid: int = subscription._id  # pyright: ignore[reportPrivateUsage]
    for expected in (4, 8):
        for _ in range(10):
            await connection.publish("prompt.behind", LARGE)
        await connection.settle()
        go_on.set()
        await asyncio.wait_for(connection.nc.handled(sid), 60)
        go_on.clear()
        assert [len(LARGE)] * expected == handled


async def test_a_closed_connection_takes_no_subscription(nats_server: RunningServer):
    """
    Silence would look like a subject on which nothing comes.
    """
    async with connected(nats_server.admin(), name="prompt") as connection:
        pass

    async def handle(_message: Message) -> None: ...

    with pytest.raises(nats.errors.ConnectionClosedError):
        await connection.subscribe("prompt.closed", handle)


async def test_a_handler_that_raises_is_told_and_the_next_message_is_handled(connection: Connection):
    """
    At once or after a wait: neither the read loop nor the line behind it ends.
    """
    handled = asyncio.Event()

    async def handle(message: Message) -> None:
        if message.data == b"waits":
            await asyncio.sleep(0)
        if message.data != b"good":
            raise ValueError
        handled.set()

    await connection.subscribe("prompt.errors", handle)
    await connection.settle()
    for body in (b"raises", b"waits", b"good"):
        await connection.publish("prompt.errors", body)

    await _until(handled)


async def test_what_is_published_arrives_in_the_order_in_which_it_was_published(connection: Connection):
    """
    Small, large, with headers, and from within a handler: they take different ways into the same buffer.
    """
    arrived: list[tuple[bytes, int]] = []
    complete = asyncio.Event()
    rounds = 20

    async def answer(message: Message) -> None:
        for body, headers in ((SMALL, None), (SMALL, {"A": "b"}), (LARGE, None), (SMALL, None)):
            await connection.publish("prompt.answers", message.data + body, headers=headers)

    async def take(message: Message) -> None:
        number, _, rest = message.data.partition(b"x")
        arrived.append((number, len(rest) + 1))
        if len(arrived) == 4 * rounds:
            complete.set()

    await connection.subscribe("prompt.answers", take)
    await connection.subscribe("prompt.questions", answer)
    await connection.settle()
    for number in range(rounds):
        await connection.publish("prompt.questions", b"%d" % number)

    await _until(complete)
    sizes = (len(SMALL), len(SMALL), len(LARGE), len(SMALL))
    assert [(b"%d" % number, size) for number in range(rounds) for size in sizes] == arrived


async def test_headers_arrive_as_nats_py_writes_them(connection: Connection):
    """
    Whatever the values hold; a name that is none is refused.
    """
    values = ["plain", "", " spaces around ", "grüße", "a:b: c"]
    arrived: list[dict[str, str]] = []
    complete = asyncio.Event()

    async def take(message: Message) -> None:
        arrived.append(message.headers or {})
        if len(arrived) == 2 * len(values):
            complete.set()

    await connection.subscribe("prompt.headers", take)
    await connection.settle()
    for value in values:
        await connection.publish("prompt.headers", b"x", headers={"A": value, "B": "b"})
        await connection.nc.publish("prompt.headers", b"x", headers={"A": value, "B": "b"})
    await _until(complete)

    assert arrived[::2] == arrived[1::2]
    assert {headers["B"] for headers in arrived} == {"b"}
    for name in ("a b", "a: b", "a\r\nb"):
        with pytest.raises(MalformedHeaderError):
            await connection.publish("prompt.headers", b"x", headers={name: "c"})


async def test_what_a_server_does_not_read_is_kept_in_order_and_sent_when_it_does(nats_server: RunningServer):
    """
    A frozen server: beyond what the socket takes it waits here, small messages behind the large ones before them.
    """
    count = 3 * UNREAD_BYTES_MAX // len(LARGE) * 4
    arrived: list[int] = []
    complete = asyncio.Event()

    async def take(message: Message) -> None:
        arrived.append(int(message.data.partition(b"x")[0]))
        if len(arrived) == 2 * count:
            complete.set()

    async with (
        connected(nats_server.admin(), name="prompt") as connection,
        connected(nats_server.admin(), name="listener") as listener,
    ):
        await listener.subscribe("prompt.frozen", take)
        await listener.settle()
        os.kill(nats_server.pid, signal.SIGSTOP)
        try:
            for number in range(0, 2 * count, 2):
                await connection.publish("prompt.frozen", b"%d" % number + LARGE)
                await connection.publish("prompt.frozen", b"%d" % (number + 1) + SMALL)
                await asyncio.sleep(0)
        finally:
            os.kill(nats_server.pid, signal.SIGCONT)
        await _until(complete)

    assert list(range(2 * count)) == arrived


async def test_a_server_that_does_not_speak_the_protocol_is_left_and_connected_to_again():
    """
    Garbage in the middle of a connection: it is made anew, and messages are handled as before.
    """
    connections = 0
    handled = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.write(b'INFO {"server_id":"s","version":"2.15.0","max_payload":1048576,"headers":true}\r\n')
        while line := await reader.readline():
            if line == b"PING\r\n":
                writer.write(b"PONG\r\n")
            elif line.startswith(b"SUB prompt.garbage"):
                sid = line.split()[-1]
                # In two pieces, the second with what is no command at all the first time.
                writer.write(b"MSG prompt.garbage %b 5\r\nhe" % sid)
                await writer.drain()
                await asyncio.sleep(0.01)
                writer.write(b"llo\r\n" + (b"\x00\xffnonsense\r\n" if connections == 1 else b""))
        writer.close()

    async def handle(message: Message) -> None:
        assert b"hello" == message.data
        if connections == 2:
            handled.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, connected(NatsSettings(url=f"nats://127.0.0.1:{port}"), name="prompt") as connection:
        await connection.subscribe("prompt.garbage", handle)

        await _until(handled)

        assert 1 == connection.reconnects
