"""What a stream holds by subject is listed when it has changed, and only where the list is short."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from flotilla.fabric import held_subjects
from flotilla.fabric.connection import Connection, Message, connected
from flotilla.fabric.held_subjects import HeldSubjects
from flotilla.fabric.inbox import Requests
from flotilla.fabric.stream_usage import StreamUsage, held_by
from flotilla.testkit.nats_server import RunningServer

STREAM = "HELD"
PATTERN = "held.>"


class Asked:
    """
    A stream, and the bodies of the requests about it.

    Attributes:
        bodies: Of those since the last look.
    """

    def __init__(self, connection: Connection, requests: Requests) -> None:
        self._connection = connection
        self._jetstream: Any = connection.nc.jetstream()  # pyright: ignore[reportUnknownMemberType]
        self.held = HeldSubjects(requests, STREAM, PATTERN)
        self.bodies: list[bytes] = []

    async def on_request(self, message: Message) -> None:
        """Note it."""
        self.bodies.append(message.data)

    async def make(self, first: str) -> None:
        """Make the stream, with one message on a subject."""
        await self._jetstream.add_stream(name=STREAM, subjects=[PATTERN])
        await self.put(first)

    async def drop(self) -> None:
        """Delete the stream."""
        await self._jetstream.delete_stream(STREAM)

    async def put(self, subject: str) -> None:
        """Have the stream hold one more message."""
        await self._connection.nc.request(subject, b"", 60)

    async def look(self) -> tuple[dict[str, int] | None, int]:
        """What is held now, and how many requests that took."""
        self.bodies.clear()
        found = await self.held.now()
        await self._connection.settle()
        return found, len(self.bodies)


@pytest.fixture
async def asked(nats_server: RunningServer) -> AsyncIterator[Asked]:
    """A stream of its own."""
    async with connected(nats_server.admin(), name="asked") as connection:
        requests = Requests(connection)
        await requests.start()
        asked = Asked(connection, requests)
        await connection.subscribe(f"$JS.API.STREAM.INFO.{STREAM}", asked.on_request)
        await asked.make("held.a")
        yield asked
        await asked.drop()
        await requests.stop()


async def test_a_stream_that_has_not_changed_is_asked_once(asked: Asked):
    """
    What it holds now, and not what each subject had; that is asked again after every change.
    """
    assert ({"held.a": 1}, 2) == await asked.look()
    assert ({"held.a": 1}, 1) == await asked.look()
    await asked.put("held.a")
    assert ({"held.a": 2}, 2) == await asked.look()
    await asked.put("held.b")
    assert ({"held.a": 2, "held.b": 1}, 2) == await asked.look()
    assert ({"held.a": 2, "held.b": 1}, 1) == await asked.look()


async def test_what_comes_while_the_stream_is_looked_at_is_listed_once(asked: Asked, monkeypatch: pytest.MonkeyPatch):
    """
    Between the question how much it holds and the one on which subjects: the list has it, and a change has one list.
    """

    async def looked_at_late(requests: Requests, stream: str) -> StreamUsage:
        usage = await held_by(requests, stream)
        await asked.put("held.b")
        return usage

    with monkeypatch.context() as late:
        late.setattr(held_subjects, "held_by", looked_at_late)
        assert ({"held.a": 1, "held.b": 1}, 2) == await asked.look()

    assert ({"held.a": 1, "held.b": 1}, 1) == await asked.look()


async def test_a_stream_that_was_made_again_is_asked_anew(asked: Asked):
    """
    Though it holds as many as the one that was lost.
    """
    await asked.look()
    await asked.drop()
    await asked.make("held.z")

    assert ({"held.z": 1}, 2) == await asked.look()


async def test_more_subjects_than_are_listed_are_not(asked: Asked, monkeypatch: pytest.MonkeyPatch):
    """
    Nobody has room for so long a list.
    """
    monkeypatch.setattr(held_subjects, "LISTED_MAX", 2)
    await asyncio.gather(*(asked.put(f"held.{number}") for number in range(3)))

    assert (None, 1) == await asked.look()
