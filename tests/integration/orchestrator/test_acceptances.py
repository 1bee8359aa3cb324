"""Callers who want to know it are told that their ask was taken."""

import asyncio
from typing import Any

import pytest

from flotilla.fabric.connection import Message, connected
from flotilla.testkit.nats_server import RunningServer
from orchestrator.reporting.background_publisher import BackgroundPublisher
from orchestrator.ways_in import acceptances
from orchestrator.ways_in.acceptances import Acceptances
from orchestrator.ways_in.replies import Replies

REPLY = "_R_.caller"
LOOK_EVERY_S = 0.0123
"""A time that nothing else waits for."""
WITHIN_S = 60.0


async def test_nothing_is_looked_at_while_nobody_waits_and_who_waits_then_is_told(
    nats_server: RunningServer, monkeypatch: pytest.MonkeyPatch
):
    """
    An idle orchestrator sleeps; an ask that was answered at once leaves nothing to do, and the next one wakes it.
    """
    monkeypatch.setattr(acceptances, "LOOK_EVERY_S", LOOK_EVERY_S)
    loop = asyncio.get_running_loop()
    call_later = loop.call_later
    looks: list[float] = []

    def counted(delay: float, *given: Any, **named: Any) -> asyncio.TimerHandle:
        if delay == LOOK_EVERY_S:
            looks.append(delay)
        return call_later(delay, *given, **named)

    monkeypatch.setattr(loop, "call_later", counted)
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def hear(message: Message) -> None:
        heard.put_nowait(message.data)

    async with (
        connected(nats_server.admin(), name="orchestrator") as connection,
        connected(nats_server.admin(), name="caller") as caller,
    ):
        await caller.subscribe(REPLY, hear)
        await caller.settle()
        telling = Acceptances(Replies(connection, BackgroundPublisher(connection)))
        telling.start()
        telling.expect(REPLY, "t-1")
        telling.over(REPLY)
        await asyncio.sleep(0.5)
        looks_while_idle = len(looks)
        telling.expect(REPLY, "t-2")
        async with asyncio.timeout(WITHIN_S):
            told = await heard.get()
        telling.stop()

    assert 0 == looks_while_idle
    assert b"t-2" in told
    assert heard.empty()
