"""Requests for approval as an orchestrator keeps them: in order, told once, and forgotten when nothing is left to be done."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from flotilla.contracts.approval_requests import ApprovalRecord, GatedInput, new_record
from flotilla.contracts.approvals import payload_digest
from flotilla.contracts.clock import unix_ms
from flotilla.fabric import keyvalue
from flotilla.fabric.connection import Connection, Message, connected
from flotilla.fabric.inbox import Requests
from flotilla.fabric.jetstream_api import EXPECTED_LAST_SUBJECT_SEQUENCE, ErrorCode
from flotilla.provisioning.streams import ensure
from flotilla.provisioning.topology import topology
from flotilla.testkit.counting import CountedRequests
from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.orchestrator_here import running_orchestrator, until
from flotilla.testkit.plain_client import PlainClient, connect_plainly, settled
from orchestrator.api import approval_handlers
from orchestrator.approvals import known_requests
from orchestrator.approvals import watch as watch_module
from orchestrator.approvals.request_store import Kept, RequestStore
from orchestrator.approvals.suspensions import Suspensions
from orchestrator.approvals.watch import ApprovalsWatch

TASKS = [f"task-{number}" for number in range(50)]
PAYLOAD = b'{"document":"An invoice."}'


def record_of(task: str, *, age_s: int = 0) -> ApprovalRecord:
    """A request of a task that was made some seconds ago."""
    gated = GatedInput(
        scope="default",
        task=task,
        step="report",
        capability="summarize",
        data_class="internal",
        zones=["cloud", "local"],
        input_sha256=payload_digest(PAYLOAD),
    )
    made = unix_ms() - age_s * 1000
    return new_record(
        gated,
        submitted_by="default",
        input_bytes=len(PAYLOAD),
        now_unix_ms=made,
        expires_unix_ms=made + 3_600_000,
    )


async def kept(store: RequestStore, record: ApprovalRecord) -> Kept:
    """The request, once it is kept."""
    made = await store.make(record, PAYLOAD)
    assert made is not None
    return made


@asynccontextmanager
async def stores(server: RunningServer) -> AsyncGenerator[tuple[Connection, Requests]]:
    """
    The connection of an orchestrator whose scope has its streams.
    """
    async with connected(server.orchestrator(), name="orchestrator") as connection:
        requests = Requests(connection)
        await requests.start()
        await ensure(requests, topology(("default",)))
        yield connection, requests


async def approver_of(server: RunningServer) -> PlainClient:
    """The default scope's."""
    role = server.approver()
    return await connect_plainly(server.url, nkeys_seed=str(role.creds), inbox_prefix=role.inbox_prefix)


class CountingSuspensions(Suspensions):
    """Counts who is woken."""

    def __init__(self, requests: Requests) -> None:
        super().__init__(requests, payload_bytes_max=1024)
        self.woken: Counter[str] = Counter()

    async def wake(self, scope: str, task: str) -> bool:
        """See `Suspensions`."""
        self.woken[task] += 1
        return await super().wake(scope, task)


@pytest.mark.parametrize("status", ["denied", "granted"])
async def test_who_was_woken_after_a_decision_is_not_woken_again(
    nats_server: RunningServer, monkeypatch: pytest.MonkeyPatch, status: Any
):
    """
    Nothing more is written to a request that was denied, nor to a grant whose run is over: each is forgotten at once.
    """
    monkeypatch.setattr(known_requests, "WOKEN_AFTER_S", 0.0)
    monkeypatch.setattr(watch_module, "EVERY_S", 0.02)
    monkeypatch.setattr(watch_module, "JITTER_S", 0.0)
    async with stores(nats_server) as (_, requests):
        store, suspensions = RequestStore(requests), CountingSuspensions(requests)
        for task in ("a", "b"):
            made = await kept(store, record_of(task))
            await store.change(made, msgspec.structs.replace(made.record, status=status))
        watch = ApprovalsWatch(requests, suspensions, ("default",))
        await watch.start()
        await until(lambda: len(suspensions.woken) == 2)
        made = await kept(store, record_of("last"))
        await store.change(made, msgspec.structs.replace(made.record, status=status))
        # The watch has gone round again when it has woken this one.
        await until(lambda: suspensions.woken["last"])
        await watch.stop()

    assert {"a": 1, "b": 1, "last": 1} == suspensions.woken


async def test_requests_are_listed_in_the_order_in_which_they_were_made(
    nats_server: RunningServer, monkeypatch: pytest.MonkeyPatch
):
    """
    However they are read: the bucket knows them by name, and gives so many at a time.
    """
    monkeypatch.setattr(approval_handlers, "LAST_SUBJECTS_MAX", 3)
    async with running_orchestrator(nats_server) as fleet:
        store = RequestStore(fleet.requests)
        tasks = [f"t{number:02}" for number in range(10)]
        made = [await kept(store, record_of(task, age_s=60 - age)) for age, task in enumerate(tasks)]
        for each in made[::2]:
            await store.change(each, msgspec.structs.replace(each.record, status="denied"))
        approver = await approver_of(nats_server)
        lists = [
            await approver.api("approvals", {"status": status, "limit": limit})
            for status in ("all", "pending")
            for limit in (100, 4)
        ]
        await approver.nc.close()

    listed = [[entry["task"] for entry in each["approvals"]] for each in lists]
    assert [tasks, tasks[:4], tasks[1::2], tasks[1::2][:4]] == listed
    assert {5} == {each["waiting"] for each in lists}


async def test_whoever_looks_for_requests_at_once_shares_a_read_and_misses_nothing(nats_server: RunningServer):
    """
    Every task that has just asked finds its own request, though many look at the same time.
    """
    async with stores(nats_server) as (connection, requests):
        store = RequestStore(requests)
        counted = CountedRequests(connection)
        await counted.start()
        watch = ApprovalsWatch(counted, Suspensions(requests, payload_bytes_max=1024 * 1024), ("default",))
        await watch.pending("default")
        before = counted.asked

        async def found(task: str) -> bool:
            made = await kept(store, record_of(task))
            return [made.record.id] == await watch.pending("default", task)

        missed = [task for task in TASKS if not await found(task)]
        alone, before = counted.asked - before, counted.asked
        together = await asyncio.gather(*(watch.pending("default", task) for task in TASKS))
        shared = counted.asked - before
        at_once = await asyncio.gather(*(found(f"more-{task}") for task in TASKS))

    assert ([], [1] * len(TASKS)) == (missed, [len(ids) for ids in together])
    assert all(at_once)
    assert shared <= 2 < alone


async def test_a_decision_is_told_to_the_audit_once(nats_server: RunningServer):
    """
    Each line costs a publish that is waited for; who says the same again has the line looked after.
    """
    async with running_orchestrator(nats_server) as fleet:
        made = await kept(RequestStore(fleet.requests), record_of("t1"))
        approver = await approver_of(nats_server)
        query = {"id": made.record.id, "digest": made.record.digest, "decision": "grant", "by": "ann"}
        async with fleet.admin.hearing("audit.default.>") as told:
            decided = await approver.api("decide", query)
            await settled(fleet.admin.nc)
            once = [message.subject for message in told.messages]
            again = await approver.api("decide", query)
        audit = await approver.api("approvals", {"verb": "audit", "id": made.record.id})
        await approver.nc.close()

    assert ("granted", "granted") == (decided["status"], again["status"])
    assert [f"audit.default.{made.record.id}.granted"] == once
    assert ["granted", "pending"] == [line["status"] for line in audit["audit"]]


async def test_each_new_line_of_an_audit_is_counted_once(nats_server: RunningServer):
    """
    By what fills it an operator is warned before its oldest lines go.
    """
    counted: list[str] = []
    async with stores(nats_server) as (_, requests):
        store = RequestStore(requests, counted.append)
        made = await kept(store, record_of("a"))
        over = await store.change(made, msgspec.structs.replace(made.record, status="denied"))
        assert over is not None
        await store.tell(over.record)

    assert ["default", "default"] == counted


class Refusing(Requests):
    """Answers what expects a sequence as a cluster may, and passes everything else on."""

    def __init__(self, connection: Connection, code: int) -> None:
        super().__init__(connection)
        self._code = code

    async def request(self, subject: str, body: bytes = b"", **options: Any) -> Message:
        """See `Requests`."""
        if EXPECTED_LAST_SUBJECT_SEQUENCE in (options.get("headers") or {}):
            error = {"code": 503, "err_code": self._code, "description": "not now"}
            return Message("", "", msgspec.json.encode({"error": error}))
        return await super().request(subject, body, **options)


@pytest.mark.parametrize(
    "code",
    [
        ErrorCode.STREAM_WRONG_LAST_SEQUENCE,
        ErrorCode.STREAM_WRONG_LAST_SEQUENCE_CONSTANT,
        ErrorCode.STREAM_EXPECTED_LAST_SEQ_PER_SUBJECT_NOT_READY,
    ],
    ids=lambda code: code.name,
)
async def test_a_compare_and_set_that_the_server_cannot_judge_is_lost_and_no_fault(
    nats_server: RunningServer, code: ErrorCode
):
    """
    A leader that is new says so in a word of its own: whoever writes reads again.
    """
    async with stores(nats_server) as (connection, _):
        requests = Refusing(connection, int(code))
        await requests.start()
        async with asyncio.timeout(60):
            written = await keyvalue.put(requests, "approvals_default", "0" * 32, b"{}", expected_revision=0)
            woken = await Suspensions(requests, payload_bytes_max=1024).wake("default", "nobody")

    assert written is None
    assert not woken
