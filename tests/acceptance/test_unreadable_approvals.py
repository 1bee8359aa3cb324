"""What is kept of approvals and cannot be read is told, and keeps nothing beside it from being read."""

import pytest

from flotilla.contracts import subjects
from flotilla.contracts.api_approvals import audit_of
from flotilla.contracts.approval_requests import GatedInput, encode_record, new_record
from flotilla.contracts.approvals import payload_digest
from flotilla.contracts.clock import unix_ms
from flotilla.contracts.results import encode
from flotilla.testkit.fleet import RunningFleet

pytestmark = pytest.mark.asyncio(loop_scope="session")

GARBAGE = (b"", b"\xff\xfe", b"null", b"{}", b"[" * 100_000, b'{"at_unix_ms":' + b"9" * 400 + b"}")
INPUT = b'{"document":"a"}'


async def test_garbage_among_requests_and_in_the_audit_hides_nothing(calm_fleet: RunningFleet):
    """
    Approvers are told what can be read; an input that cannot be shown is none, and is not granted.
    """
    admin = await calm_fleet.admin()
    approver = await calm_fleet.connect(calm_fleet.server.approver("acme"))
    gated = GatedInput(
        scope="acme",
        task="t-1",
        step="s",
        capability="classify",
        data_class="internal",
        zones=["cloud", "local"],
        input_sha256=payload_digest(INPUT),
    )
    now = unix_ms()
    record = new_record(gated, submitted_by="ann", input_bytes=9, now_unix_ms=now, expires_unix_ms=now + 3_600_000)
    shown = subjects.step_payload("acme", gated.task, record.id)
    kept = {
        f"$KV.approvals_acme.{record.id}": encode_record(record),
        shown: b'{"document":',
        subjects.audit("acme", record.id, "pending"): encode(audit_of(record, now_unix_ms=now)),
    }
    for number, body in enumerate(GARBAGE):
        kept[f"$KV.approvals_acme.{number:032x}"] = body
        kept[subjects.audit("acme", f"{number:032x}", "granted")] = body
    for subject, body in kept.items():
        await admin.nc.request(subject, body)

    listed = await approver.api("approvals", {"verb": "list", "status": "all"})
    audit = await approver.api("approvals", {"verb": "audit"})
    unread = await approver.api("approvals", {"verb": "show", "id": f"{1:032x}"})
    broken = await approver.api("approvals", {"verb": "show", "id": record.id})
    granted = await approver.api("decide", {"id": record.id, "decision": "grant"})
    denied = await approver.api("decide", {"id": record.id, "decision": "deny"})

    assert [record.id] == [each["id"] for each in listed["approvals"]]
    assert [record.id] == [each["id"] for each in audit["audit"]]
    assert "internal" == unread["error"]["kind"]
    assert (record.id, None) == (broken["approval"]["id"], broken["payload"])
    assert "conflict" == granted["error"]["kind"]
    assert "denied" == denied["status"]
