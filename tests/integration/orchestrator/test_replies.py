"""How an interactive task is answered: the result, then the end of its reply subject."""

import asyncio

import pytest

from flotilla.fabric.connection import Connection, Message, connected
from flotilla.fabric.per_item import ITEM_FAILURES
from flotilla.testkit.fleet_peer import result_of
from flotilla.testkit.nats_server import RunningServer
from orchestrator.reporting import background_publisher
from orchestrator.reporting.background_publisher import BackgroundPublisher, Outgoing
from orchestrator.ways_in.replies import Replies

REPLY = "_R_.caller"


@pytest.fixture
def heard() -> list[bytes]:
    """
    What came to the caller.
    """
    return []


async def _listen(connection: Connection, heard: list[bytes]) -> None:
    async def hear(message: Message) -> None:
        heard.append(message.data)

    await connection.subscribe(REPLY, hear)
    await connection.settle()


async def test_the_end_of_a_reply_follows_its_result(nats_server: RunningServer, heard: list[bytes]):
    """
    An empty message, by which the server forgets the way back.
    """
    async with (
        connected(nats_server.admin(), name="orchestrator") as connection,
        connected(nats_server.admin(), name="caller") as caller,
    ):
        await _listen(caller, heard)
        later = BackgroundPublisher(connection)
        await Replies(connection, later).result(REPLY, result_of("t-1", "classify", output={}))
        await later.flush()
        await connection.settle()
        await caller.settle()

    assert [True, False] == [bool(body) for body in heard]


async def test_the_end_of_a_reply_is_not_lost_where_too_much_waits(
    nats_server: RunningServer, heard: list[bytes], monkeypatch: pytest.MonkeyPatch
):
    """
    Without it the server would keep the way back of each ask of a flood for an hour.
    """
    monkeypatch.setattr(background_publisher, "UNSENT_MAX", 0)
    async with (
        connected(nats_server.admin(), name="orchestrator") as connection,
        connected(nats_server.admin(), name="caller") as caller,
    ):
        await _listen(caller, heard)
        later = BackgroundPublisher(connection)
        await Replies(connection, later).result(REPLY, result_of("t-1", "classify", output={}))
        await connection.settle()
        await caller.settle()

    assert [True, False] == [bool(body) for body in heard]


async def test_one_message_that_cannot_be_made_keeps_no_other_back(nats_server: RunningServer, heard: list[bytes]):
    """
    It is counted as a failure of the loop.
    """

    def broken() -> Outgoing:
        raise ValueError("it has no body")

    before = ITEM_FAILURES.counts["background"]
    async with (
        connected(nats_server.admin(), name="orchestrator") as connection,
        connected(nats_server.admin(), name="caller") as caller,
    ):
        await _listen(caller, heard)
        later = BackgroundPublisher(connection)
        for make in (
            lambda: (REPLY, b"1", None),
            broken,
            lambda: ("no subject", b"2", None),
            lambda: (REPLY, b"3", None),
        ):
            later.publish(make)
        await later.flush()
        await connection.settle()
        await caller.settle()

    assert [b"1", b"3"] == heard
    assert before + 2 == ITEM_FAILURES.counts["background"]


async def test_an_end_does_not_come_without_its_result(
    nats_server: RunningServer, heard: list[bytes], monkeypatch: pytest.MonkeyPatch
):
    """
    The server that took the result dies: an end by the next connection would be all that the caller gets.
    """
    monkeypatch.setattr(background_publisher, "LATER_S", 60.0)
    async with (
        connected(nats_server.admin(), name="orchestrator") as connection,
        connected(nats_server.admin(), name="caller") as caller,
    ):
        await _listen(caller, heard)
        later = BackgroundPublisher(connection)
        await Replies(connection, later).result(REPLY, result_of("t-1", "classify", output={}))
        await connection.settle()
        await caller.settle()
        back = [asyncio.Event(), asyncio.Event()]
        for each, event in zip((connection, caller), back, strict=True):
            each.on_reconnect(event.set)
        await nats_server.restart()
        await asyncio.gather(*(event.wait() for event in back))
        for each in (caller, connection):
            await each.settle()
        await later.flush()
        await connection.settle()
        await caller.settle()

    assert [True] == [bool(body) for body in heard]
