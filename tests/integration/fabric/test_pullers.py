"""A puller and a real consumer: it never expects more than it has room for, and finds out what does not come any more."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from flotilla.contracts import subjects
from flotilla.fabric import pull_consumers
from flotilla.fabric.connection import Connection, Message, connected
from flotilla.fabric.consumers import ensure_consumer
from flotilla.fabric.deliveries import Delivery
from flotilla.fabric.inbox import Requests
from flotilla.fabric.pull_consumers import Grant, Puller, tasks_of
from flotilla.provisioning.streams import ensure
from flotilla.provisioning.topology import topology
from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.plain_client import connect_plainly, eventually

SUBJECT = subjects.tasks("default", "classify")
STREAM = subjects.tasks_stream("default")
CONSUMER = subjects.consumer("classify", "normal")
PULL_BYTES = 64 * 1024


class Unlimited:
    """Grants whatever is asked for, and counts the bytes that are out."""

    def __init__(self) -> None:
        self.out = 0

    def grant(self, puller: Puller, batch: int) -> Grant | None:
        """See `Allowance`."""
        del puller
        self.out += PULL_BYTES
        return Grant(batch, PULL_BYTES)

    def exceed(self, size_bytes: int) -> None:
        """See `Allowance`."""
        self.out += size_bytes

    def give_back(self, size_bytes: int) -> None:
        """See `Allowance`."""
        self.out -= size_bytes


class Pulling:
    """A puller, its deliveries, and what it needs."""

    def __init__(self, connection: Connection, requests: Requests) -> None:
        self.requests = requests
        self.allowance = Unlimited()
        self.deliveries: list[Delivery] = []
        self.puller = Puller(
            connection,
            requests,
            source=tasks_of("default", "classify", "normal"),
            allowance=self.allowance,
            on_delivery=self.deliveries.append,
            on_refused=lambda: None,
        )

    async def ensure(self) -> None:
        """Have the consumer made."""
        await ensure_consumer(
            self.requests, scope="default", capability="classify", priority="normal", ack_pending_max=1000
        )

    async def submit(self, count: int) -> None:
        """Store so many tasks."""
        for number in range(count):
            await self.requests.request(SUBJECT, b"%d" % number)

    @property
    def held_bytes(self) -> int:
        """The bytes of what was delivered."""
        return sum(each.size_bytes for each in self.deliveries)


@pytest.fixture
async def pulling(nats_server: RunningServer) -> AsyncIterator[Pulling]:
    """
    Of an orchestrator whose scope has its streams; no consumer yet.
    """
    async with connected(nats_server.orchestrator(), name="orchestrator") as connection:
        requests = Requests(connection)
        await requests.start()
        await ensure(requests, topology(("default",)))
        yield Pulling(connection, requests)
        await requests.stop()


async def test_no_more_comes_than_there_is_room_for(pulling: Pulling):
    """
    However often it pulls: what is on its way counts. What has come says how much more there is.
    """
    puller = pulling.puller
    await pulling.ensure()
    for _ in range(5):
        await puller.pull(3)
    asked = (puller.outstanding, puller.outstanding_bytes)
    await pulling.submit(10)
    await eventually(_holds(lambda: len(pulling.deliveries) == 3))
    backlog = pulling.deliveries[-1].pending
    await puller.pull(0)
    await asyncio.sleep(0.2)

    assert (3, PULL_BYTES) == asked
    assert [b"0", b"1", b"2"] == [each.body for each in pulling.deliveries]
    assert [1, 1, 1] == [each.deliveries for each in pulling.deliveries]
    assert (0, 0) == (puller.outstanding, puller.outstanding_bytes)
    assert pulling.held_bytes == pulling.allowance.out
    assert backlog == puller.backlog

    await puller.pull(100)
    await eventually(_holds(lambda: len(pulling.deliveries) == 10))
    assert 0 == puller.backlog


async def test_a_batch_is_bounded(pulling: Pulling, monkeypatch: pytest.MonkeyPatch):
    """
    However much room there is.
    """
    monkeypatch.setattr(pull_consumers, "PULL_BATCH_MAX", 4)
    await pulling.ensure()
    await pulling.puller.pull(1_000_000)

    assert 4 == pulling.puller.outstanding


async def test_a_request_that_expires_is_expected_no_more(pulling: Pulling, monkeypatch: pytest.MonkeyPatch):
    """
    Nothing waits then, and its bytes are given back.
    """
    monkeypatch.setattr(pull_consumers, "PULL_EXPIRES_S", 0.2)
    await pulling.ensure()
    await pulling.puller.pull(3)
    await eventually(_holds(lambda: not pulling.puller.outstanding))

    assert 0 == pulling.allowance.out == pulling.puller.outstanding_bytes == pulling.puller.backlog
    assert not pulling.puller.missing


async def test_without_a_consumer_it_says_so_and_asks_only_now_and_then(
    pulling: Pulling, monkeypatch: pytest.MonkeyPatch
):
    """
    Somebody may make it; the first message shows that it is there.
    """
    puller = pulling.puller
    monkeypatch.setattr(pull_consumers, "MISSING_AGAIN_S", 1000.0)
    await puller.pull(2)
    await eventually(_holds(lambda: puller.missing))
    await pulling.ensure()
    await pulling.submit(1)
    await puller.pull(2)
    asked = puller.outstanding
    monkeypatch.setattr(pull_consumers, "MISSING_AGAIN_S", 0.0)
    await puller.pull(2)
    await eventually(_holds(lambda: len(pulling.deliveries) == 1))

    assert 0 == asked
    assert not puller.missing


async def test_a_consumer_that_is_deleted_is_missed(pulling: Pulling, nats_server: RunningServer):
    """
    What was asked for does not come any more.
    """
    await pulling.ensure()
    await pulling.puller.pull(3)
    role = nats_server.admin()
    admin = await connect_plainly(nats_server.url, nkeys_seed=str(role.creds), inbox_prefix=role.inbox_prefix)
    await admin.stream("CONSUMER.DELETE", f"{STREAM}.{CONSUMER}")
    await eventually(_holds(lambda: pulling.puller.missing))
    await admin.nc.close()

    assert 0 == pulling.puller.outstanding == pulling.allowance.out


async def test_requests_that_a_server_forgot_are_made_again(
    pulling: Pulling, nats_server: RunningServer, monkeypatch: pytest.MonkeyPatch
):
    """
    Nobody says that they do not count any more: after a while without an answer they are taken to be lost.
    """
    await pulling.ensure()
    await pulling.puller.pull(2)
    await nats_server.kill()
    await nats_server.start()
    async with asyncio.timeout(60):
        while True:
            try:
                await pulling.submit(1)
            except Exception:  # noqa: BLE001  (until it is connected again, whatever it says)
                await asyncio.sleep(0.1)
            else:
                break
    await pulling.puller.pull(2)
    asked_before = pulling.puller.outstanding
    came_before = len(pulling.deliveries)
    monkeypatch.setattr(pull_consumers, "PULL_LOST_AFTER_S", 0.5)
    monkeypatch.setattr(pull_consumers, "MISSING_AGAIN_S", 0.0)

    async def came() -> object:
        # Again and again, as an orchestrator does: the server may still be recovering the consumer.
        await pulling.puller.pull(2)
        return pulling.deliveries

    await eventually(came)

    assert (2, 0) == (asked_before, came_before)


async def test_what_is_said_of_a_forgotten_request_changes_nothing(pulling: Pulling, monkeypatch: pytest.MonkeyPatch):
    """
    It ends after the next one was made, which still stands.
    """
    puller = pulling.puller
    monkeypatch.setattr(pull_consumers, "PULL_EXPIRES_S", 0.3)
    await pulling.ensure()
    await puller.pull(2)
    puller.forget_pulls()
    forgotten = pulling.allowance.out
    monkeypatch.setattr(pull_consumers, "PULL_EXPIRES_S", 30.0)
    await puller.pull(5)
    await asyncio.sleep(0.8)

    assert 0 == forgotten
    assert 5 == puller.outstanding
    assert PULL_BYTES == pulling.allowance.out


async def test_a_delivery_is_acknowledged_once_and_given_back_at_once(pulling: Pulling):
    """
    Given back it comes again, and says that it has come before; acknowledged it is gone.
    """
    await pulling.ensure()
    await pulling.submit(1)
    await pulling.puller.pull(5)
    await eventually(_holds(lambda: len(pulling.deliveries) == 1))
    await pulling.deliveries[0].nak()
    await eventually(_holds(lambda: len(pulling.deliveries) == 2))
    await pulling.deliveries[1].acknowledge()
    await ensure_consumer(
        pulling.requests, scope="default", capability="classify", priority="normal", ack_pending_max=1
    )
    await pulling.submit(1)
    await eventually(_holds(lambda: len(pulling.deliveries) == 3))

    assert [1, 2, 1] == [each.deliveries for each in pulling.deliveries]
    first, again, other = pulling.deliveries
    assert (first.sequence, first.stored_unix_ms) == (again.sequence, again.stored_unix_ms)
    assert other.sequence == first.sequence + 1


@pytest.mark.parametrize(
    "reply",
    [
        "$JS.ACK.TASKS_default.classify_normal.2.17.9.1700000000123000000.5",
        "$JS.ACK._.abcdef.TASKS_default.classify_normal.2.17.9.1700000000123000000.5.xyz",
    ],
    ids=["v1", "v2"],
)
async def test_what_the_server_says_of_a_delivery(pulling: Pulling, reply: str):
    """
    In both forms of the subject that it is acknowledged on; all of it counts against the bytes that were asked for.
    """
    message = Message(SUBJECT, reply, b"body", b"NATS/1.0\r\n\r\n")
    delivery = Delivery(None, pulling.requests, message)  # pyright: ignore[reportArgumentType]  # nothing is sent

    assert (2, 17, 5) == (delivery.deliveries, delivery.sequence, delivery.pending)
    assert 1_700_000_000_123 == delivery.stored_unix_ms
    assert len(SUBJECT) + len(reply) + len(b"body") + len(b"NATS/1.0\r\n\r\n") == delivery.size_bytes


def _holds(condition: Callable[[], object]) -> Callable[[], Awaitable[object]]:
    async def holds() -> object:
        return condition()

    return holds
