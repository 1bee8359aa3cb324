"""
The messages of approvals, experiments, spend, pipelines, the cache and the policy's bucket: what decodes is safe as it is.

As `tests/unit/contracts/test_hostile_messages_properties.py` has it of those that workers and tenants send.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flotilla.capabilities.catalogue import Catalogue
from flotilla.capabilities.json_schema import check_transport
from flotilla.contracts import api_approvals, approval_requests, experiments, policy, stats, subjects
from flotilla.contracts.api_spend import SpendQuery
from flotilla.contracts.approvals import Grant
from flotilla.testkit.examples import examples
from flotilla.testkit.hostile_json import Decode, Json, broken_once, check_safe, compact, decoded, near, query
from orchestrator.caching.records import KeptAnswer, decode_record
from orchestrator.pipelines.kept_results import KeptDefinition, KeptResult
from orchestrator.policy_and_health.configured_policy import FileRecord
from orchestrator.policy_and_health.held_models import HeldModel
from orchestrator.policy_and_health.policy_documents import Source
from orchestrator.state.origins import RequestInfo

DIGEST: Final = "1" * 64
GATED: Final = approval_requests.GatedInput(
    scope="acme",
    task="run-1",
    step="outer/report",
    index=3,
    capability="synthesize",
    data_class="internal",
    zones=["cloud", "local"],
    input_sha256=DIGEST,
)
RECORD: Final = approval_requests.new_record(
    GATED, submitted_by="ann", input_bytes=9, now_unix_ms=1_800_000_000_000, expires_unix_ms=1_800_000_060_000
)
MOMENTS: Final = {"count": 2, "total": 3.5, "squares": 6.5}
POLICY: Final = {
    "format": 1,
    "default": {"cache": {"tasks": "all", "ttl_s": 60}, "hedge": {"after_ms": 50.0, "share_max": 0.1}},
    "capabilities": {"chat": {"shadow": {"pool": "a", "model": "m", "share": 0.5}, "strategy_options": {"first": 1}}},
    "declassify": {"redact": {"document": "public"}},
    "redaction": {"off": ["URL"], "score_min": {"PERSON": 0.5}},
    "limits": {"key-a": {"pools": ["a"], "scopes": ["acme"], "requests_per_minute": 9, "concurrent_requests": 2}},
    "budgets": {"month": {"usd": 5.0, "per": "month", "labels": {"team": "x"}, "reserve_usd": 0.5}},
}


def built(message: msgspec.Struct) -> Json:
    """A message as the JSON that it is sent as."""
    return msgspec.json.decode(msgspec.json.encode(message))


def answer(body: bytes) -> Any:
    """What stands under a key of the cache."""
    return decode_record(body, key=DIGEST, capability="classify")


def taken(capability: str) -> Decode:
    """How an input is taken, on its way in."""
    definition = Catalogue.load().get(capability)
    assert definition is not None

    def decode(body: bytes) -> Any:
        check_transport(body, is_decoded=True)
        return definition.decode_input(body)

    return decode


MESSAGES: Final[dict[str, tuple[Json, Decode]]] = {
    "request for approval": (
        built(msgspec.structs.replace(RECORD, status="granted", decided_by="bob", comment="fine", grant="e30.c2ln")),
        approval_requests.decode_record,
    ),
    "audit": (built(api_approvals.audit_of(RECORD, now_unix_ms=1)), api_approvals.decode_audit),
    "approvals query": ({"verb": "show", "id": "0" * 32, "limit": 7}, query(api_approvals.ApprovalsQuery)),
    "decision": (
        {"id": "0" * 32, "decision": "grant", "digest": DIGEST, "comment": "c", "grant": "e30.c2ln", "by": "ann"},
        query(api_approvals.DecideQuery),
    ),
    "grant": (
        {
            "format": 1,
            "scope": "acme",
            "capability": "classify",
            "data_class": "internal",
            "zones": ["cloud"],
            "input_sha256": DIGEST,
            "expires_unix_ms": 1_800_000_000_000,
            "nonce": "0" * 32,
            "approver": "A" + "B" * 55,
        },
        query(Grant),
    ),
    "who asks": ({"acc": "acme", "user": "UABC"}, query(RequestInfo)),
    "arms": (
        {
            "began_unix_ms": 1,
            "format": 1,
            "arms": [{"pool": "a", "model": "m", "ok": 1, "latency_ms": MOMENTS, "cost_usd": MOMENTS}],
        },
        experiments.decode_arms,
    ),
    "score": (
        {"experiment": "0" * 12, "pool": "a", "model": "m", "score": 0.5, "label": "good"},
        experiments.decode_score,
    ),
    "arm of a task": (
        {"capability": "classify", "experiment": "0" * 12, "pool": "a", "model": "m"},
        experiments.decode_arm,
    ),
    "feedback": ({"task": "t", "score": 1.0, "label": "l", "scorer": "judge"}, query(experiments.FeedbackQuery)),
    "experiment query": ({"capability": "classify"}, query(experiments.ExperimentQuery)),
    "spend query": ({"by": ["day", "label.team"], "since": "2026-11-01", "until": "2026-11-30"}, query(SpendQuery)),
    "answer of the cache": (
        built(
            KeptAnswer(
                key=DIGEST,
                task="t",
                capability="classify",
                output=msgspec.Raw(b'{"label":"a"}'),
                provider="openai",
                model="m",
                zone="cloud",
                pool="p",
                cost_usd=0.5,
                made_unix_ms=1,
            )
        ),
        answer,
    ),
    "claim of the cache": ({"type": "claim", "key": DIGEST, "orchestrator": "o-1", "renewed": 3}, answer),
    "result of a step": ({"data_class": "internal", "result": {"a": 1}}, query(KeptResult)),
    "definition of a run": ({"digest": DIGEST, "source_text": "name: x\n"}, query(KeptDefinition)),
    "held models": ({"format": 1, "held": {"embed": "nomic"}}, query(HeldModel)),
    "policy file": ({"sha256": DIGEST, "revision": 4, "by": "o-1", "at_unix_ms": 5}, query(FileRecord)),
    "source of a policy": ({"toml": "format = 1\n", "author": "ann", "at_unix_ms": 5}, query(Source)),
    "policy": (POLICY, policy.decode_policy),
    "redact": ({"document": "d", "language": "de", "vault": "a" * 26, "lifetime_s": 60}, taken("redact")),
    "restore": ({"document": "d", "vault": "a" * 26}, taken("restore")),
    "vault": ({"action": "forget", "vault": "a" * 26}, taken("vault")),
}
FREE: Final = {
    *{("SpendQuery", "by"), ("KeptDefinition", "source_text"), ("Source", "toml")},
    *{("BudgetEntry", "labels"), ("CapabilityPolicy", "strategy_options")},
    *{("RedactInput", "document"), ("RestoreInput", "document"), ("RedactInput", "case"), ("VaultInput", "case")},
    # Base64 of a bounded length, decoded where it is used.
    *{("ApprovalRecord", "grant"), ("DecideQuery", "grant")},
}
"""Texts that are somebody's own and go nowhere but back; of what is named in JSON beside a document, only a digest."""
SUBJECTS: Final[dict[str, Callable[[str], str]]] = {
    "id": lambda text: subjects.audit("default", text, "granted"),
    "task": lambda text: subjects.step_payload("default", text, "r"),
    "experiment": lambda text: subjects.arms_key("c", text, "o"),
    "scorer": lambda text: subjects.score("default", "c", "t", text),
    "model": lambda text: subjects.ledger("default", "2026-11-29", "p", text),
    "pool": lambda text: subjects.ledger("default", "2026-11-29", text or "p", "m"),
    "capability": lambda text: subjects.score("default", text, "t", "s"),
    "key": lambda text: subjects.key("cache_default", text),
    "vault": lambda text: subjects.key(subjects.VAULT_BUCKET, subjects.vault_key("acme", text)),
}
"""What is made of a field of that name, whatever message it is in."""


def _subjects(message: Any) -> Iterator[tuple[str, int]]:
    for field, made in SUBJECTS.items():
        text = getattr(message, field, None)
        if isinstance(text, str):
            yield made(text), len(made("x").split("."))
    if isinstance(message, approval_requests.ApprovalRecord):
        yield subjects.suspended(message.gated.scope, message.gated.task), 4
    elif isinstance(message, HeldModel):
        for capability, model in message.held.items():
            yield stats.stats_key(stats.RouteKey("p", model, capability), "o"), 4
    elif isinstance(message, policy.Policy):
        yield from ((subjects.rate_counter(name, "tokens"), 4) for name in message.limits)
        yield from ((subjects.budget_counter(name, "2026-11"), 4) for name in message.budgets)


def _headers(message: Any) -> Iterator[tuple[str, str]]:
    """Those that are made of names, and the signed grant, which travels with the attempt."""
    for field in ("task", "capability", "by", "submitted_by", "decided_by", "grant"):
        value = getattr(message, field, None)
        if isinstance(value, str):
            yield "Flotilla-Field", value


def _is_safe(decode: Decode, body: bytes) -> None:
    message = decoded(decode, body)
    if message is None:
        return
    check_safe(message, free=FREE, subjects=_subjects(message), headers=_headers(message))
    if decode is not approval_requests.decode_record:  # its digest names what it is about
        assert decoded(decode, msgspec.json.encode(message)) is not None


@pytest.mark.parametrize("name", MESSAGES)
def test_the_messages_that_are_changed_here_are_valid(name: str):
    """
    Else nothing would be tested.
    """
    value, decode = MESSAGES[name]

    assert decoded(decode, compact(value)) is not None


@pytest.mark.parametrize("name", MESSAGES)
@settings(max_examples=examples(25))
@given(data=st.data())
def test_what_decodes_is_safe_where_it_is_put(name: str, data: st.DataObject):
    """
    In subjects and keys, headers, log lines and sums, and on the wire again.
    """
    value, decode = MESSAGES[name]
    _is_safe(decode, data.draw(near(value)))


@pytest.mark.parametrize("name", MESSAGES)
def test_no_part_of_a_message_takes_what_breaks_things(name: str):
    """
    Every one of them, in every place, alone.
    """
    value, decode = MESSAGES[name]
    for body in broken_once(value):
        _is_safe(decode, body)


@settings(max_examples=examples(100))
@given(bodies=st.lists(near(MESSAGES["arms"][0]), max_size=6))
def test_sums_of_arms_can_be_reported(bodies: list[bytes]):
    """
    Whatever any number of orchestrators has written.
    """
    found = [each for body in bodies if (each := decoded(experiments.decode_arms, body)) is not None]
    total = experiments.ArmTotals(pool="p", model="m")
    for record in found:
        for arm in record.arms:
            for _ in range(1_000):
                total += arm

    assert total.latency_ms.variance >= 0.0
    msgspec.json.encode(total)
