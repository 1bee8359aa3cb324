"""A run that cannot go on now: what is done, or under way beside the step that stopped it, is not asked for again."""

import asyncio
import os
import signal
from collections import Counter
from typing import Any

import msgspec
import pytest

from flotilla.contracts.results import Result
from flotilla.fabric import publish_once
from flotilla.pipelines.plan import StepKey, StepTask
from flotilla.pipelines.reading import read_pipeline
from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.orchestrator_here import running_orchestrator, until
from flotilla.testkit.plain_client import Json, connect_plainly, new_task
from flotilla.testkit.scripted_worker import finished, scripted_worker
from orchestrator.pipelines import step_results
from orchestrator.pipelines.step_ended import StepEnded
from orchestrator.pipelines.step_results import StepResults
from orchestrator.state.shared_quota import Room
from orchestrator.ways_in import delivery_run

TWO = """
name = "two"
[input]
type = "object"
[steps.sides]
capability = "summarize"
for_each = ["large", "slow"]
input = { document = "${item}" }
[output]
texts = "${steps.sides.*.summary}"
"""
KEPT_BYTES_MAX = 4_096
SLOW_S = 2.0


def _says(request: Json) -> list[Any]:
    if request["input"]["document"] == "large":
        return [{"type": "accepted"}, finished({"summary": "x" * 2 * KEPT_BYTES_MAX})]
    return [{"type": "accepted"}, SLOW_S, finished({"summary": "small"})]


async def test_what_is_under_way_when_a_run_is_given_back_is_kept(
    nats_server: RunningServer, monkeypatch: pytest.MonkeyPatch
):
    """
    The stream takes no large result for a while; the small one comes later, and is asked of the worker once.
    """
    monkeypatch.setattr(step_results, "PATIENCE_S", 0.2)
    monkeypatch.setattr(delivery_run, "NAK_DELAY_S", 0.2)
    role = nats_server.worker("local", "local")
    member = await connect_plainly(nats_server.url, nkeys_seed=str(role.creds), inbox_prefix=role.inbox_prefix)
    async with (
        running_orchestrator(nats_server, pipelines=[read_pipeline(TWO, "here")]) as fleet,
        scripted_worker(member, _says, pool="local") as worker,
        fleet.client.hearing("results.>") as results,
    ):
        await until(lambda: "summarize" in fleet.fleet.capabilities())

        async def take_at_most(size_bytes: int) -> None:
            config = (await fleet.admin.stream("STREAM.INFO", "STEPS_default"))["config"]
            await fleet.admin.stream("STREAM.UPDATE", "STEPS_default", {**config, "max_msg_size": size_bytes})

        def asked() -> Counter[str]:
            return Counter(request["input"]["document"] for request in worker.requests)

        await take_at_most(KEPT_BYTES_MAX)
        task = new_task()
        await fleet.client.submit("two", {}, task=task)
        await until(lambda: asked()["large"] > 1)
        await take_at_most(-1)
        result = await results.result(task)

    assert "small" == result["output"]["texts"][1]
    assert 1 == asked()["slow"]


async def test_what_is_kept_of_a_run_is_found_where_the_server_answers_late(
    nats_server: RunningServer, monkeypatch: pytest.MonkeyPatch
):
    """
    The definition is published again where no answer came in time, and is then found as another delivery has stored it.
    """
    monkeypatch.setattr(publish_once, "TIMEOUT_S", 0.3)
    pipeline = read_pipeline(TWO, "here")
    step = StepTask(
        key=StepKey("sides", 0),
        capability="summarize",
        input=msgspec.Raw(b"{}"),
        data_class="internal",
        approval=None,
        input_digest="0" * 64,
    )
    async with running_orchestrator(nats_server) as fleet:
        room = Room(("default",), total_max=1_000_000, share_max=1.0)
        results, task = StepResults(fleet.requests, outputs=room, payload_bytes_max=1_000_000), new_task()
        first = await results.begin("default", task, task, pipeline)
        gave = Result(task=task, capability="summarize", status="ok", output=msgspec.Raw(b'{"summary":"done"}'))
        await first.keep(step, "internal", StepEnded(gave, "internal"))
        os.kill(nats_server.pid, signal.SIGSTOP)
        try:
            beginning = asyncio.ensure_future(results.begin("default", task, task, pipeline))
            await asyncio.sleep(2 * publish_once.TIMEOUT_S)
        finally:
            os.kill(nats_server.pid, signal.SIGCONT)
        second = await beginning
        found = second.of(step, "internal")

    assert found is not None
    assert b'{"summary":"done"}' == bytes(found.result.output or b"")
