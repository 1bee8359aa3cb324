"""
Steps that wait for a person: a run is suspended before its payload leaves, and goes on once that is decided.

And everything that somebody may try to get a payload through that nobody has approved.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from flotilla.contracts.approval_requests import Decided, decide, decode_record, encode_record
from flotilla.contracts.approvals import Grant
from flotilla.contracts.clock import unix_ms
from flotilla.fabric.approver_keys import ApproverKey, new_approver_seed
from flotilla.testkit.commands import start_command
from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.plain_client import Json, PlainClient, eventually, new_task
from flotilla.testkit.scripted_worker import ScriptedWorker, finished, scripted_worker
from orchestrator.approvals.suspensions import SuspendedTask

pytestmark = pytest.mark.asyncio(loop_scope="module")

GATED = """
name = "gated"
[input]
type = "object"
[steps.sort]
capability = "classify"
input = { document = "${input.document}", labels = ["billing", "other"] }
[steps.report]
capability = "summarize"
approval = { group = "", expires_s = 3600 }
input = { document = "${input.document}, ${steps.sort.label}" }
[output]
text = "${steps.report.summary}"
"""
BRIEF = GATED.replace('"gated"', '"brief"').replace("3600", "1")
OUTER = """
name = "outer"
[input]
type = "object"
[steps.inner]
capability = "gated"
for_each = "${input.documents}"
input = { document = "${item}" }
[output]
texts = "${steps.inner.*.text}"
"""
WHOLE = """
name = "whole"
[input]
type = "object"
[steps.inner]
capability = "gated"
approval = { expires_s = 3600 }
input = { document = "${input.document}" }
[output]
text = "${steps.inner.text}"
"""
KEY = ApproverKey(new_approver_seed())
ORCHESTRATORS = 2


def _says(request: Json) -> list[Any]:
    if request["capability"] == "classify":
        return [{"type": "accepted"}, finished({"label": "billing", "confidence": 1.0})]
    return [{"type": "accepted"}, finished({"summary": f"<{request['input']['document']}>"})]


class Stage:
    """A fleet with gated pipelines, who submits, who approves, and who sees everything."""

    def __init__(
        self,
        fleet: RunningFleet,
        worker: ScriptedWorker,
        *,
        tenant: PlainClient,
        approver: PlainClient,
        admin: PlainClient,
    ) -> None:
        self.fleet = fleet
        self.worker = worker
        self.tenant = tenant
        self.approver = approver
        self.admin = admin

    async def submit(self, pipeline: str = "gated", body: Json | None = None) -> tuple[str, str]:
        """Submit a run; gives its id and its document."""
        task = new_task()
        document = f"document of {task}"
        await self.tenant.submit(pipeline, body or {"document": document}, task=task)
        return task, document

    async def waiting(self, task: str, count: int = 1) -> list[Json]:
        """The requests of a run, once so many wait and the run is suspended."""
        found: list[Json] = []

        async def listed() -> bool:
            answer = await self.approver.api("approvals", {"limit": 1000})
            found[:] = [each for each in answer["approvals"] if each["task"] == task]
            return len(found) >= count and bool(await self.suspended(task))

        await eventually(listed)
        return found

    async def suspended(self, task: str) -> int:
        """How many messages of a run wait for their time."""
        return await self.admin.messages_in("SUSPENDED_default", f"suspended.default.wait.{task}")

    async def decide(self, request: Json, decision: str = "grant", **more: Any) -> Json:
        """As the approver."""
        query = {"id": request["id"], "digest": request["digest"], "decision": decision, "by": "ann", **more}
        return await self.approver.api("decide", query)

    async def result(self, task: str) -> Json:
        """The committed result of a run."""
        found: list[Json] = []

        async def there() -> bool:
            answer = await self.tenant.api("result", {"task": task})
            if "status" in answer:
                found.append(answer)
            return bool(found)

        await eventually(there)
        return found[0]

    async def statuses(self, request: str) -> list[str]:
        """What a request has become, as the audit has it."""
        answer = await self.approver.api("approvals", {"verb": "audit", "id": request})
        return [line["status"] for line in reversed(answer["audit"])]

    def sent(self, document: str) -> int:
        """How often the gated input of a run was sent to a worker."""
        return sum(
            request["capability"] == "summarize" and document in request["input"]["document"]
            for request in self.worker.requests
        )

    async def record(self, request: str) -> bytes:
        """What is kept of a request."""
        found = await self.admin.stream("STREAM.MSG.GET", "KV_approvals_default", {"last_by_subj": _key(request)})
        return msgspec.json.decode(json.dumps(found["message"]["data"]), type=bytes)

    async def write(self, request: str, body: bytes) -> None:
        """Put something in the place of a record, with the rights of the fleet's admin."""
        await self.admin.nc.request(_key(request), body, timeout=60)

    async def due(self, task: str, body: bytes | None = None) -> None:
        """Have a run's message delivered now, once more than there should be."""
        if body is None:
            body = await self.suspended_body(task)
        await self.admin.nc.request(f"suspended.default.due.{task}", body, timeout=60)

    async def suspended_body(self, task: str) -> bytes:
        """A suspended run, as it is kept."""
        query = {"last_by_subj": f"suspended.default.wait.{task}"}
        found = await self.admin.stream("STREAM.MSG.GET", "SUSPENDED_default", query)
        return msgspec.json.decode(json.dumps(found["message"]["data"]), type=bytes)


def _key(request: str) -> str:
    return f"$KV.approvals_default.{request}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """
    Two orchestrators and one worker that says what is in the script.
    """
    directory: Path = tmp_path_factory.mktemp("gates")
    folder = directory / "capabilities"
    folder.mkdir()
    for text in (GATED, BRIEF, OUTER, WHOLE):
        (folder / f"{text.split(chr(34))[1]}.toml").write_text(text)
    async with AsyncExitStack() as stack:
        fleet = await stack.enter_async_context(
            running_fleet(
                directory / "fleet",
                orchestrators=ORCHESTRATORS,
                local=0,
                pools=(("local", "scripted"), ("cloud", "cloud")),
                env={"FLOTILLA_CAPABILITY_FILES": str(folder)},
            )
        )
        member = await fleet.connect(fleet.server.worker("local", "scripted"))
        worker = await stack.enter_async_context(
            scripted_worker(member, _says, zone="local", pool="scripted", slots=16)
        )
        await fleet.until_replicas({"scripted-w1"})
        yield Stage(
            fleet,
            worker,
            tenant=await fleet.client(),
            approver=await fleet.connect(fleet.server.approver()),
            admin=await fleet.admin(),
        )


async def test_a_run_waits_in_nobodys_memory_until_its_step_is_granted(stage: Stage):
    """
    What is shown is what leaves; each change is in the audit, and both are told as events.
    """
    async with stage.approver.hearing("events.>") as events:
        task, document = await stage.submit()
        [request] = await stage.waiting(task)
        # Acknowledged once it is kept elsewhere.
        await stage.admin.until_empty("TASKS_default")
        shown = await stage.approver.api("approvals", {"verb": "show", "id": request["id"]})
        status = await stage.tenant.api("status", {"task": task})
        sent_before = stage.sent(document)
        decided = await stage.decide(request, comment="read it")
        result = await stage.result(task)
        await events.until(
            lambda heard: (
                any("finished" in name for name in heard.subjects)
                and any(body["kind"] == "approval_decided" for body in heard.bodies() if body.get("step") == "report")
            )
        )
    kinds = [message.subject.rsplit(".", 1)[1] for message in events.about(task)]
    gate_kinds = [
        body["kind"]
        for body in events.bodies()
        if body["kind"] in ("awaiting_approval", "approval_decided") and body.get("step") == "report"
    ]

    assert {"document": f"{document}, billing"} == shown["payload"]
    assert ("report", "summarize", "internal", ["cloud", "local"], "default") == tuple(
        request[name] for name in ("step", "capability", "data_class", "zones", "submitted_by")
    )
    assert ("waiting", 0) == (status["state"], sent_before)
    assert ("granted", "ann", "read it") == (decided["status"], decided["decided_by"], decided["comment"])
    assert {"text": f"<{document}, billing>"} == result["output"]
    assert 1 == stage.sent(document)
    assert ["pending", "granted", "consumed"] == await stage.statuses(request["id"])
    assert ["awaiting_approval", "approval_decided"] == gate_kinds
    assert "step_started" in kinds
    assert 0 == await stage.suspended(task)


async def test_a_denied_step_fails_its_run_and_nothing_leaves(stage: Stage):
    """
    With the approver's words, and a dead letter.
    """
    task, document = await stage.submit()
    [request] = await stage.waiting(task)
    await stage.decide(request, "deny", comment="names are left in it")
    result = await stage.result(task)
    again = await stage.decide(request)
    dead = await stage.tenant.dead_record(task)

    assert "approval_denied" == result["error"]["kind"]
    assert "names are left in it" in result["error"]["message"]
    assert "already_decided" == again["error"]["details"]["refusal"]
    assert "approval_denied" == dead["error"]["kind"]
    assert 0 == stage.sent(document)
    assert ["pending", "denied"] == await stage.statuses(request["id"])


async def test_what_nobody_decides_expires(stage: Stage):
    """
    By itself, with no orchestrator that keeps a timer; too late is too late.
    """
    task, document = await stage.submit("brief")
    result = await stage.result(task)
    listed = await stage.approver.api("approvals", {"status": "all", "limit": 1000})
    [request] = [each for each in listed["approvals"] if each["task"] == task]
    late = await stage.decide(request)

    assert "approval_expired" == result["error"]["kind"]
    assert ("expired", "expired") == (request["status"], late["error"]["details"]["refusal"])
    assert 0 == stage.sent(document)


async def test_of_a_grant_and_a_denial_at_once_one_counts(stage: Stage):
    """
    Whichever orchestrators take them; the run does what the one that counts says.
    """
    runs = [await stage.submit() for _ in range(4)]
    for task, document in runs:
        [request] = await stage.waiting(task)
        answers = await asyncio.gather(
            *(stage.decide(request, decision) for decision in ("grant", "deny", "grant", "deny"))
        )
        won = {answer["status"] for answer in answers if "status" in answer}
        result = await stage.result(task)

        assert 1 == len(won)
        assert (won == {"granted"}) == (result["status"] == "ok") == (stage.sent(document) == 1)


async def test_a_signed_grant_goes_along_and_one_for_something_else_grants_nothing(stage: Stage):
    """
    So that a worker with approvers can look at it.
    """
    task, document = await stage.submit()
    [request] = await stage.waiting(task)
    grant = Grant(
        scope="default",
        capability="summarize",
        data_class="internal",
        zones=["cloud", "local"],
        input_sha256=request["input_sha256"],
        expires_unix_ms=unix_ms() + 600_000,
        nonce="0" * 32,
        approver=KEY.public_key,
    )
    other = [
        await stage.decide(request, grant=KEY.sign(msgspec.structs.replace(grant, **claims)))
        for claims in ({"scope": "acme"}, {"zones": ["cloud"]}, {"input_sha256": "0" * 64}, {"expires_unix_ms": 1})
    ]
    forged = await stage.decide(request, grant=KEY.sign(grant)[:-8] + "AAAAAAAA")
    signed = KEY.sign(grant)
    decided = await stage.decide(request, grant=signed)
    result = await stage.result(task)
    [sent] = [each for each in stage.worker.requests if document in each["input"]["document"] and "max" not in each][1:]

    assert ["wrong_grant"] * 4 == [answer["error"]["details"]["refusal"] for answer in other]
    assert "bad_request" == forged["error"]["kind"]
    assert (True, KEY.public_key) == (decided["signed"], decided["decided_by"])
    assert signed == sent["options"]["approval"]
    assert "ok" == result["status"]


async def test_nobody_decides_on_what_they_submitted_and_no_tenant_decides(stage: Stage):
    """
    By their name where the caller gave one, and not with credentials that submit too. A tenant's request never arrives.
    """
    task = new_task()
    document = {"document": f"document of {task}"}
    await stage.tenant.submit("gated", document, task=task, headers={"Flotilla-Label-submitted-by": "ann"})
    [request] = await stage.waiting(task)
    query = json.dumps({"id": request["id"], "decision": "grant", "by": "bob"}).encode()
    named = await stage.decide(request)
    refused = json.loads((await stage.admin.nc.request("scope.default.api.decide", query, timeout=60)).data)
    with pytest.raises(TimeoutError):
        await stage.tenant.nc.request("api.decide", query, timeout=0.5)
    pending = await stage.approver.api("approvals", {"verb": "show", "id": request["id"]})
    decided = await stage.decide(request, by="bob")

    assert "ann" == request["submitted_by"]
    assert "four_eyes" == named["error"]["details"]["refusal"]
    assert "four_eyes" == refused["error"]["details"]["refusal"]
    assert ("pending", "granted") == (pending["approval"]["status"], decided["status"])
    assert "ok" == (await stage.result(task))["status"]


async def test_a_run_that_is_delivered_twice_uses_its_grant_once(stage: Stage):
    """
    Two orchestrators race for it; and later, when its result and its step's are gone, the grant is not used again.
    """
    task, document = await stage.submit()
    [request] = await stage.waiting(task)
    body = await stage.suspended_body(task)
    granted = decide(
        decode_record(await stage.record(request["id"])),
        Decided(decision="grant", by="ann", by_user="UANN"),
        now_unix_ms=unix_ms(),
    )
    assert not isinstance(granted, Exception)
    await stage.write(request["id"], encode_record(granted))
    await asyncio.gather(*(stage.due(task, body) for _ in range(6)))
    first = await stage.result(task)
    sent_by_race = stage.sent(document)
    await stage.admin.stream("STREAM.PURGE", "RESULTS_default", {"filter": f"scope.default.results.*.{task}"})
    await stage.admin.stream("STREAM.PURGE", "STEPS_default", {"filter": f"step.default.{task}.>"})
    await stage.due(task, body)
    await eventually(lambda: stage.suspended(task))

    assert "ok" == first["status"]
    assert (1, 1) == (sent_by_race, stage.sent(document))


async def test_what_was_edited_after_it_was_shown_is_another_request(stage: Stage):
    """
    The digest is computed again from what is about to leave.
    """
    task, _ = await stage.submit()
    [request] = await stage.waiting(task)
    kept = msgspec.msgpack.decode(await stage.suspended_body(task), type=SuspendedTask)
    edited = msgspec.structs.replace(kept, body=b'{"document":"edited %s"}' % task.encode())
    await stage.decide(request)
    await stage.result(task)
    await stage.admin.stream("STREAM.PURGE", "RESULTS_default", {"filter": f"scope.default.results.*.{task}"})
    await stage.due(task, msgspec.msgpack.encode(edited))
    [other] = await stage.waiting(task)

    assert request["id"] != other["id"]
    assert 0 == stage.sent(f"edited {task}")


@pytest.mark.parametrize(
    "forgery",
    [
        "truncated",
        "of another run",
        "of another scope",
        "of another zone",
        "of another class",
        "of another input",
        "of a later version",
    ],
)
async def test_a_record_that_is_not_the_requests_opens_nothing(stage: Stage, forgery: str):
    """
    Whoever wrote it, and whatever it says: doubt means denied.
    """
    task, document = await stage.submit()
    [request] = await stage.waiting(task)
    record = decode_record(await stage.record(request["id"]))
    granted = msgspec.structs.replace(
        record, status="granted", decided_by="mallory", usable_until_unix_ms=unix_ms() + 3_600_000
    )
    match forgery:
        case "truncated":
            body = encode_record(granted)[:-20]
        case "of another run":
            other = await stage.submit()
            [theirs] = await stage.waiting(other[0])
            await stage.decide(theirs)
            body = await stage.record(theirs["id"])
        case "of a later version":
            body = encode_record(granted)[:-1] + b',"quorum":2}'
        case _:
            changed: dict[str, Any] = {
                "of another scope": {"scope": "others"},
                "of another zone": {"zones": ["local"]},
                "of another class": {"data_class": "public"},
                "of another input": {"input_sha256": "0" * 64},
            }[forgery]
            body = encode_record(
                msgspec.structs.replace(granted, gated=msgspec.structs.replace(record.gated, **changed))
            )
    await stage.write(request["id"], body)
    await stage.due(task)
    result = await stage.result(task)

    assert "approval_denied" == result["error"]["kind"]
    assert 0 == stage.sent(document)


async def test_a_suspended_run_is_cancelled_and_its_request_withdrawn(stage: Stage):
    """
    Nobody can grant it any more.
    """
    task, document = await stage.submit()
    [request] = await stage.waiting(task)
    cancelled = await stage.tenant.api("cancel", {"task": task})
    result = await stage.result(task)
    late = await stage.decide(request)

    assert "waiting" == cancelled["was"]
    assert "cancelled" == result["error"]["kind"]
    assert "withdrawn" == late["error"]["details"]["status"]
    assert (0, 0) == (await stage.suspended(task), stage.sent(document))


async def test_runs_within_a_run_wait_each_for_its_own(stage: Stage):
    """
    The same input in two places is two requests; what is granted does not wait for what is not.
    """
    task, _ = await stage.submit("outer", {"documents": ["same", "same"]})
    requests = await stage.waiting(task, 2)
    await stage.decide(requests[0])
    [left] = [each for each in requests[1:] if each["id"] != requests[0]["id"]]
    await eventually(lambda: _consumed(stage, requests[0]["id"]))
    await stage.decide(left)
    result = await stage.result(task)

    assert {"inner.0/report", "inner.1/report"} == {each["step"] for each in requests}
    assert {"texts": ["<same, billing>", "<same, billing>"]} == result["output"]


@pytest.mark.parametrize("decision", ["grant", "deny"])
async def test_a_gate_before_a_whole_run_stands_before_its_first_step_and_is_passed_once(stage: Stage, decision: str):
    """
    However long the run within then waits at its own gate: longer, here, than the grant of the outer one was good.
    """
    task, document = await stage.submit("whole")
    [request] = await stage.waiting(task)
    shown = await stage.approver.api("approvals", {"verb": "show", "id": request["id"]})
    [explained] = (await stage.tenant.api("explain", {"capability": "whole"}))["steps"]
    sent_before = [each for each in stage.worker.requests if document in each["input"]["document"]]
    until = unix_ms() + 3000
    if decision == "grant":
        claims = {name: request[name] for name in ("capability", "data_class", "zones", "input_sha256")}
        grant = Grant(scope="default", expires_unix_ms=until, nonce="1" * 32, approver=KEY.public_key, **claims)
        await stage.decide(request, grant=KEY.sign(grant))
        inner: list[Json] = []

        async def waits_within() -> bool:
            inner[:] = await stage.waiting(task)
            return unix_ms() > until and [each["step"] for each in inner] == ["inner/report"]

        await eventually(waits_within)
        await stage.decide(inner[0])
    else:
        await stage.decide(request, "deny")
    result = await stage.result(task)

    assert ("inner", "gated", ["cloud", "local"]) == tuple(request[name] for name in ("step", "capability", "zones"))
    assert ({"document": document}, []) == (shown["payload"], sent_before)
    gates = (explained["explanation"], explained["explanation"]["steps"][1]["explanation"])
    assert ["pipeline", "pipeline"] == [each["approval"][0]["by"] for each in gates]
    if decision == "grant":
        assert {"text": f"<{document}, billing>"} == result.get("output"), result
        assert ["pending", "granted", "consumed"] == await stage.statuses(request["id"])
        assert 1 == stage.sent(document)
    else:
        assert ("approval_denied", 0) == (result["error"]["kind"], stage.sent(document))


async def _consumed(stage: Stage, request: str) -> bool:
    return "consumed" in await stage.statuses(request)


async def test_the_command_does_it_all_with_the_approvers_credentials(stage: Stage):
    """
    Lists, shows the input, signs and grants; says what became of it. A tenant's credentials get nowhere.
    """
    task, document = await stage.submit()
    [request] = await stage.waiting(task)
    seed = stage.fleet.directory / "approver-key.nk"
    listed = await _command(stage, "approvals", "list", "--json")
    shown = await _command(stage, "approvals", "show", request["id"])
    made = await _command(stage, "approvals", "key", str(seed))
    granted = await _command(stage, "approvals", "grant", request["id"], "--key", str(seed), "--comment", "read it")
    result = await stage.result(task)
    audit = await _command(stage, "audit", request["id"], "--json")
    tenant = await _command(stage, "approvals", "list", creds=False)

    assert request["id"] in [json.loads(line)["id"] for line in listed[1].splitlines()]
    assert f"{document}, billing" in shown[1]
    assert (0, "granted\n") == granted
    assert "ok" == result["status"]
    lines = [json.loads(line) for line in audit[1].splitlines()]
    assert [("consumed", True), ("granted", True), ("pending", False)] == [
        (line["status"], line["signed"]) for line in lines
    ]
    assert made[1].strip() == lines[1]["who"]
    assert 3 == tenant[0]


async def _command(stage: Stage, *words: str, creds: bool = True) -> tuple[int, str]:
    """The command's exit code, and what it writes."""
    environ = {"FLOTILLA_NATS_URL": stage.fleet.url, "PATH": os.environ["PATH"]}
    if creds:
        environ["FLOTILLA_NATS_CREDS"] = str(stage.fleet.server.approver().creds)
    process = await start_command(*words, environ=environ)
    written, _ = await process.communicate()
    return process.returncode or 0, written.decode()


async def test_a_gate_that_an_ask_meets_needs_a_durable_task(stage: Stage):
    """
    Whoever asks waits for the answer; nothing is kept.
    """
    answer = await stage.tenant.ask("gated", {"document": "asked"})

    assert "approval_required" == answer.result["error"]["details"]["kind"]
    assert 0 == stage.sent("asked")


async def test_what_was_decided_while_nothing_ran_is_done_after_a_restart(stage: Stage):
    """
    Everything is killed between the grant and the dispatch: the run goes on, once.
    """
    task, document = await stage.submit()
    [request] = await stage.waiting(task)
    for process in stage.fleet.orchestrators:
        process.kill()
        await process.wait()
    granted = decide(
        decode_record(await stage.record(request["id"])),
        Decided(decision="grant", by="ann", by_user="UANN"),
        now_unix_ms=unix_ms(),
    )
    assert not isinstance(granted, Exception)
    await stage.write(request["id"], encode_record(granted))
    for index in range(ORCHESTRATORS):
        await stage.fleet.start_orchestrator(f"again-{index}")
    result = await stage.result(task)

    assert {"text": f"<{document}, billing>"} == result["output"]
    assert 1 == stage.sent(document)
    assert ["pending", "granted", "consumed"] == await stage.statuses(request["id"])
