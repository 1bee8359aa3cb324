"""Dead-letter records that are not what an orchestrator writes: shown, listed, retried without harm."""

import base64
import json
from typing import Any

import pytest

from flotilla.testkit.fleet import RunningFleet
from flotilla.testkit.plain_client import BODIES, Json, PlainClient, new_task

pytestmark = pytest.mark.asyncio(loop_scope="session")

CLASSIFY = json.dumps(BODIES["classify"]).encode()


def planted(task: str, **changes: Any) -> Json:
    """A record as an orchestrator would have written it, with changes."""
    record: Json = {
        "task": task,
        "scope": "default",
        "capability": "classify",
        "error": {"kind": "provider_failed", "message": "every route failed", "retryable": True, "details": {}},
        "at_unix_ms": 1_700_000_000_000,
        "subject": "scope.default.tasks.classify",
        "headers": {},
        "body": base64.b64encode(CLASSIFY).decode(),
    }
    return {**record, **changes}


async def plant(fleet: RunningFleet, task: str, body: bytes) -> None:
    """Store a record past the orchestrators."""
    admin = await fleet.admin()
    ack = json.loads((await admin.nc.request(f"dead.default.classify.{task}", body)).data)
    assert ack["seq"]


async def test_a_retry_carries_no_order_to_the_server(calm_fleet: RunningFleet, caller: PlainClient):
    """
    `Nats-Trace-Dest` on a message that an orchestrator publishes has the server write wherever it may.
    """
    task = new_task()
    headers = {"Nats-Trace-Dest": "$KV.policy.stolen", "Flotilla-Label-Team": "blue", "X-Foreign": "1"}
    await plant(calm_fleet, task, json.dumps(planted(task, headers=headers)).encode())
    admin = await calm_fleet.admin()
    async with (
        admin.hearing("$KV.policy.>") as written,
        admin.hearing("scope.default.tasks.>") as tasks,
        caller.hearing("results.>") as results,
    ):
        retried = await caller.api("dead", {"verb": "retry", "task": task})
        result = await results.result(retried["retried_as"])

    assert result["status"] == "ok"
    assert result["labels"] == {"Team": "blue"}
    assert written.messages == []
    assert set(tasks.messages[0].headers or ()) == {"Flotilla-Label-Team", "Nats-Msg-Id"}


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": "scope.acme.tasks.classify"},
        {"subject": "$KV.policy.routing"},
        {"subject": "commit.default.classify.t1"},
        {"headers": {"Flotilla-Label-a b": "1"}},
        {"headers": {"Flotilla-Label-a": "1\r\nNats-Trace-Dest: x"}},
        {"headers": {}, "headers_dropped_bytes": 40},
        {"subject": "scope.default.tasks.a\ufffd"},
        {"subject": "scope.default.tasks." + "a" * 2_000},
        {"headers": {"Flotilla-Label-a": "\x85"}},
    ],
)
async def test_a_record_that_cannot_be_sent_again_is_refused_with_a_typed_error(
    calm_fleet: RunningFleet, caller: PlainClient, changes: Json
):
    """
    Never `internal`, and nothing goes out.
    """
    task = new_task()
    await plant(calm_fleet, task, json.dumps(planted(task, **changes)).encode())

    retried = await caller.api("dead", {"verb": "retry", "task": task})

    assert retried["error"]["kind"] == "bad_request"
    assert "submit the original again" in retried["error"]["message"]


@pytest.mark.parametrize("name", ["tracestate", "traceparent"])
async def test_a_task_with_a_header_that_no_client_library_sends_is_retried(
    calm_fleet: RunningFleet, caller: PlainClient, name: str
):
    """
    It was taken as a task, with as much of the header as counts; the retry is the same task.
    """
    task = new_task()
    headers = {"Flotilla-Label-Team": "blue", name: "k=" + "v" * 8_000}
    admin = await calm_fleet.admin()
    async with admin.hearing("scope.default.tasks.>") as tasks, caller.hearing("results.>") as results:
        await caller.submit("classify", b"{}", headers=headers, task=task)
        await results.result(task)
        await caller.dead_record(task)
        retried = await caller.api("dead", {"verb": "retry", "task": task})
        again = await results.result(retried["retried_as"])

    assert "bad_request" == again["error"]["kind"]
    sent = tasks.messages[-1].headers or {}
    assert {"Flotilla-Label-Team": "blue", "Nats-Msg-Id": retried["retried_as"]} == {
        key: value for key, value in sent.items() if key != name
    }
    assert headers[name].startswith(sent[name])
