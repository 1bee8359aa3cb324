"""A member of a queue group that has too much to read leaves further requests to the server, which refuses them at once."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from msgspec import structs
from nats.errors import NoRespondersError

from flotilla.fabric.backpressure import UNREAD_MAX, BoundedMembership
from flotilla.fabric.connection import Connection, Message, NatsSettings, connected
from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.raw_client import raw_client
from flotilla.testkit.relay import relay

SUBJECT = "flood.requests"
LARGE_BYTES = 1024 * 1024


class _Member:
    """Reads what a group is sent, and is told of each time that it steps out."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.read = 0
        self.takes_s = 0.0
        self.times_out = 0
        self.is_out = asyncio.Event()
        self.membership: BoundedMembership | None = None

    async def take(self, message: Message) -> None:
        """One request."""
        self.read += 1
        if self.takes_s:
            time.sleep(self.takes_s)  # noqa: ASYNC251  (it works, as who refuses requests does)
            await self.connection.publish(message.reply, b"refused")
        if self.membership is not None:
            self.membership.read(len(message.data))

    def stepped_out(self) -> None:
        """It has."""
        self.times_out += 1
        self.is_out.set()

    async def until(self, read: int) -> None:
        """Return when it has read so many."""
        async with asyncio.timeout(60):
            while self.read < read:
                await asyncio.sleep(0.005)


@asynccontextmanager
async def _member(settings: NatsSettings) -> AsyncGenerator[tuple[Connection, _Member]]:
    async with connected(settings, name="reader") as connection:
        member = _Member(connection)
        joined = await connection.subscribe(SUBJECT, member.take, queue="group")
        member.membership = BoundedMembership(connection, joined, member.stepped_out)
        await connection.settle()
        yield connection, member


def _publish_unread(settings: NatsSettings, count: int, body: bytes = b"{}") -> None:
    """So many messages that wait in the server: nothing of this thread's loop runs meanwhile."""

    async def publish() -> None:
        async with raw_client(settings) as raw:
            for _ in range(count):
                raw.publish(SUBJECT.encode(), body)
            await raw.flush()

    thread = threading.Thread(target=asyncio.run, args=(publish(),))
    thread.start()
    thread.join()


async def _is_refused(connection: Connection) -> bool:
    try:
        await connection.nc.request(SUBJECT, b"", timeout=0.2)
    except NoRespondersError:
        return True
    except TimeoutError:
        return False
    raise AssertionError("nobody answers here")


async def test_who_has_too_much_to_read_is_sent_no_more_until_it_was_read(nats_server: RunningServer):
    """
    What had been sent is all read; then the group is served again.
    """
    async with _member(nats_server.admin()) as (_, member), connected(nats_server.admin(), name="asks") as asks:
        assert not await _is_refused(asks)
        for times in (1, 2):
            member.read = 0
            member.is_out.clear()
            _publish_unread(nats_server.admin(), 4 * UNREAD_MAX)
            await asyncio.wait_for(member.is_out.wait(), 60)
            await member.until(4 * UNREAD_MAX)
            assert times == member.times_out
            async with asyncio.timeout(60):
                while await _is_refused(asks):
                    await asyncio.sleep(0.005)
        assert member.read > 4 * UNREAD_MAX


async def test_who_asks_faster_than_is_read_is_refused_by_the_server(nats_server: RunningServer):
    """
    And hears it at once; without it the server keeps 64 MiB of them, and then the member is dead to it.
    """

    async def flood() -> int:
        async with raw_client(nats_server.admin()) as raw:
            raw.subscribe(b"answers")
            for sent in range(0, 100 * UNREAD_MAX, 100):
                for _ in range(100):
                    raw.publish(SUBJECT.encode(), b"{}", reply=b"answers")
                await raw.flush()
                if any(line.startswith(b"NATS/1.0 503") for line in raw.said):
                    return sent
                raw.said.clear()
        raise AssertionError("none was refused")

    async with _member(nats_server.admin()) as (_, member):
        member.takes_s = 0.0002
        sent = await asyncio.to_thread(asyncio.run, flood())
        member.takes_s = 0.0
        await member.until(sent)


async def test_large_requests_count_by_their_bytes(nats_server: RunningServer):
    """
    Long before the server takes the member for dead, 64 MiB behind.
    """
    async with _member(nats_server.admin()) as (connection, member):
        _publish_unread(nats_server.admin(), 50, b"x" * LARGE_BYTES)
        await member.until(50)
        assert (1, 0) == (member.times_out, connection.reconnects)


async def test_many_requests_that_are_read_in_time_are_all_taken(nats_server: RunningServer):
    """
    Half of what may wait, again and again.
    """
    async with _member(nats_server.admin()) as (_, member):
        for times in range(1, 9):
            _publish_unread(nats_server.admin(), UNREAD_MAX // 2)
            await member.until(times * UNREAD_MAX // 2)
        assert member.times_out == 0


async def test_a_member_that_had_stepped_out_is_back_after_a_reconnect(nats_server: RunningServer):
    """
    Its own PING went with the connection.
    """
    host, _, port = nats_server.url.removeprefix("nats://").rpartition(":")
    async with relay(host, int(port)) as line:
        settings = structs.replace(nats_server.admin(), url=f"nats://127.0.0.1:{line.port}")
        async with _member(settings) as (connection, member), connected(nats_server.admin(), name="asks") as asks:
            member.membership.step_out()  # pyright: ignore[reportOptionalMemberAccess]
            await connection.settle()
            assert await _is_refused(asks)
            line.cut()
            line.mend()
            async with asyncio.timeout(60):
                while await _is_refused(asks):
                    await asyncio.sleep(0.01)


async def test_who_has_left_for_good_does_not_come_back(nats_server: RunningServer):
    """
    Also when it had stepped out, and was still reading.
    """
    async with (
        _member(nats_server.admin()) as (connection, member),
        connected(nats_server.admin(), name="asks") as asks,
    ):
        _publish_unread(nats_server.admin(), 4 * UNREAD_MAX)
        await asyncio.wait_for(member.is_out.wait(), 60)
        await member.membership.end()  # pyright: ignore[reportOptionalMemberAccess]
        await member.until(4 * UNREAD_MAX)
        await connection.settle()
        assert await _is_refused(asks)
