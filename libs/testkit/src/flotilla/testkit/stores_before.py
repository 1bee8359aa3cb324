"""
The stores as the version before made them: events, dead letters and the blackboard shared by all scopes.

The configurations are what its orchestrators sent (`$JS.API.STREAM.CREATE.*`), word for word; what stands in the streams
is published as its orchestrators published it. They are made afresh for each test: an archive of a server's files would
lose its results and events to their age.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec

from flotilla.contracts import subjects
from flotilla.contracts.blackboard import StoredValue, encode_value
from flotilla.contracts.failures import ErrorBody, ErrorKind
from flotilla.contracts.results import DeadRecord, Event, Result, encode
from flotilla.fabric.connection import NatsSettings, connected
from flotilla.fabric.errors import NoRespondersError, RequestTimeoutError
from flotilla.fabric.inbox import Requests
from flotilla.provisioning.streams import PATIENCE_S
from flotilla.provisioning.topology import GIB, MIB

_S: Final = 1_000_000_000
_SHARED: Final[tuple[dict[str, Any], ...]] = (
    {"name": "EVENTS", "subjects": ["scope.*.events.>"], "discard": "old", "max_bytes": GIB, "max_age": 86_400 * _S},
    {"name": "DEAD", "subjects": ["dead.>"], "discard": "old", "max_bytes": GIB, "max_age": 30 * 86_400 * _S},
)
_BUCKET: Final[dict[str, Any]] = {
    "discard": "new",
    "max_msgs_per_subject": 10,
    "duplicate_window": 120 * _S,
    "allow_msg_ttl": True,
    "allow_rollup_hdrs": True,
    "deny_delete": True,
    "subject_delete_marker_ttl": 10 * _S,
}
_BUCKETS: Final[tuple[dict[str, Any], ...]] = (
    {"max_bytes": 64 * MIB, "max_age": 6 * _S, "max_msgs_per_subject": 1, "duplicate_window": 6 * _S},
    {"max_bytes": 256 * MIB, "max_age": 60 * _S, "max_msgs_per_subject": 1, "duplicate_window": 60 * _S},
    {"max_bytes": 64 * MIB},
    {"max_bytes": GIB, "subject_delete_marker_ttl": 2 * _S},
)
NAMES: Final = ("presence", "stats", "policy", "blackboard")


POLICY = (
    b'{"format":1,"default":null,"capabilities":{},"scopes":{"acme":{"data_class":"restricted"}},"breaker":{},'
    b'"source":{"toml":"[scopes.acme]\\ndata_class = \\"restricted\\"\\n","author":"","at_unix_ms":1795892431724}}'
)
"""As the version before stored it."""


def _of_scope(scope: str) -> tuple[dict[str, Any], ...]:
    results = f"scope.{scope}.results.>"
    return (
        {
            "name": f"TASKS_{scope}",
            "subjects": [f"scope.{scope}.tasks.>"],
            "retention": "workqueue",
            "discard": "new",
            "max_bytes": 2 * GIB,
            "max_msgs_per_subject": 100_000,
            "discard_new_per_subject": True,
            "duplicate_window": 600 * _S,
        },
        {
            "name": f"RESULTS_{scope}",
            "subjects": [f"commit.{scope}.>"],
            "discard": "old",
            "max_bytes": 2 * GIB,
            "max_age": 7 * 86_400 * _S,
            "max_msgs_per_subject": 1,
            "duplicate_window": 600 * _S,
            "subject_transform": {"src": f"commit.{scope}.>", "dest": results},
            "republish": {"src": results, "dest": results},
        },
    )


async def make_stores_before(requests: Requests, scopes: Sequence[str], *, replicas: int = 1) -> None:
    """Make every stream and bucket, empty; for a user who may do anything in the FLEET account."""
    buckets = [
        {"name": f"KV_{name}", "subjects": [f"$KV.{name}.>"], **_BUCKET, **own}
        for name, own in zip(NAMES, _BUCKETS, strict=True)
    ]
    common = {"retention": "limits", "allow_direct": True, "num_replicas": replicas, "storage": "file"}
    for config in (*(each for scope in scopes for each in _of_scope(scope)), *_SHARED, *buckets):
        await _created(requests, str(config["name"]), msgspec.json.encode(common | config))


async def leave_stores(settings: NatsSettings, scopes: Sequence[str], *, waiting: str, replicas: int = 1) -> int:
    """
    Make them, with what a fleet has done and not done; gives the last revision of its blackboard.

    Each scope has three records of the dead (`bad-0` and on), a key with more values than its history keeps
    (`plan.state`), a deleted one (`gone`) and the result of `done-1`; the first has a task that waits.
    """
    revision = 0
    async with connected(settings, name="before") as connection:
        admin = Requests(connection)
        await admin.start()
        await make_stores_before(admin, scopes, replicas=replicas)
        for scope in scopes:
            for number in range(3):
                await bury_before(admin, scope, f"bad-{number}")
            for step in range(12):
                revision = await note_before(admin, scope, "plan.state", {"step": step, "of": scope})
            await note_before(admin, scope, "gone", 1)
            revision = await delete_before(admin, scope, "gone")
            await commit_before(admin, scope, "done-1")
            await tell_before(admin, scope, "done-1")
        headers = {"Nats-Msg-Id": waiting}
        await admin.request(f"scope.{scopes[0]}.tasks.classify", b'{"document":"a","labels":["b"]}', headers=headers)
        await admin.request("$KV.policy.routing", POLICY)
        await admin.stop()
    return revision


async def bury_before(requests: Requests, scope: str, task: str, *, body: bytes = b"{}") -> None:
    """Keep a record of a task that could not be processed."""
    record = DeadRecord(
        task=task,
        scope=scope,
        capability="classify",
        error=ErrorBody(kind=ErrorKind.BAD_REQUEST, message="no document"),
        at_unix_ms=1,
        subject=subjects.tasks(scope, "classify"),
        headers={"Nats-Msg-Id": task},
        body=body,
    )
    expected = {"Nats-Expected-Last-Subject-Sequence": "0"}
    await _answered(requests, f"dead.{scope}.classify.{task}", encode(record), expected)


async def commit_before(requests: Requests, scope: str, task: str) -> None:
    """Commit a result."""
    result = Result(task=task, capability="classify", status="ok", output=msgspec.Raw(b'{"label":"a"}'))
    expected = {"Nats-Expected-Last-Subject-Sequence": "0"}
    await _answered(requests, f"commit.{scope}.classify.{task}", encode(result), expected)


async def tell_before(requests: Requests, scope: str, task: str) -> None:
    """Publish an event, on a subject of its own."""
    event = Event(task=task, capability="classify", kind="queued", at_unix_ms=1)
    await _answered(requests, f"scope.{scope}.events.classify.{task}.queued", msgspec.json.encode(event))


async def note_before(
    requests: Requests, scope: str, key: str, value: object, *, ttl_s: int | None = None, author: str = "before"
) -> int:
    """Write a value on the blackboard; gives its revision."""
    stored = StoredValue(value=msgspec.Raw(msgspec.json.encode(value)), author=author, at_unix_ms=1)
    headers = {} if ttl_s is None else {"Nats-TTL": f"{ttl_s}s", "Nats-Rollup": "sub"}
    return await _answered(requests, f"$KV.blackboard.{scope}.{key}", encode_value(stored), headers)


async def delete_before(requests: Requests, scope: str, key: str) -> int:
    """Delete a key of the blackboard, its history being kept; gives the revision."""
    return await _answered(requests, f"$KV.blackboard.{scope}.{key}", b"", {"KV-Operation": "DEL"})


async def _created(requests: Requests, stream: str, config: bytes) -> None:
    """Also where a cluster has just begun, and nobody leads it yet."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with suppress(NoRespondersError, RequestTimeoutError):
                reply = await requests.request(f"$JS.API.STREAM.CREATE.{stream}", config, timeout_s=2.0)
                if "error" not in msgspec.json.decode(reply.data):
                    return
            await asyncio.sleep(0.1)


async def _answered(requests: Requests, subject: str, body: bytes, headers: dict[str, str] | None = None) -> int:
    reply = await requests.request(subject, body, headers=headers or None)
    answer: dict[str, Any] = msgspec.json.decode(reply.data)
    assert "error" not in answer, answer  # noqa: S101
    return answer.get("seq", 0)
