"""The watch over attempts rests while there are none: an orchestrator without work costs next to nothing."""

import asyncio
import time
from contextlib import suppress

import pytest

from flotilla.capabilities.catalogue import Catalogue
from flotilla.contracts import subjects
from flotilla.contracts.attempts import Failed
from flotilla.contracts.clock import unix_ms
from flotilla.contracts.failures import FailureKind
from flotilla.contracts.headers import TaskOptions
from flotilla.fabric.connection import Message, connected
from flotilla.fabric.lanes import Lane
from flotilla.routing.types import Route
from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.patient_client import WAIT_S
from orchestrator.execution import liveness
from orchestrator.execution.attempts import Attempts
from orchestrator.execution.liveness_rules import ACCEPTANCE_TIMEOUT_S
from orchestrator.state.outputs import Outputs
from orchestrator.state.tasks import Task

POOL = "local"


def task() -> Task:
    """A task with an hour to go."""
    return Task(
        task_id="t",
        scope="default",
        capability="classify",
        priority="normal",
        data_class="internal",
        body=b"{}",
        options=TaskOptions(),
        accepted_unix_ms=unix_ms(),
        deadline_ms=3_600_000,
        durable=False,
    )


async def test_the_watch_rests_without_attempts_and_notices_a_silence_in_time(
    nats_server: RunningServer, monkeypatch: pytest.MonkeyPatch
):
    """
    It turns seldom, since a liveness probe looks at it, and at once when an attempt begins.
    """
    monkeypatch.setattr(liveness, "REST_S", 0.5)
    swallowed = asyncio.Event()

    async def swallow(_: Message) -> None:
        swallowed.set()

    async def turned() -> float:
        before = attempts.renewed_at
        async with asyncio.timeout(WAIT_S):
            while attempts.renewed_at == before:
                await asyncio.sleep(0.01)
        return attempts.renewed_at

    async with (
        connected(nats_server.orchestrator(), name="core") as connection,
        connected(nats_server.worker("local", POOL), name="worker") as worker,
    ):
        await worker.subscribe(subjects.infer("local", POOL, "*"), swallow, queue=POOL)
        await worker.settle()
        attempts = Attempts(connection, "o1", Outputs(Catalogue.load(())))
        await attempts.start()
        first = await turned()
        await turned()
        third = await turned()
        monkeypatch.setattr(liveness, "REST_S", 3_600.0)
        with suppress(TimeoutError):
            # So many turns that the next rest is the long one.
            async with asyncio.timeout(1.0):
                while True:
                    await turned()
        route = Route(zone="local", pool=POOL, model="m")
        began = time.monotonic()
        attempt = await attempts.send(task(), route, Lane(POOL), timeout_s=None, on_start=lambda _: None, on_piece=None)
        async with asyncio.timeout(WAIT_S):
            outcome = await attempt.outcome
        took_s = time.monotonic() - began
        await attempts.stop()

    assert 0.5 <= third - first
    assert swallowed.is_set()
    assert isinstance(outcome, Failed)
    assert FailureKind.LOST is outcome.kind
    assert ACCEPTANCE_TIMEOUT_S <= took_s
