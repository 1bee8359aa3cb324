"""Runs whose routes are away for long: suspended, held by nobody, and gone on with when a route is back, or out of time."""

import asyncio
import base64
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from flotilla.contracts.approval_requests import decode_record, encode_record
from flotilla.contracts.clock import unix_ms
from flotilla.fabric.connection import NatsSettings
from flotilla.pipelines.reading import read_pipeline
from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.orchestrator_here import RunningOrchestrator, running_orchestrator, until
from flotilla.testkit.plain_client import Json, PlainClient, connect_plainly, eventually, new_task
from flotilla.testkit.scripted_worker import ScriptedWorker, finished, scripted_worker
from orchestrator.pipelines import pipeline_run, routes_away
from orchestrator.ways_in import resumed_tasks

LEFT_MS = 3_000
"""That a grant may be used for; a slow machine may take most of it to come to its gate."""
TWO = """
name = "two"
[input]
type = "object"
[steps.short]
capability = "summarize"
input = { document = "${input.document}" }
[steps.sort]
capability = "classify"
input = { document = "${steps.short.summary}", labels = ["billing", "other"] }
[output]
label = "${steps.sort.label}"
"""
GATED = TWO.replace('"two"', '"gated"').replace('"classify"\n', '"classify"\napproval = {}\n')
AROUND = """
name = "around"
[input]
type = "object"
[steps.inner]
capability = "gated"
input = { document = "${input.document}" }
[output]
label = "${steps.inner.label}"
"""


def _says(request: Json) -> list[Any]:
    output = {"label": "billing", "confidence": 1.0} if request["capability"] == "classify" else {"summary": "short"}
    return [{"type": "accepted"}, finished(output)]


async def _connected(server: RunningServer, role: NatsSettings) -> PlainClient:
    return await connect_plainly(server.url, nkeys_seed=str(role.creds), inbox_prefix=role.inbox_prefix)


@asynccontextmanager
async def _stage(server: RunningServer, *texts: str) -> AsyncGenerator[tuple[RunningOrchestrator, ScriptedWorker]]:
    """One orchestrator, and a worker that can summarize and not classify."""
    member = await _connected(server, server.worker("local", "local"))
    pipelines = [read_pipeline(text, "here") for text in texts]
    async with (
        running_orchestrator(server, pipelines=pipelines) as fleet,
        scripted_worker(member, _says, pool="local", capabilities=["summarize"]) as worker,
    ):
        await until(lambda: "summarize" in fleet.fleet.capabilities())
        yield fleet, worker


@asynccontextmanager
async def _route_is_back(server: RunningServer) -> AsyncGenerator[ScriptedWorker]:
    member = await _connected(server, server.worker("cloud", "cloud"))
    async with scripted_worker(
        member, _says, zone="cloud", pool="cloud", replica="w2", capabilities=["classify"]
    ) as worker:
        yield worker


async def _is_suspended(fleet: RunningOrchestrator, task: str) -> bool:
    return await fleet.admin.messages_in("SUSPENDED_default", f"suspended.default.*.{task}") == 1


@pytest.fixture
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes_away, "ROUTE_AWAY_S", 0.3)
    monkeypatch.setattr(pipeline_run, "ROUTE_LOOK_S", 0.2)
    monkeypatch.setattr(resumed_tasks, "PUT_OFF_S", 0.2)
    monkeypatch.setattr(resumed_tasks, "PUT_OFF_JITTER_S", 0.0)


@pytest.mark.usefixtures("_soon")
async def test_a_run_whose_route_is_away_is_held_by_nobody_until_it_is_back(nats_server: RunningServer):
    """
    What is kept of it is not worked on again, and its time runs on.
    """
    async with _stage(nats_server, TWO) as (fleet, first), fleet.client.hearing("results.>") as results:
        task, late = new_task(), new_task()
        await fleet.client.submit("two", {"document": "a"}, task=task)
        await fleet.client.submit("two", {"document": "b"}, task=late, headers={"Flotilla-Deadline-Ms": "5000"})

        async def held_by_nobody() -> bool:
            return await _is_suspended(fleet, task) and await fleet.admin.messages_in("TASKS_default") == 0

        await eventually(held_by_nobody)
        state = (await fleet.client.api("status", {"task": task}))["state"]
        overdue = await results.result(late)
        put_off = fleet.left(pipeline="two", path="durable", outcome="put_off")
        async with _route_is_back(nats_server):
            result = await results.result(task)

    assert "waiting" == state
    assert put_off > 2
    assert "deadline_exceeded" == overdue["error"]["kind"]
    assert {"label": "billing"} == result["output"]
    assert ["a", "b"] == sorted(request["input"]["document"] for request in first.requests)


@pytest.mark.usefixtures("_soon")
async def test_a_run_that_has_used_a_grant_is_held_while_its_route_is_away(nats_server: RunningServer):
    """
    Suspended, it would be another message, and the grant is used up by this one; in a run within a run too.
    """
    async with _stage(nats_server, GATED, AROUND) as (fleet, _), fleet.client.hearing("results.>") as results:
        approver = await _connected(nats_server, nats_server.approver())
        tasks = {name: new_task(name) for name in ("gated", "around")}
        for name, task in tasks.items():
            await fleet.client.submit(name, {"document": "a"}, task=task)
        requests: list[Json] = []

        async def asked() -> bool:
            requests[:] = (await approver.api("approvals"))["approvals"]
            return len(requests) == 2 and all([await _is_suspended(fleet, task) for task in tasks.values()])

        await eventually(asked)
        for each in requests:
            await approver.api("decide", {"id": each["id"], "digest": each["digest"], "decision": "grant", "by": "ann"})

        async def used() -> bool:
            listed = (await approver.api("approvals", {"status": "all"}))["approvals"]
            return [each["status"] for each in listed] == ["consumed"] * 2

        await eventually(used)
        await asyncio.sleep(4 * routes_away.ROUTE_AWAY_S)
        async with _route_is_back(nats_server):
            found = [await results.result(task) for task in tasks.values()]
        await approver.nc.close()

    assert [{"label": "billing"}] * 2 == [each["output"] for each in found]


@pytest.mark.usefixtures("_soon")
async def test_a_grant_that_runs_out_while_its_input_is_about_to_leave_lets_nothing_go(nats_server: RunningServer):
    """
    It was good when it was used; a route that is back a moment later gets nothing.
    """
    async with _stage(nats_server, GATED) as (fleet, _), fleet.client.hearing("results.>") as results:
        task, subject = new_task(), "suspended.default.wait."
        await fleet.client.submit("gated", {"document": "a"}, task=task)
        await eventually(lambda: _is_suspended(fleet, task))
        kept = await _stored(fleet, "SUSPENDED_default", f"{subject}{task}")
        record = decode_record(await _stored(fleet, "KV_approvals_default", "$KV.approvals_default.*"))
        granted = msgspec.structs.replace(
            record, status="granted", decided_by="ann", usable_until_unix_ms=unix_ms() + LEFT_MS
        )
        key = f"$KV.approvals_default.{record.id}"
        await fleet.admin.nc.request(key, encode_record(granted), timeout=60)
        await fleet.admin.nc.request(f"suspended.default.due.{task}", kept, timeout=60)
        result = await results.result(task)
        used = decode_record(await _stored(fleet, "KV_approvals_default", key))
        async with _route_is_back(nats_server) as worker:
            await until(lambda: "classify" in fleet.fleet.capabilities())
            await fleet.client.ask("classify", {"document": "another", "labels": ["billing", "other"]})
            sent = [request["input"]["document"] for request in worker.requests]

    assert ("approval_expired", "sort") == (result["error"]["kind"], result["error"]["details"]["step"])
    assert "consumed" == used.status
    assert ["another"] == sent


async def _stored(fleet: RunningOrchestrator, stream: str, subject: str) -> bytes:
    found = await fleet.admin.stream("STREAM.MSG.GET", stream, {"last_by_subj": subject})
    return base64.b64decode(found["message"]["data"])
