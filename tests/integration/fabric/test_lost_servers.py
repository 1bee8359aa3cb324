"""Requests under way when the connection's server is lost: who may be asked again is, by the new connection."""

import asyncio

import pytest

from flotilla.fabric import inbox
from flotilla.fabric.connection import Connection, Message, connected
from flotilla.fabric.errors import RequestTimeoutError
from flotilla.fabric.inbox import Requests
from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.patient_client import WAIT_S

SUBJECT = "lost.request"
NEVER_S = 10_000.0


class Responder:
    """Takes requests: says that it has the first one or nothing of it, and answers those after it."""

    def __init__(self, connection: Connection, *, says_so: bool) -> None:
        self._connection = connection
        self._says_so = says_so
        self.taken = 0
        self.first = asyncio.Event()

    async def take(self, message: Message) -> None:
        """One request."""
        self.taken += 1
        if self.taken > 1:
            await self._connection.publish(message.reply, b"answer")
        elif self._says_so:
            await self._connection.publish(message.reply, b"taken")
        self.first.set()


async def _is_word(message: Message) -> bool:
    return message.data == b"taken"


@pytest.mark.parametrize("heard", [False, True])
async def test_a_request_that_nobody_has_heard_is_sent_again_by_the_new_connection(
    nats_server: RunningServer, monkeypatch: pytest.MonkeyPatch, *, heard: bool
):
    """
    One that somebody has is worked on, and its answer is lost: that is for its caller to know, and soon.
    """
    monkeypatch.setattr(inbox, "UNHEARD_S", NEVER_S)
    async with (
        connected(nats_server.admin(), name="caller") as connection,
        connected(nats_server.admin(), name="responder") as other,
    ):
        responder = Responder(other, says_so=heard)
        await other.subscribe(SUBJECT, responder.take)
        await other.settle()
        requests = Requests(connection)
        await requests.start()
        asked = asyncio.create_task(
            requests.request(SUBJECT, timeout_s=WAIT_S, lost_with_connection=True, is_interim=_is_word)
        )
        await asyncio.wait_for(responder.first.wait(), WAIT_S)
        # Whatever it said has arrived before this does.
        await other.settle()
        await connection.settle()

        # From here on as always: the one who is to answer may be back later than the one who asks.
        monkeypatch.undo()
        await nats_server.restart()
        (ended,) = await asyncio.gather(asked, return_exceptions=True)
        await requests.stop()

    if heard:
        assert isinstance(ended, RequestTimeoutError)
        assert responder.taken == 1
    else:
        assert isinstance(ended, Message)
        assert ended.data == b"answer"
