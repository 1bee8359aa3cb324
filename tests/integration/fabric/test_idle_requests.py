"""A process that asks for nothing is not woken by the requests that it might make."""

import asyncio
from typing import Any

import pytest

from flotilla.fabric import inbox
from flotilla.fabric.connection import Message, connected
from flotilla.fabric.errors import RequestDeniedError, RequestTimeoutError
from flotilla.fabric.inbox import Requests
from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.patient_client import WAIT_S

SWEEP_INTERVAL_S = 0.0123
"""A time that nothing else waits for."""


async def test_no_timer_runs_while_no_request_waits_and_the_next_ones_end_in_time(
    nats_server: RunningServer, monkeypatch: pytest.MonkeyPatch
):
    """
    One that nobody answers, and one that is denied, after one that was answered and a pause.
    """
    monkeypatch.setattr(inbox, "SWEEP_INTERVAL_S", SWEEP_INTERVAL_S)
    loop = asyncio.get_running_loop()
    call_later = loop.call_later
    sweeps: list[float] = []

    def counted(delay: float, *given: Any, **named: Any) -> asyncio.TimerHandle:
        if delay == SWEEP_INTERVAL_S:
            sweeps.append(delay)
        return call_later(delay, *given, **named)

    monkeypatch.setattr(loop, "call_later", counted)

    async def silence(message: Message) -> None:
        pass

    async with (
        connected(nats_server.anonymous(), name="tenant") as connection,
        connected(nats_server.admin(), name="silent") as other,
    ):
        await other.subscribe("scope.default.api.status", silence)
        await other.settle()
        requests = Requests(connection)
        await requests.start()
        with pytest.raises(RequestTimeoutError):
            await requests.request("api.status", timeout_s=0.2)
        await asyncio.sleep(2 * SWEEP_INTERVAL_S)
        before = len(sweeps)
        await asyncio.sleep(0.5)
        idle = len(sweeps) - before
        denied = requests.request("sealed.api.Status", timeout_s=WAIT_S, may_be_denied=True)
        silent = requests.request("api.status", timeout_s=0.2)
        ended = await asyncio.gather(denied, silent, return_exceptions=True)
        await requests.stop()

    assert before > 0
    assert 0 == idle
    assert [RequestDeniedError, RequestTimeoutError] == [type(error) for error in ended]
