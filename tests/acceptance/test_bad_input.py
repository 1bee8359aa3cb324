"""Whatever a client sends, it gets the wire's typed error, a durable task leaves a dead record, and the fleet serves on."""

import asyncio
import base64
import json

import nats.errors
import pytest

from flotilla.testkit.fleet import RunningFleet
from flotilla.testkit.plain_client import BODIES, Headers, PlainClient, new_task

pytestmark = pytest.mark.asyncio(loop_scope="session")

CLASSIFY = json.dumps(BODIES["classify"]).encode()
MARK = "Kaspar-Hauser-7731"
DEEP = 100_000

BAD: dict[str, tuple[str, bytes, Headers, str, str]] = {
    "not json": ("classify", b"hello " + MARK.encode(), {}, "bad_request", "$"),
    "truncated": ("classify", CLASSIFY[:-9], {}, "bad_request", "$"),
    "bad utf-8": ("classify", b'{"document":"\xff\xfe","labels":["a"]}', {}, "bad_request", ""),
    "bad utf-8 outside": ("classify", b"\xff\xfe\x00", {}, "bad_request", "$"),
    "empty": ("classify", b"", {}, "bad_request", "$"),
    "null": ("classify", b"null", {}, "bad_request", "$"),
    "a list": ("classify", b"[1,2]", {}, "bad_request", "$"),
    "wrong type": ("classify", b'{"document":12,"labels":["a"]}', {}, "bad_request", "$.document"),
    "wrong type inside": ("classify", b'{"document":"a","labels":["b",3]}', {}, "bad_request", "$.labels[1]"),
    "missing field": ("classify", b'{"document":"a"}', {}, "bad_request", "$"),
    "no labels": ("classify", b'{"document":"a","labels":[]}', {}, "bad_request", "$.labels"),
    "nested deeply": ("classify", b'{"document":' + b"[" * DEEP + b"]" * DEEP + b"}", {}, "bad_request", ""),
    "nested deeply elsewhere": (
        "classify",
        b'{"document":"a","labels":["b"],"x":' + b"[" * DEEP + b"]" * DEEP + b"}",
        {},
        "bad_request",
        "",
    ),
    "unknown capability": ("fly-to-the-moon", CLASSIFY, {}, "unknown_capability", ""),
    "odd capability": ("Classify_this!", CLASSIFY, {}, "unknown_capability", ""),
    "misspelt header": ("classify", CLASSIFY, {"Flotilla-Data-Clas": "restricted"}, "bad_request", "Data-Clas"),
    "bad data class": ("classify", CLASSIFY, {"Flotilla-Data-Class": "secret"}, "bad_request", "Data-Class"),
    "data class in capitals": (
        "classify",
        CLASSIFY,
        {"Flotilla-Data-Class": "Restricted"},
        "bad_request",
        "Data-Class",
    ),
    "deadline of 0": ("classify", CLASSIFY, {"Flotilla-Deadline-Ms": "0"}, "bad_request", "Deadline-Ms"),
    "deadline before": ("classify", CLASSIFY, {"Flotilla-Deadline-Ms": "-5"}, "bad_request", "Deadline-Ms"),
    "deadline of words": ("classify", CLASSIFY, {"Flotilla-Deadline-Ms": "soon"}, "bad_request", "Deadline-Ms"),
    "deadline too far": ("classify", CLASSIFY, {"Flotilla-Deadline-Ms": "999999999999"}, "bad_request", "Deadline-Ms"),
    "bad route": ("classify", CLASSIFY, {"Flotilla-Route": "UPPER CASE"}, "bad_request", "Route"),
    "bad stream": ("classify", CLASSIFY, {"Flotilla-Stream": "yes"}, "bad_request", "Stream"),
    "bad cache": ("classify", CLASSIFY, {"Flotilla-Cache": "maybe"}, "bad_request", "Cache"),
    "bad id": ("classify", CLASSIFY, {"Nats-Msg-Id": "a.b.c"}, "bad_request", "Nats-Msg-Id"),
    "long label": ("classify", CLASSIFY, {"Flotilla-Label-A": "x" * 200}, "bad_request", "Label-A"),
}
"""By name: capability, body, headers, the kind of error, and what its path holds."""


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_interactive_task_gets_its_typed_error(caller: PlainClient, name: str):
    """
    The error says what and where, in the body and in the micro headers, and nothing of the caller's text.
    """
    capability, body, headers, kind, path = BAD[name]

    answer = await caller.ask(capability, body, headers=headers)

    error = answer.result["error"]
    assert error["kind"] == kind
    assert error["retryable"] is False
    assert error["message"]
    assert path in error["details"].get("path", "")
    assert answer.headers["Nats-Service-Error"] == kind
    assert answer.headers["Nats-Service-Error-Code"] == {"bad_request": "400", "unknown_capability": "404"}[kind]
    assert MARK not in json.dumps(answer.result)
    assert (await caller.ask("classify", CLASSIFY)).result["status"] == "ok"


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_durable_task_fails_and_leaves_a_dead_record(caller: PlainClient, name: str):
    """
    It is accepted as bytes, fails with the same error, and is kept with its original for an operator to see.
    """
    capability, body, headers, kind, path = BAD[name]
    known = headers if "Nats-Msg-Id" in headers else {**headers, "Nats-Msg-Id": new_task()}
    async with caller.hearing("results.>") as results:
        ack = await caller.submit(capability, body, headers=known)
        task = f"seq-{ack['seq']}" if "Nats-Msg-Id" in headers else known["Nats-Msg-Id"]
        result = await results.result(task)
    record = await caller.dead_record(task)

    assert result["status"] == "failed"
    assert result["error"]["kind"] == kind
    assert path in result["error"]["details"].get("path", "")
    assert MARK not in json.dumps(result)
    assert record["error"]["kind"] == kind
    assert record["subject"] == f"scope.default.tasks.{capability}"
    assert base64.b64decode(record["body"]) == body
    assert known.items() <= record["headers"].items()
    assert (await caller.ask("classify", CLASSIFY)).result["status"] == "ok"


async def test_an_unknown_capability_is_answered_with_those_that_are_known(caller: PlainClient):
    """
    A typing error is found by reading the answer.
    """
    answer = await caller.ask("clasify", CLASSIFY)

    assert {"classify", "summarize", "embed"} <= set(answer.result["error"]["details"]["known"])


@pytest.mark.parametrize("subject", ["tasks.classify.urgent", "tasks.classify.high.er", "tasks.a.b.c.d"])
async def test_a_task_subject_of_no_known_form_is_failed_not_kept_for_ever(caller: PlainClient, subject: str):
    """
    What no consumer would ever read is found by the sweep.
    """
    async with caller.hearing("results.>") as results:
        message = await caller.nc.request(subject, CLASSIFY, timeout=60)
        result = await results.result(f"seq-{json.loads(message.data)['seq']}")

    assert result["error"]["kind"] == "unknown_capability"
    assert f"results.{subject.split('.')[1]}." in results.messages[-1].subject


async def test_a_deadline_that_has_passed_fails_as_that(caller: PlainClient):
    """
    One millisecond is over before anything can be done, whichever way the task came.
    """
    headers = {"Flotilla-Deadline-Ms": "1"}
    asked = await caller.ask("reason", BODIES["reason"], headers=headers)
    async with caller.hearing("results.>") as results:
        ack = await caller.submit("reason", BODIES["reason"], headers=headers)
        committed = await results.result(f"seq-{ack['seq']}")

    assert asked.kind == "deadline_exceeded"
    assert asked.headers["Nats-Service-Error-Code"] == "504"
    assert committed["error"]["kind"] == "deadline_exceeded"


async def test_more_than_the_server_takes_is_refused_before_it_is_sent(caller: PlainClient):
    """
    The client itself knows the limit from the server; nothing times out.
    """
    body = json.dumps({"document": "x" * 10_000_000, "labels": ["a"]}).encode()

    with pytest.raises(nats.errors.MaxPayloadError):
        await caller.submit("classify", body)
    assert (await caller.ask("classify", CLASSIFY)).result["status"] == "ok"


async def test_a_body_that_leaves_no_room_for_the_envelope_is_too_large(caller: PlainClient):
    """
    The server takes it, and the fleet answers with the limit and the size.
    """
    frame = b'{"document":"%s","labels":["a"]}'
    body = frame % (b"x" * (caller.nc.max_payload - 300 - len(frame)))

    asked = await caller.ask("classify", body)
    async with caller.hearing("results.>") as results:
        ack = await caller.submit("classify", body)
        task = f"seq-{ack['seq']}"
        committed = await results.result(task)
    record = await caller.dead_record(task)

    for error in (asked.result["error"], committed["error"], record["error"]):
        assert error["kind"] == "too_large"
        assert error["details"]["size_bytes"] == len(body)
        assert error["details"]["limit_bytes"] < len(body)
    assert (await caller.ask("classify", CLASSIFY)).result["status"] == "ok"


async def test_the_largest_body_that_fits_is_served(caller: PlainClient):
    """
    Up to the limit that the error names, a document goes through both hops.
    """
    frame = b'{"document":"%s","labels":["a"]}'
    room = caller.nc.max_payload - 4096
    body = frame % (b"x" * (room - len(frame) + 2))
    assert len(body) == room

    answer = await caller.ask("classify", body)

    assert answer.result["status"] == "ok"


async def test_a_dead_task_that_its_record_has_no_room_for_is_not_retried_without_its_input(caller: PlainClient):
    """
    Base64 makes more of it than a message holds: the record says how much is missing.
    """
    task, body = new_task(), b'{"document":7,"labels":["%s"]}' % (b"x" * (caller.nc.max_payload * 7 // 8))
    async with caller.hearing("results.>") as results:
        await caller.submit("classify", body, task=task)
        await results.result(task)
    record = await caller.dead_record(task)
    retried = await caller.api("dead", {"verb": "retry", "task": task})

    assert ("", len(body)) == (record["body"], record["body_dropped_bytes"])
    assert "too_large" == retried["error"]["kind"]


async def test_what_is_published_without_a_way_to_answer_is_ignored(calm_fleet: RunningFleet, caller: PlainClient):
    """
    Nobody would hear the answer, and nothing breaks.
    """
    for subject in ("ask.classify", "ask.nonsense", "api.status", "api.nonsense"):
        await caller.publish_raw(subject, CLASSIFY)

    assert (await caller.ask("classify", CLASSIFY)).result["status"] == "ok"
    for orchestrator in calm_fleet.orchestrators:
        assert "BadSubjectError" not in orchestrator.log_text()


async def test_garbage_on_the_subjects_inside_the_fleet_breaks_nothing(calm_fleet: RunningFleet, caller: PlainClient):
    """
    Members listen to one another, and survive one that talks nonsense.
    """
    admin = await calm_fleet.admin()
    for subject in (
        "infer.local.local.classify",
        "infer-control.local.local.local-w1",
        "infer-free.local.local",
        "orchestrator-control.default.cancel",
        "orchestrator-control.default.where",
        "orchestrator-control.default.nonsense",
        "_INBOX.attempts.local.local.o1.zzz",
        "heartbeat.local.local.nobody",
        "heartbeat.nowhere.x.y",
        "heartbeat.local.-.*",
        "$KV.presence.local.local.nobody",
        "$KV.presence.nonsense",
    ):
        for body in (b"", b"\xff\xfe", b"{}", b'{"type":"finished"}', b"[" * DEEP):
            await admin.publish_raw(subject, body)

    answers = await asyncio.gather(*(caller.ask("classify", CLASSIFY) for _ in range(20)))
    assert {answer.result["status"] for answer in answers} == {"ok"}
    assert all(process.is_running for process in calm_fleet.processes if process.returncode != 0)
