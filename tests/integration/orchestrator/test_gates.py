"""Runs that stand at gates more than once: a used grant is never needed again, and what nobody needs is withdrawn."""

import base64
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from flotilla.pipelines.definition import Pipeline
from flotilla.pipelines.reading import read_pipeline
from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.orchestrator_here import RunningOrchestrator, running_orchestrator, until
from flotilla.testkit.plain_client import Json, PlainClient, connect_plainly, eventually, new_task
from flotilla.testkit.scripted_worker import ScriptedWorker, failed, finished, scripted_worker
from orchestrator.approvals import suspensions

EACH = """
name = "each"
[input]
type = "object"
[steps.report]
capability = "summarize"
for_each = "${input.documents}"
on_failure = "collect"
approval = {}
input = { document = "${item}" }
[output]
reports = "${steps.report}"
"""
STRICT = EACH.replace('"each"', '"strict"').replace('"collect"', '"fail"')
BESIDE = """
name = "beside"
[input]
type = "object"
[steps.report]
capability = "summarize"
approval = {}
input = { document = "${input.document}" }
[steps.sort]
capability = "classify"
input = { document = "${input.document}", labels = ["billing", "other"] }
[output]
text = "${steps.report.summary} ${steps.sort.label}"
"""


def _says_at_home(request: Json) -> list[Any]:
    return [{"type": "accepted"}, failed("crashed")] if "ill" in request["input"]["document"] else _says(request)


def _says(request: Json) -> list[Any]:
    if "bad" in request["input"]["document"]:
        return [{"type": "accepted"}, failed("bad_input")]
    if request["capability"] == "classify":
        return [{"type": "accepted"}, finished({"label": "billing", "confidence": 1.0})]
    return [{"type": "accepted"}, finished({"summary": f"<{request['input']['document']}>"})]


class Stage:
    """One orchestrator with a worker, who submits, and who approves."""

    def __init__(self, fleet: RunningOrchestrator, worker: ScriptedWorker, approver: PlainClient) -> None:
        self.fleet = fleet
        self.worker = worker
        self.approver = approver

    async def waiting(self, task: str, count: int) -> dict[str, Json]:
        """The requests of a run by their documents, once so many wait and the run is suspended."""
        found: list[Json] = []

        async def listed() -> bool:
            answer = await self.approver.api("approvals", {"limit": 1000})
            found[:] = [each for each in answer["approvals"] if each["task"] == task]
            return len(found) == count and await self._rests(task)

        await eventually(listed)
        shown = [await self.approver.api("approvals", {"verb": "show", "id": each["id"]}) for each in found]
        return {each["payload"]["document"]: each["approval"] for each in shown}

    async def _rests(self, task: str) -> bool:
        """Whether a run waits, and is not about to go on."""
        query = {"last_by_subj": f"suspended.default.*.{task}"}
        found = await self.fleet.admin.stream("STREAM.MSG.GET", "SUSPENDED_default", query)
        if "message" not in found:
            return False
        headers = base64.b64decode(found["message"].get("hdrs", "")).decode()
        _, _, due_at = headers.partition("Nats-Schedule: @at ")
        return bool(due_at) and datetime.fromisoformat(due_at.split("\r\n")[0]) > datetime.now(UTC)

    async def in_force(self, policy: str, capability: str = "summarize") -> None:
        """Set a policy that has a gate before a capability, and return when it is followed."""
        query = json.dumps({"verb": "set", "toml": policy}).encode()
        await self.fleet.admin.nc.request("scope.default.api.policy", query, timeout=60)

        async def followed() -> bool:
            return "approval" in await self.fleet.client.api("explain", {"capability": capability})

        await eventually(followed)

    async def decide(self, request: Json, decision: str = "grant") -> Json:
        """As the approver."""
        query = {"id": request["id"], "digest": request["digest"], "decision": decision, "by": "ann"}
        return await self.approver.api("decide", query)

    async def statuses(self, task: str) -> list[str]:
        """What the requests of a task have become."""
        answer = await self.approver.api("approvals", {"status": "all", "limit": 1000})
        return sorted(each["status"] for each in answer["approvals"] if each["task"] == task)

    def sent(self, document: str) -> int:
        """How often a document was sent to be summarized."""
        return sum(
            request["capability"] == "summarize" and request["input"]["document"] == document
            for request in self.worker.requests
        )


@asynccontextmanager
async def stage_with(server: RunningServer, *texts: str) -> AsyncGenerator[Stage]:
    """
    A stage with these pipelines, however they came to be there.
    """
    pipelines: list[Pipeline] = [read_pipeline(text, "here") for text in texts]
    role, approver = server.worker("local", "local"), server.approver()
    member = await connect_plainly(server.url, nkeys_seed=str(role.creds), inbox_prefix=role.inbox_prefix)
    client = await connect_plainly(server.url, nkeys_seed=str(approver.creds), inbox_prefix=approver.inbox_prefix)
    async with (
        running_orchestrator(server, pipelines=pipelines) as fleet,
        scripted_worker(member, _says, zone="local", pool="local", replica="w1") as worker,
    ):
        await until(lambda: "classify" in fleet.fleet.capabilities())
        yield Stage(fleet, worker, client)
    await client.nc.close()


async def test_a_step_that_failed_after_its_gate_is_not_asked_about_again(nats_server: RunningServer):
    """
    Its grant is used. When the run goes on after the next decision, it has the same failure, and nothing is sent twice.
    """
    async with stage_with(nats_server, EACH) as stage:
        task = new_task()
        client = stage.fleet.client
        async with client.hearing("results.>") as results:
            await client.submit("each", {"documents": ["bad", "second", "third"]}, task=task)
            waiting = await stage.waiting(task, 3)
            await stage.decide(waiting["bad"])
            left = await stage.waiting(task, 2)
            await stage.decide(left["second"], "deny")
            left = await stage.waiting(task, 1)
            await stage.decide(left["third"])
            result = await results.result(task)
        statuses = await stage.statuses(task)

    first, second, third = result["output"]["reports"]
    assert {"bad_request"} == {first["error"]["kind"]}
    assert "approval_denied" == second["error"]["kind"]
    assert {"summary": "<third>"} == third
    assert (1, 0, 1) == (stage.sent("bad"), stage.sent("second"), stage.sent("third"))
    assert ["consumed", "consumed", "denied"] == statuses


async def test_what_a_dead_run_failed_of_is_tried_anew_by_the_one_that_resumes_it(nats_server: RunningServer):
    """
    Under its own requests: the failure was kept for the task that had it.
    """
    async with stage_with(nats_server, BESIDE) as stage:
        first, second = new_task("first"), new_task("second")
        client = stage.fleet.client
        async with client.hearing("results.>") as results:
            await client.submit("beside", {"document": "good"}, task=first)
            await stage.decide((await stage.waiting(first, 1))["good"], "deny")
            denied = await results.result(first)
            await client.submit("beside", {"document": "good"}, task=second, headers={"Flotilla-Resume": first})
            await stage.decide((await stage.waiting(second, 1))["good"])
            result = await results.result(second)

    assert "approval_denied" == denied["error"]["kind"]
    assert {"text": "<good> billing"} == result["output"]


@pytest.mark.parametrize("how", ["another step fails", "it cannot be suspended", "it is cancelled"])
async def test_what_a_run_asked_for_is_withdrawn_when_it_ends_without_it(
    nats_server: RunningServer, monkeypatch: pytest.MonkeyPatch, how: str
):
    """
    Nobody is asked to decide on what is over.
    """
    async with stage_with(nats_server, STRICT) as stage:
        task = new_task()
        client = stage.fleet.client
        if how == "it cannot be suspended":
            monkeypatch.setattr(suspensions, "FULL_SHARE", 10**9)
        async with client.hearing("results.>") as results:
            await client.submit("strict", {"documents": ["bad", "good"]}, task=task)
            if how == "another step fails":
                await stage.decide((await stage.waiting(task, 2))["bad"])
            elif how == "it is cancelled":
                await stage.waiting(task, 2)
                await client.api("cancel", {"task": task})
            result = await results.result(task)

            async def withdrawn() -> bool:
                return "pending" not in await stage.statuses(task)

            await eventually(withdrawn)
        statuses = await stage.statuses(task)

    decided = ["consumed"] if how == "another step fails" else ["withdrawn"]
    assert [*decided, "withdrawn"] == statuses
    assert {
        "another step fails": "step_failed",
        "it cannot be suspended": "backlog_full",
        "it is cancelled": "cancelled",
    }[how] == result["error"]["kind"]


GATE = '[capabilities.summarize]\napproval = { data_classes = ["internal"], expires_s = 600 }\n'
CLOUD_GATE = '[capabilities.summarize]\napproval = { zones = ["cloud"] }\n'
FREE = EACH.replace('"each"', '"free"').replace("approval = {}\n", "")


async def test_a_gate_of_the_policy_stands_before_every_durable_task_and_step(nats_server: RunningServer):
    """
    What is asked is refused; a task of its own, and a step of a pipeline without a gate, wait for the same decision.
    """
    async with stage_with(nats_server, FREE) as stage:
        client = stage.fleet.client
        refused = await stage.fleet.admin.nc.request(
            "scope.default.api.policy",
            json.dumps({"verb": "set", "toml": CLOUD_GATE.replace("summarize", "free")}).encode(),
            timeout=60,
        )
        await stage.in_force(GATE)
        explained = await client.api("explain", {"capability": "summarize"})
        public = await client.api("explain", {"capability": "summarize", "data_class": "public"})
        asked = await client.ask("summarize", {"document": "asked"})
        alone, run = new_task("alone"), new_task("run")
        async with client.hearing("results.>") as results:
            await client.submit("summarize", {"document": "alone"}, task=alone)
            await client.submit("free", {"documents": ["one", "two"]}, task=run)
            [request] = (await stage.waiting(alone, 1)).values()
            steps = await stage.waiting(run, 2)
            sent_before = len(stage.worker.requests)
            for each in (request, steps["one"]):
                await stage.decide(each)
            await stage.decide(steps["two"], "deny")
            first, second = await results.result(alone), await results.result(run)

    assert "capabilities.free.approval.zones" in json.loads(refused.data)["error"]["details"]["faults"][0]
    assert [("policy", 600)] == [(gate["by"], gate["expires_s"]) for gate in explained["approval"]]
    assert "approval" not in public
    assert ("approval_required", 0) == (asked.kind, sent_before)
    assert ("", "summarize") == (request["step"], request["capability"])
    assert {"summary": "<alone>"} == first["output"]
    one, two = second["output"]["reports"]
    assert ({"summary": "<one>"}, "approval_denied") == (one, two["error"]["kind"])
    assert (1, 1, 0, 0) == tuple(stage.sent(document) for document in ("alone", "one", "two", "asked"))


AROUND = """
name = "around"
[input]
type = "object"
[steps.inner]
capability = "beside"
input = { document = "${input.document}" }
[output]
text = "${steps.inner.text}"
"""
GATES = "[capabilities.around.approval]\n[capabilities.beside.approval]\ndata_classes = ['internal']\n"


async def test_a_gate_of_the_policy_stands_before_a_run_and_before_a_step_that_is_one(nats_server: RunningServer):
    """
    Nothing of a run begins before; each gate opens once, in turn, and a denial at the first ends the run.
    """
    async with stage_with(nats_server, BESIDE, AROUND) as stage:
        client = stage.fleet.client
        await stage.in_force(GATES, "around")
        explained = await client.api("explain", {"capability": "around"})
        asked = await client.ask("around", {"document": "asked"})
        task, denied, public = new_task("run"), new_task("denied"), new_task("public")
        found: list[Json] = []
        sent_before = 0
        async with client.hearing("results.>") as results:
            await client.submit("around", {"document": "doc"}, task=task)
            for _ in range(3):
                found.append((await stage.waiting(task, 1))["doc"])
                sent_before = len(stage.worker.requests)
                await stage.decide(found[-1])
            result = await results.result(task)
            await client.submit("around", {"document": "no"}, task=denied)
            await stage.decide((await stage.waiting(denied, 1))["no"], "deny")
            refused = await results.result(denied)
            await client.submit("beside", {"document": "pub"}, task=public, headers={"Flotilla-Data-Class": "public"})
            [ungated] = (await stage.waiting(public, 1)).values()
        statuses = await stage.statuses(task)

    assert ["policy"] == [gate["by"] for gate in explained["approval"]]
    assert ["policy"] == [gate["by"] for gate in explained["steps"][0]["explanation"]["approval"]]
    assert ("approval_required", "around needs an approval: submit it as a durable task") == (
        asked.kind,
        asked.result["error"]["message"],
    )
    steps = [("", "around"), ("inner", "beside"), ("inner/report", "summarize")]
    assert steps == [(each["step"], each["capability"]) for each in found]
    assert [["cloud", "local"]] * 3 == [each["zones"] for each in found]
    assert ({"text": "<doc> billing"}, ["consumed"] * 3, 1) == (result["output"], statuses, sent_before)
    assert ("approval_denied", 0) == (refused["error"]["kind"], stage.sent("no"))
    assert "report" == ungated["step"]


ONE = FREE.replace('"free"', '"one"').replace('on_failure = "collect"\n', "")


async def test_a_gate_before_the_cloud_stands_only_before_what_would_go_there(nats_server: RunningServer):
    """
    What is served at home needs nobody's word, and nothing of it enters the cloud; when home has failed, it is asked for.
    """
    async with stage_with(nats_server, ONE) as stage:
        client, role = stage.fleet.client, nats_server.worker("cloud", "cloud")
        stage.worker.script = _says_at_home
        member = await connect_plainly(nats_server.url, nkeys_seed=str(role.creds), inbox_prefix=role.inbox_prefix)
        async with (
            scripted_worker(member, _says, zone="cloud", pool="cloud", replica="c1") as cloud,
            client.hearing("results.>") as results,
        ):
            await stage.in_force(CLOUD_GATE)
            await until(lambda: len(stage.fleet.fleet.view.pools) == 2)
            asked = (await client.ask("summarize", {"document": "asked"})).result
            refused = await client.ask("summarize", {"document": "ill, asked"})
            alone, run = new_task("alone"), new_task("run")
            await client.submit("summarize", {"document": "alone"}, task=alone)
            await client.submit("one", {"documents": ["step"]}, task=run)
            served = [await results.result(task) for task in (alone, run)]
            sent_before = len(cloud.requests)
            alone, run = new_task("alone-ill"), new_task("run-ill")
            await client.submit("summarize", {"document": "ill, alone"}, task=alone)
            await client.submit("one", {"documents": ["ill, step"]}, task=run)
            requests = await stage.waiting(alone, 1) | await stage.waiting(run, 1)
            sent_at_gate = len(cloud.requests)
            for request in requests.values():
                await stage.decide(request)
            granted = [await results.result(task) for task in (alone, run)]

    assert ("local", "approval_required") == (asked["zone"], refused.kind)
    assert ["ok", "ok"] == [each["status"] for each in served], served
    assert (0, 0) == (sent_before, sent_at_gate)
    assert ["ok", "ok"] == [each["status"] for each in granted], granted
    assert ["ill, alone", "ill, step"] == sorted(each["input"]["document"] for each in cloud.requests)
