"""Requests for approval: one decision each, of who did not ask for it, over what was shown, and one use."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flotilla.contracts.approval_requests import (
    EXPIRES_S_MAX,
    USE_WITHIN_S,
    ApprovalRecord,
    Decided,
    GatedInput,
    InUse,
    Pass,
    Refusal,
    Shut,
    Wait,
    at_gate,
    decide,
    decode_record,
    digest_of,
    encode_record,
    new_record,
    withdrawn,
)
from flotilla.contracts.approvals import Grant
from flotilla.contracts.errors import DecodeFailedError

NOW = 1_800_000_000_000
LATER = NOW + 60_000
GATED = GatedInput(
    scope="acme",
    task="run-1",
    step="report",
    index=3,
    capability="synthesize",
    data_class="internal",
    zones=["cloud", "local"],
    input_sha256="1" * 64,
)
RECORD = new_record(GATED, submitted_by="acme", input_bytes=9, now_unix_ms=NOW, expires_unix_ms=LATER)
GRANT = Grant(
    scope="acme",
    capability="synthesize",
    data_class="internal",
    zones=["local", "cloud"],
    input_sha256="1" * 64,
    expires_unix_ms=NOW + 5_000,
    nonce="0" * 32,
    approver="A" + "B" * 55,
)


def said(**fields: Any) -> Decided:
    """A decision of Ann's."""
    return msgspec.structs.replace(Decided(decision="grant", by="ann", by_user="UANN"), **fields)


def granted(**fields: Any) -> ApprovalRecord:
    """The record after it."""
    record = decide(RECORD, said(**fields), now_unix_ms=NOW + 1)
    assert isinstance(record, ApprovalRecord)
    return record


def consumed(message: str = "SUSPENDED_acme 7") -> ApprovalRecord:
    """The record once a message has used the grant."""
    passed = at_gate(granted(), message=message, now_unix_ms=NOW + 2)
    assert isinstance(passed, Pass)
    return passed.record


def test_a_grant_says_who_gave_it_and_until_when_it_may_be_used():
    """
    A signed one by the approver's key and its own expiry.
    """
    plain = granted(comment="read it")
    signed = granted(grant=GRANT, grant_text="e30.c2ln")

    assert ("granted", "ann", "UANN", "read it") == (
        plain.status,
        plain.decided_by,
        plain.decided_as,
        plain.comment,
    )
    assert NOW + 1 + USE_WITHIN_S * 1000 == plain.usable_until_unix_ms
    assert (GRANT.approver, NOW + 5_000, "e30.c2ln") == (
        signed.decided_by,
        signed.usable_until_unix_ms,
        signed.grant,
    )


@pytest.mark.parametrize(
    ("record", "decision", "now", "refusal"),
    [
        pytest.param(RECORD, said(digest="2" * 64), NOW, Refusal.WRONG_DIGEST, id="another was shown"),
        pytest.param(RECORD, said(), LATER, Refusal.EXPIRED, id="at its expiry"),
        pytest.param(granted(), said(decision="deny"), NOW + 2, Refusal.ALREADY_DECIDED, id="after a grant"),
        pytest.param(granted(decision="deny"), said(), NOW + 2, Refusal.ALREADY_DECIDED, id="after a denial"),
        pytest.param(consumed(), said(), NOW + 3, Refusal.ALREADY_DECIDED, id="replayed"),
        pytest.param(RECORD, said(by="acme"), NOW, Refusal.FOUR_EYES, id="by the name of who submitted"),
        pytest.param(RECORD, said(by="", by_user="acme"), NOW, Refusal.FOUR_EYES, id="as who submitted"),
        pytest.param(RECORD, said(may_submit=True), NOW, Refusal.FOUR_EYES, id="as one who may submit"),
    ],
)
def test_what_may_not_be_decided_is_refused(record: ApprovalRecord, decision: Decided, now: int, refusal: Refusal):
    """
    With a word that a program can read.
    """
    assert refusal is decide(record, decision, now_unix_ms=now)


def test_who_submitted_decides_where_the_gate_lets_them():
    """
    Four eyes is a setting of the gate; whoever signs with the key that submitted is the same person.
    """
    own = msgspec.structs.replace(RECORD, submitted_by=GRANT.approver)
    alone = msgspec.structs.replace(own, four_eyes=False)
    signed = said(grant=GRANT, grant_text="e30.c2ln")

    assert Refusal.FOUR_EYES is decide(own, signed, now_unix_ms=NOW)
    assert isinstance(decide(alone, signed, now_unix_ms=NOW), ApprovalRecord)


@pytest.mark.parametrize(
    ("submitted_by", "by"),
    [
        ("Ann@Example.com", "ann@example.com"),
        ("ann ", "ann"),
        ("Ann  Lee", "ann lee"),
        ("Zo\u00eb", "Zoe\u0308"),
        ("\uff41nn", "ann"),
        ("STRASSE", "stra\u00dfe"),
    ],
)
def test_one_name_in_two_spellings_is_one_person(submitted_by: str, by: str):
    """
    Whoever submits names themselves in a gateway, and whoever decides in another program.
    """
    record = msgspec.structs.replace(RECORD, submitted_by=submitted_by)

    assert Refusal.FOUR_EYES is decide(record, said(by=by), now_unix_ms=NOW)
    assert isinstance(decide(record, said(by="bob"), now_unix_ms=NOW), ApprovalRecord)


def test_a_gate_of_a_group_opens_for_a_grant_that_is_signed_with_its_key():
    """
    Anybody may deny; where the policy names no groups, nobody is held to one.
    """
    desk = msgspec.structs.replace(RECORD, group="desk")
    signed = said(grant=GRANT, grant_text="e30.c2ln")

    for groups in (frozenset[str](), frozenset({"privacy"})):
        wrong = msgspec.structs.replace(signed, groups=groups)
        assert Refusal.WRONG_GROUP is decide(desk, wrong, now_unix_ms=NOW)
    assert Refusal.WRONG_GROUP is decide(desk, said(groups=frozenset()), now_unix_ms=NOW)
    for decision in (
        msgspec.structs.replace(signed, groups=frozenset({"desk"})),
        said(decision="deny", groups=frozenset()),
        said(groups=None),
    ):
        assert isinstance(decide(desk, decision, now_unix_ms=NOW), ApprovalRecord)


@pytest.mark.parametrize(
    "claims",
    [
        {"scope": "default"},
        {"capability": "summarize"},
        {"data_class": "public"},
        {"input_sha256": "2" * 64},
        {"zones": ["cloud"]},
        {"expires_unix_ms": NOW},
        {"expires_unix_ms": NOW + 8 * 86_400_000},
    ],
    ids=lambda claims: next(iter(claims)),
)
def test_a_grant_for_anything_else_grants_nothing(claims: dict[str, Any]):
    """
    Each of its claims must be that of the request.
    """
    other = msgspec.structs.replace(GRANT, **claims)

    assert Refusal.WRONG_GRANT is decide(RECORD, said(grant=other, grant_text="e30.c2ln"), now_unix_ms=NOW)


def test_a_gate_opens_once_for_the_message_that_used_the_grant():
    """
    Delivered again it goes on, as every durable task does; any other message of the task does not.
    """
    record = consumed("SUSPENDED_acme 7")

    assert Wait(LATER) == at_gate(RECORD, message="TASKS_acme 1", now_unix_ms=LATER - 1)
    assert ("consumed", "SUSPENDED_acme 7") == (record.status, record.consumed_by)
    assert Pass(record) == at_gate(record, message="SUSPENDED_acme 7", now_unix_ms=NOW + 3)
    assert InUse() == at_gate(record, message="SUSPENDED_acme 8", now_unix_ms=NOW + 3)
    assert InUse() == at_gate(record, message="TASKS_acme 7", now_unix_ms=NOW + 3)


def test_a_gate_stays_shut_after_a_denial_and_after_its_time():
    """
    Of the request, of the grant, and of the grant that a message was about to use again.
    """
    late = granted().usable_until_unix_ms
    expired = at_gate(RECORD, message="m", now_unix_ms=LATER)
    unused = at_gate(granted(), message="m", now_unix_ms=late)

    assert isinstance(expired, Shut)
    assert isinstance(unused, Shut)
    assert ("expired", "expired") == (expired.why, unused.why)
    assert ["expired", "expired"] == [shut.record and shut.record.status for shut in (expired, unused)]
    assert Shut("denied") == at_gate(granted(decision="deny"), message="m", now_unix_ms=NOW + 2)
    assert Shut("expired") == at_gate(consumed("m"), message="m", now_unix_ms=late)
    assert Shut("expired") == at_gate(consumed("m"), message="another", now_unix_ms=late)


def test_what_waits_is_withdrawn_and_what_is_decided_is_not():
    """
    Then nobody can grant it.
    """
    gone = withdrawn(RECORD)

    assert gone is not None
    assert Refusal.ALREADY_DECIDED is decide(gone, said(), now_unix_ms=NOW)
    assert Shut("withdrawn") == at_gate(gone, message="m", now_unix_ms=NOW)
    assert withdrawn(granted()) is None


def test_a_request_lives_no_longer_than_the_bound():
    """
    Whatever a gate says.
    """
    record = new_record(GATED, submitted_by="a", input_bytes=0, now_unix_ms=NOW, expires_unix_ms=NOW * 2)

    assert NOW + EXPIRES_S_MAX * 1000 == record.expires_unix_ms


@pytest.mark.parametrize(
    "change",
    [
        {"scope": "other"},
        {"task": "run-2"},
        {"step": "other"},
        {"index": 4},
        {"index": None},
        {"capability": "summarize"},
        {"data_class": "public"},
        {"zones": ["local"]},
        {"input_sha256": "2" * 64},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_record_whose_content_is_not_what_its_name_says_is_none(change: dict[str, Any]):
    """
    Another gated has another name; a record forged with the name of this one does not decode.
    """
    other = msgspec.structs.replace(GATED, **change)
    forged = msgspec.structs.replace(granted(), gated=other)

    assert digest_of(GATED) != digest_of(other)
    with pytest.raises(DecodeFailedError, match="digest"):
        decode_record(encode_record(forged))


@given(st.integers(0, 2000))
def test_a_record_that_was_cut_is_none(length: int):
    """
    Wherever it was cut; whole, it is the same again.
    """
    body = encode_record(granted(grant=GRANT, grant_text="e30.c2ln"))

    assert decode_record(body) == granted(grant=GRANT, grant_text="e30.c2ln")
    with pytest.raises(DecodeFailedError):
        decode_record(body[: min(length, len(body) - 1)])


def test_a_record_of_a_later_version_is_not_acted_on():
    """
    What it adds may forbid what is about to be done.
    """
    body = encode_record(RECORD)

    with pytest.raises(DecodeFailedError):
        decode_record(body[:-1] + b',"quorum":2}')
