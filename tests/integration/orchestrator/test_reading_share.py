"""What one scope sends in bulk keeps no other scope's messages from being read."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from nats.errors import NoRespondersError

from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.orchestrator_here import (
    COUNTERSIGN,
    DOCUMENT,
    RunningOrchestrator,
    SteeredExecutor,
    running_orchestrator,
    signed,
    until,
)
from flotilla.testkit.patient_client import WAIT_S
from orchestrator.state import reading_time
from orchestrator.state.attempt import OnPiece
from orchestrator.state.tasks import Task
from orchestrator.ways_in.durable import Durable

LONG = json.dumps({"document": "x" * 110_000}).encode()
SLOW_BYTES_PER_S = 100_000
"""With it, one that is LONG takes more than a scope may take in one go."""


async def _sign(task: Task, _on_piece: OnPiece | None) -> Any:
    return signed(task)


async def _until_served(ask: Callable[[], Any], mark: str) -> None:
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                if mark in json.loads((await ask()).data):
                    return
            except NoRespondersError:
                pass
            await asyncio.sleep(0.05)


async def test_asks_of_a_scope_that_take_too_long_are_refused_and_others_are_answered(
    nats_server: RunningServer, monkeypatch: pytest.MonkeyPatch
):
    """
    Before they are decoded, with the time after which they may be asked again; then the server refuses them.
    """
    executor = SteeredExecutor(_sign, capacity=8)
    async with running_orchestrator(nats_server, executor.of, scopes="default,acme") as here:
        answer = await here.client.ask(COUNTERSIGN, DOCUMENT)
        assert "ok" == answer.result["status"]
        executor.ran.clear()
        monkeypatch.setattr(reading_time, "BYTES_PER_S", SLOW_BYTES_PER_S)
        evil = here.admin.nc

        refused = json.loads((await evil.request(f"scope.acme.ask.{COUNTERSIGN}", LONG, timeout=WAIT_S)).data)

        assert "no_capacity" == refused["error"]["kind"]
        assert 0.0 < refused["error"]["details"]["retry_after_s"] < 10.0
        assert [] == executor.ran
        answer = await here.client.ask(COUNTERSIGN, DOCUMENT)
        assert "ok" == answer.result["status"]
        short = json.dumps(DOCUMENT).encode()
        await _until_served(lambda: evil.request(f"scope.acme.ask.{COUNTERSIGN}", short, timeout=WAIT_S), "output")


async def test_durable_tasks_of_a_scope_that_take_too_long_wait_in_their_stream(
    nats_server: RunningServer, monkeypatch: pytest.MonkeyPatch
):
    """
    The sweep has looked at one; it is not pulled before the scope may have more read.
    """
    held_off: list[bool] = []

    async def sign(task: Task, _on_piece: OnPiece | None) -> Any:
        if task.scope == "acme":
            held_off.append(_durable(here).intake.is_held_off)
        return signed(task)

    executor = SteeredExecutor(sign, capacity=0)
    async with running_orchestrator(nats_server, executor.of, scopes="default,acme") as here:
        monkeypatch.setattr(reading_time, "BYTES_PER_S", SLOW_BYTES_PER_S)
        for scope, body in (("default", b"{}"), ("acme", LONG)):
            ack = await here.admin.nc.request(f"scope.{scope}.tasks.{COUNTERSIGN}", body, timeout=WAIT_S)
            assert "seq" in json.loads(ack.data)
        await until(lambda: _durable(here).intake.is_held_off)
        # From here on it takes no time: it is looked at once more when it is pulled.
        monkeypatch.undo()

        executor.limit = 8
        _durable(here).look_again()
        await until(lambda: held_off)

        assert [False] == held_off


def _durable(here: RunningOrchestrator) -> Durable:
    return here.service._ways_in.durables["acme"]  # pyright: ignore[reportPrivateUsage]
