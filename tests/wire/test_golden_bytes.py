"""
Every message of the wire, byte by byte.

The files in `golden/` are the contract: a change that alters one breaks clients and members that are not updated at the
same moment. What is added has a default, so that the old bytes still decode; then a new file is added, and none changed.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from flotilla.contracts import (
    api,
    api_approvals,
    api_spend,
    attempts,
    experiments,
    headers,
    presence,
    redaction,
    results,
    stats,
    subjects,
)
from flotilla.contracts.failures import ErrorBody, ErrorKind, FailureKind

GOLDEN = Path(__file__).parent / "golden"
Decode = Callable[[bytes], Any]

USAGE = attempts.Usage(input_tokens=311, output_tokens=9, cost_usd=0.0125)
REPORT = results.AttemptReport(
    pool="ollama",
    model="llama3.1:8b",
    outcome="rate_limited",
    latency_ms=209.5,
    reason="first healthy route",
    replica="ollama-7c9f",
    message="asked to wait",
)
SECOND = results.AttemptReport(pool="anthropic", model="m", outcome="ok", latency_ms=1.0, reason="failover")
ERROR = ErrorBody(
    kind=ErrorKind.BAD_REQUEST,
    message="$.labels: expected a list",
    retryable=False,
    details={"path": "$.labels", "expected": "a list"},
)
CARD = presence.ReplicaCard(
    zone="local",
    pool="ollama",
    replica="ollama-7c9f",
    provider="ollama",
    models=[presence.ModelCard(name="llama3.1:8b", capabilities=["classify", "summarize"])],
    slots=4,
    busy=1,
    draining=False,
    version="0.1.0",
    started_unix_ms=1_750_000_000_000,
    labels={"gpu": "l4"},
)
DEAD = results.DeadRecord(
    task="seq-1284",
    scope="default",
    capability="classify",
    error=ERROR,
    at_unix_ms=1_750_000_000_000,
    subject="scope.default.tasks.classify",
    headers={"Flotilla-Data-Class": "public"},
    body=b"\xff not json",
    data_class="restricted",
    attempts=[REPORT],
)


def _json(kind: Any) -> Decode:
    return msgspec.json.Decoder(kind).decode


APPROVAL = api_approvals.ApprovalEntry(
    id="0" * 32,
    digest="0" * 64,
    scope="acme",
    task="seq-7",
    step="report",
    index=3,
    capability="synthesize",
    data_class="internal",
    zones=["cloud", "local"],
    input_sha256="1" * 64,
    input_bytes=17,
    submitted_by="acme",
    group="privacy",
    created_unix_ms=1_750_000_000_000,
    expires_unix_ms=1_750_086_400_000,
    status="denied",
    decided_by="ann",
    decided_unix_ms=1_750_000_100_000,
    comment="names are left in it",
)
HANDLE = "abcdefghijklmnopqrstuvwx23"
MESSAGES: dict[str, tuple[Any, Decode]] = {
    # a task's input and output, where the local zone alone serves it
    "redact-input": (
        redaction.RedactInput(document="Dear Ann", language="en", case="2026-117", lifetime_s=3600),
        _json(redaction.RedactInput),
    ),
    "redact-output": (
        redaction.RedactOutput(
            document="Dear [PERSON_1_KQXRT]",
            vault=HANDLE,
            placeholders=[redaction.Placeholder(placeholder="[PERSON_1_KQXRT]", type="PERSON", count=1)],
            found=[redaction.Found(type="PERSON", count=1)],
            expires_unix_ms=1_750_000_060_000,
        ),
        _json(redaction.RedactOutput),
    ),
    "restore-input": (
        redaction.RestoreInput(document="Dear [PERSON_1_KQXRT]", vault=HANDLE),
        _json(redaction.RestoreInput),
    ),
    "restore-output": (
        redaction.RestoreOutput(document="Dear Ann", restored=1, unknown=["[PERSON_9_KQXRT]"], missing=[]),
        _json(redaction.RestoreOutput),
    ),
    "vault-input": (redaction.VaultInput(action="forget", vault=HANDLE), _json(redaction.VaultInput)),
    "vault-output": (
        redaction.VaultOutput(
            vaults=[
                redaction.VaultEntry(
                    vault=HANDLE, entries=1, created_unix_ms=1_750_000_000_000, expires_unix_ms=1_750_000_060_000
                )
            ]
        ),
        _json(redaction.VaultOutput),
    ),
    # orchestrator to a worker that has vaults
    "infer-request-of-a-scope": (
        attempts.InferRequest(
            task="seq-1284",
            attempt="o1.18",
            capability="restore",
            model="patterns-1",
            input=msgspec.Raw(b'{"document":"Hello","vault":"abcdefghijklmnopqrstuvwx23"}'),
            options=attempts.AttemptOptions(scope="default"),
            deadline_unix_ms=1_750_000_060_000,
            data_class="restricted",
        ),
        _json(attempts.InferRequest),
    ),
    "infer-request-under-a-redaction-policy": (
        attempts.InferRequest(
            task="seq-1285",
            attempt="o1.19",
            capability="redact",
            model="patterns-1",
            input=msgspec.Raw(b'{"document":"Hello"}'),
            options=attempts.AttemptOptions(
                scope="default", redaction=redaction.RedactionPolicy(off=["GROUP"], score_min={"PERSON": 0.5})
            ),
            deadline_unix_ms=1_750_000_060_000,
            data_class="restricted",
        ),
        _json(attempts.InferRequest),
    ),
    # orchestrator to worker
    "infer-request": (
        attempts.InferRequest(
            task="seq-1284",
            attempt="o1.17",
            capability="classify",
            model="llama3.1:8b",
            input=msgspec.Raw(b'{"document":"Hello","labels":["a","b"]}'),
            options=attempts.AttemptOptions(traceparent="00-0af7-b7ad-01", tracestate="a=b"),
            deadline_unix_ms=1_750_000_060_000,
            data_class="internal",
            stream=True,
        ),
        attempts.decode_request,
    ),
    "cancel-attempt": (attempts.CancelAttempt(attempt="o1.17"), attempts.decode_control),
    "drain": (attempts.Drain(), attempts.decode_control),
    "roll-call": (attempts.InFlightCheck(attempts=["o1.17", "o1.18"]), attempts.decode_control),
    "roll": (attempts.InFlightAnswer(replica="a-1", attempts=["o1.17"]), attempts.decode_in_flight_answer),
    # worker to orchestrator
    "busy": (attempts.Busy(), attempts.decode_reply),
    "accepted": (attempts.Accepted(replica="ollama-7c9f"), attempts.decode_reply),
    "progress": (attempts.Progress(), attempts.decode_reply),
    "piece": (attempts.Piece(seq=0, text="Grüße "), attempts.decode_reply),
    "finished": (
        attempts.Finished(
            output=msgspec.Raw(b'{"label":"a","confidence":0.93}'),
            usage=USAGE,
            provider="ollama",
            model="llama3.1:8b",
            timings=attempts.Timings(provider_ms=205.5, first_piece_ms=40.25),
            replica="ollama-7c9f",
        ),
        attempts.decode_reply,
    ),
    "failed": (
        attempts.Failed(
            kind=FailureKind.RATE_LIMITED,
            message="asked to wait",
            retry_after_s=1.5,
            replica="ollama-7c9f",
            usage=USAGE,
        ),
        attempts.decode_reply,
    ),
    "slot-free": (attempts.SlotFree(replica="ollama-7c9f", attempt="o1.17"), attempts.decode_slot_free),
    "replica-card": (CARD, presence.decode_card),
    "replica-card-with-a-price": (
        msgspec.structs.replace(CARD, price=presence.PriceCard(second_usd=0.0005)),
        presence.decode_card,
    ),
    # orchestrator to caller
    "result-ok": (
        results.Result(
            task="seq-1284",
            capability="classify",
            status="ok",
            output=msgspec.Raw(b'{"label":"a","confidence":0.93}'),
            provider="anthropic",
            model="m",
            zone="cloud",
            pool="anthropic",
            replica="anthropic-1",
            latency_ms=212.5,
            queued_ms=3.25,
            usage=USAGE,
            attempts=[REPORT, SECOND],
            labels={"batch": "night"},
        ),
        results.decode_result,
    ),
    "result-of-input": (
        results.Result(
            task="mail-1",
            capability="classify",
            status="failed",
            error=ERROR,
            input_sha256=results.input_digest(b'{"document":"Hello"}'),
        ),
        results.decode_result,
    ),
    "result-cached": (
        results.Result(
            task="seq-1285",
            capability="classify",
            status="ok",
            output=msgspec.Raw(b'{"label":"a","confidence":0.93}'),
            provider="anthropic",
            model="m",
            zone="cloud",
            pool="anthropic",
            latency_ms=1.5,
            queued_ms=1.5,
            cached=True,
            original_task="seq-1284",
            saved_usd=0.0005,
        ),
        results.decode_result,
    ),
    "result-failed": (
        results.Result(task="t", capability="classify", status="failed", error=ERROR, latency_ms=1.5, queued_ms=1.5),
        results.decode_result,
    ),
    "piece-to-caller": (results.PieceMessage(seq=3, text="Grüße "), results.decode_answer),
    "step-to-caller": (
        results.StepMessage(
            step="sides",
            capability="translate",
            status="succeeded",
            index=3,
            pool="claude",
            model="claude-haiku-4-5",
            zone="cloud",
            latency_ms=812.4,
        ),
        results.decode_answer,
    ),
    "step-to-caller-started": (
        results.StepMessage(step="sides", capability="translate", status="started"),
        results.decode_answer,
    ),
    "accepted-to-caller": (results.AcceptedMessage(task="ask-4f1c2a"), results.decode_accepted),
    "error-reply": (results.ErrorReply(error=ERROR), results.decode_answer),
    "event-queued": (
        results.Event(task="t", capability="classify", kind="queued", at_unix_ms=1_750_000_000_000),
        results.decode_event,
    ),
    "event-attempt-failed": (
        results.Event(
            task="t",
            capability="classify",
            kind="attempt_failed",
            at_unix_ms=1_750_000_000_000,
            pool="ollama",
            model="llama3.1:8b",
            replica="ollama-7c9f",
            error="rate_limited",
            latency_ms=209.5,
            cost_usd=0.5,
            labels={"batch": "night"},
        ),
        results.decode_event,
    ),
    "event-step-started": (
        results.Event(
            task="t",
            capability="letter",
            kind="step_started",
            at_unix_ms=1_750_000_000_000,
            step="german",
            needs=["short"],
        ),
        results.decode_event,
    ),
    "event-step-kept": (
        results.Event(
            task="t",
            capability="letter",
            kind="step_finished",
            at_unix_ms=1_750_000_000_000,
            step="german",
            needs=["short"],
            kept=True,
        ),
        results.decode_event,
    ),
    "event-shadow-compared": (
        results.Event(
            task="t",
            capability="classify",
            kind="shadow_compared",
            at_unix_ms=1_750_000_000_000,
            pool="candidate",
            model="m",
            replica="candidate-1",
            latency_ms=12.5,
            cost_usd=0.25,
            outcome="differed",
        ),
        results.decode_event,
    ),
    "finished-unpriced": (
        attempts.Finished(
            output=msgspec.Raw(b"{}"), usage=attempts.Usage(input_tokens=3, cost_usd=None), provider="p", model="m"
        ),
        attempts.decode_reply,
    ),
    "route-stats-unpriced": (
        stats.RouteStats(
            written_unix_ms=1_750_000_000_500,
            windows={1_750_000_000: stats.SubWindow(ok=2, unpriced=3, unpriced_ok=2)},
        ),
        stats.decode_stats,
    ),
    "dead-record": (DEAD, results.decode_dead),
    "route-stats": (
        stats.RouteStats(
            written_unix_ms=1_750_000_000_500,
            windows={1_750_000_000: stats.SubWindow(ok=2, failures={"lost": 1}, input_tokens=7, cost_nano_usd=9)},
            in_flight={17_500_000_000: 1},
            failed_in_a_row=1,
            last_failure_unix_ms=1_750_000_000_100,
            last_ok_unix_ms=1_750_000_000_050,
            last_started_unix_ms=1_750_000_000_200,
        ),
        stats.decode_stats,
    ),
    # questions and answers
    "api-result-query": (api.ResultQuery(task="t"), _json(api.ResultQuery)),
    "api-status-query": (api.StatusQuery(task="t"), _json(api.StatusQuery)),
    "api-status-query-needs": (api.StatusQuery(needs=True), _json(api.StatusQuery)),
    "api-cancel-query": (api.CancelQuery(task="t"), _json(api.CancelQuery)),
    "api-feedback-query": (
        experiments.FeedbackQuery(task="t", score=0.5, label="billing", scorer="judge"),
        _json(experiments.FeedbackQuery),
    ),
    "arms": (
        experiments.ArmsRecord(
            began_unix_ms=1_750_000_000_000,
            arms=[
                experiments.ArmTotals(
                    pool="ollama",
                    model="llama3.1:8b",
                    ok=2,
                    failed=1,
                    latency_ms=experiments.Moments(count=2, total=30.0, squares=500.0),
                )
            ],
        ),
        experiments.decode_arms,
    ),
    "score": (
        experiments.ScoreRecord(experiment="0123456789ab", pool="ollama", model="m", score=0.5, label="billing"),
        experiments.decode_score,
    ),
    "api-cancelled": (api.Cancelled(task="t", was="running"), _json(api.Cancelled)),
    "api-task-status": (
        api.TaskStatus(
            task="t",
            state="running",
            capability="classify",
            pool="ollama",
            model="m",
            replica="r",
            running_ms=12.5,
            error=None,
        ),
        _json(api.TaskStatus),
    ),
    "api-task-status-of-input": (
        api.TaskStatus(task="mail-1", state="waiting", input_sha256=results.input_digest(b'{"document":"Hello"}')),
        _json(api.TaskStatus),
    ),
    "api-task-status-failed": (
        api.TaskStatus(task="t", state="failed", capability="classify", error=ERROR),
        _json(api.TaskStatus),
    ),
    "api-replicas-reply": (api.ReplicasReply(replicas=[CARD]), _json(api.ReplicasReply)),
    "api-dead-query": (api.DeadQuery(verb="show", task="t", limit=7), _json(api.DeadQuery)),
    "api-dead-list": (
        api.DeadList(
            dead=[
                api.DeadEntry(task="t", capability="classify", error=ERROR, at_unix_ms=1_750_000_000_000, size_bytes=12)
            ]
        ),
        _json(api.DeadList),
    ),
    "api-discarded": (api.Discarded(task="t"), _json(api.Discarded)),
    "api-retried": (api.Retried(task="t", retried_as="t-r1a2b3c"), _json(api.Retried)),
    "api-approvals-query": (
        api_approvals.ApprovalsQuery(verb="show", id="0" * 32, limit=7),
        _json(api_approvals.ApprovalsQuery),
    ),
    "api-approval-list": (
        api_approvals.ApprovalList(approvals=[APPROVAL], waiting=1),
        _json(api_approvals.ApprovalList),
    ),
    "api-approval-shown": (
        api_approvals.ApprovalShown(approval=APPROVAL, payload=msgspec.Raw(b'{"document":"x"}')),
        _json(api_approvals.ApprovalShown),
    ),
    "api-decide-query": (
        api_approvals.DecideQuery(
            id="0" * 32, decision="grant", digest="0" * 64, comment="read it", grant="e30.c2ln", by="ann"
        ),
        _json(api_approvals.DecideQuery),
    ),
    "api-audit-list": (
        api_approvals.AuditList(
            audit=[
                api_approvals.AuditEntry(
                    at_unix_ms=1_750_000_100_000,
                    id="0" * 32,
                    digest="0" * 64,
                    scope="acme",
                    task="seq-7",
                    step="report",
                    index=3,
                    capability="synthesize",
                    data_class="internal",
                    zones=["cloud", "local"],
                    status="consumed",
                    who="ann",
                    who_as="UABC",
                    comment="read it",
                    signed=True,
                    consumed_by="SUSPENDED_acme 4",
                )
            ]
        ),
        _json(api_approvals.AuditList),
    ),
    "api-fleet-status-sealed": (
        api.FleetStatus(scope="acme", orchestrator="s1", pools=[], backlog=[], lane="sealed"),
        _json(api.FleetStatus),
    ),
    "api-fleet-status-stores-nothing": (
        api.FleetStatus(scope="default", orchestrator="o1", pools=[], backlog=[], stores_nothing=True),
        _json(api.FleetStatus),
    ),
    "api-fleet-status-needs": (
        api.FleetStatus(
            scope="default",
            orchestrator="o1",
            pools=[],
            backlog=[],
            needs=api.FleetNeeds(
                approvals_waiting=2,
                approvals_oldest_s=75.5,
                budgets=[
                    api_spend.BudgetStanding(
                        name="team", period="2026-11", usd_micros=10_000_000, used_usd_micros=8_125_000, mode="report"
                    )
                ],
            ),
        ),
        _json(api.FleetStatus),
    ),
    "api-fleet-status": (
        api.FleetStatus(
            scope="default",
            orchestrator="o1",
            pools=[
                api.PoolStatus(
                    zone="local",
                    pool="ollama",
                    provider="ollama",
                    replicas=2,
                    slots=8,
                    busy=1,
                    models=["llama3.1:8b"],
                    capabilities=["classify"],
                )
            ],
            backlog=[api.Backlog(capability="classify", high=1, normal=2, low=3)],
            dead=4,
            now_unix_ms=1_700_000_000_000,
        ),
        _json(api.FleetStatus),
    ),
}
"""By the name of its file: the message, and what decodes it."""


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_is_encoded_as_it_always_was(name: str):
    """
    The frozen bytes, to the last one.
    """
    message, _ = MESSAGES[name]

    assert (GOLDEN / f"{name}.json").read_bytes() == msgspec.json.encode(message)


@pytest.mark.parametrize("name", MESSAGES)
def test_the_frozen_bytes_decode_to_the_message(name: str):
    """
    And what is decoded encodes to the same bytes again.
    """
    message, decode = MESSAGES[name]
    frozen = (GOLDEN / f"{name}.json").read_bytes()

    decoded = decode(frozen)

    assert type(decoded) is type(message)
    assert msgspec.json.encode(decoded) == frozen


@pytest.mark.parametrize("name", MESSAGES)
def test_fields_of_a_newer_sender_are_ignored(name: str):
    """
    At the top and inside: changes only add.
    """
    message, decode = MESSAGES[name]
    frozen = (GOLDEN / f"{name}.json").read_bytes()
    newer = json.dumps(_with_more(json.loads(frozen)), separators=(",", ":"), ensure_ascii=False).encode()
    assert newer != frozen

    decoded = decode(newer)

    assert type(decoded) is type(message)
    if not _holds_raw(message):
        assert msgspec.json.encode(decoded) == frozen


@pytest.mark.parametrize("name", ["infer-request", "busy", "accepted", "finished", "failed", "cancel-attempt"])
def test_the_type_comes_first(name: str):
    """
    A reader may decide by the first field alone.
    """
    assert (GOLDEN / f"{name}.json").read_bytes().startswith(b'{"type":"')


def test_every_frozen_file_has_its_message():
    """
    Nothing in the folder is left untested.
    """
    assert {path.stem for path in GOLDEN.glob("*.json")} == {*MESSAGES, "subjects", "headers", "error-kinds"}


def test_subjects_streams_and_keys_are_what_they_always_were():
    """
    Credentials, consumers and other languages' clients are made for these.
    """
    found = {
        "tasks": subjects.tasks("acme", "classify"),
        "tasks high": subjects.tasks("acme", "classify", "high"),
        "tasks low": subjects.tasks("acme", "classify", "low"),
        "ask": subjects.ask("acme", "classify"),
        "results": subjects.results("acme", "classify", "seq-1"),
        "events": subjects.events("acme", "classify", "queued"),
        "api": subjects.api("acme", "status"),
        "dead": subjects.dead("acme", "classify", "seq-1"),
        "infer": subjects.infer("cloud", "anthropic", "classify"),
        "infer free": subjects.infer_free("cloud", "anthropic"),
        "infer control": subjects.infer_control("cloud", "anthropic", "a-1"),
        "heartbeat": subjects.heartbeat("cloud", "anthropic", "a-1"),
        "attempt inbox": subjects.attempt_inbox("cloud", "anthropic", "o1"),
        "tasks stream": subjects.tasks_stream("acme"),
        "results stream": subjects.results_stream("acme"),
        "consumer": subjects.consumer("classify", "high"),
        "presence": subjects.key("presence", subjects.presence_key("cloud", "anthropic", "a-1")),
        "stats": subjects.key("stats", stats.stats_key(stats.RouteKey("ollama", "llama3.1:8b", "classify"), "o1")),
        "policy": subjects.key(subjects.POLICY_BUCKET, "routing"),
    }

    assert json.loads((GOLDEN / "subjects.json").read_bytes()) == found


def test_header_names_are_what_they_always_were():
    """
    A header that is renamed is an option that is silently lost, or a task that is refused.
    """
    found = [
        headers.TASK_ID,
        headers.DEADLINE_MS,
        headers.DATA_CLASS,
        headers.ROUTE,
        headers.STREAM,
        headers.STICKY,
        headers.CACHE,
        headers.APPROVAL,
        headers.RESUME,
        headers.LABEL_PREFIX,
        headers.TRACEPARENT,
        headers.TRACESTATE,
        headers.ERROR_CODE,
        headers.ERROR_TEXT,
        headers.EVENT_TASK,
    ]

    assert json.loads((GOLDEN / "headers.json").read_bytes()) == found


def test_error_kinds_keep_their_codes():
    """
    Callers decide by the kind, gateways by the code.
    """
    found = {kind.value: [kind.code, kind.retryable] for kind in ErrorKind}

    assert json.loads((GOLDEN / "error-kinds.json").read_bytes()) == found


def _with_more(value: Any, *, is_open: bool = False) -> Any:
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        grown = {key: _with_more(each, is_open=key in _OPEN) for key, each in fields.items()}
        return grown if is_open else {**grown, "added_by_a_newer_sender": [1]}
    if isinstance(value, list):
        return [_with_more(each) for each in cast("list[Any]", value)]
    return value


_OPEN = frozenset(
    {"labels", "headers", "details", "windows", "failures", "latency", "in_flight", "input", "output", "score_min"}
)
"""Fields whose keys are data: there, one more is one more."""


def _holds_raw(message: Any) -> bool:
    return any(isinstance(getattr(message, name, None), msgspec.Raw) for name in ("input", "output", "payload"))
