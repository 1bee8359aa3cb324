"""What of a dead-letter record is sent again: what a task is understood by, where it was published, and nothing else."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from flotilla.contracts.errors import BadRequestError
from flotilla.contracts.failures import ErrorBody, ErrorKind
from flotilla.contracts.header_block import read_block
from flotilla.contracts.headers import is_ours, parse_headers
from flotilla.contracts.redaction import LOCAL_CAPABILITIES
from flotilla.contracts.results import DeadRecord, Result
from flotilla.fabric.stored import StoredMessage
from flotilla.fabric.subject_guard import header_block
from orchestrator.ways_in.dead_records import dead_record, headers_to_retry, subject_to_retry

ORDERS = {
    "Nats-Trace-Dest": "$KV.policy.routing",
    "Nats-Trace-Only": "true",
    "Nats-Rollup": "all",
    "Nats-TTL": "1s",
    "Nats-Expected-Last-Sequence": "0",
    "Nats-Schedule": "@at 2030-01-01T00:00:00Z",
    "Nats-Incr": "1",
    "Nats-Batch-Id": "a",
    "KV-Operation": "DEL",
    "Nats-Request-Info": "{}",
    "Status": "503",
    "baggage": "a=1",
    "X-Foreign": "1",
}
"""To the server, to readers of buckets, and of others."""


def record(headers: dict[str, str], subject: str = "scope.acme.tasks.classify") -> DeadRecord:
    """A record with these headers."""
    return DeadRecord(
        task="t",
        scope="acme",
        capability="classify",
        error=ErrorBody(kind=ErrorKind.BAD_REQUEST, message="no"),
        at_unix_ms=0,
        subject=subject,
        headers=headers,
        body=b"{}",
    )


def test_no_order_to_the_server_is_sent_again():
    """
    An orchestrator has more rights than the caller had.
    """
    mine = {"Flotilla-Data-Class": "restricted", "Flotilla-Label-Team": "blue", "traceparent": "00-1-2-01"}

    assert headers_to_retry(record({**ORDERS, "Nats-Msg-Id": "old", **mine})) == mine


@pytest.mark.parametrize(
    "headers",
    [
        {"Flotilla-Label-a b": "1"},
        {"Flotilla-Label-a\r\nNats-Trace-Dest": "x"},
        {"Flotilla-Label-\u00fc": "1"},
        {"Flotilla-Label-(a)": "1"},
        {"Flotilla-Label-a": "1\r\nNats-Trace-Dest: x"},
        {"Flotilla-Label-a": " 1"},
        {"Flotilla-Label-a": "1\u2028"},
        {"Flotilla-Data-Class": "secret"},
        {"Flotilla-Data-Class": "restricted", "flotilla-data-class": "public"},
        {"X-Flotilla-Data-Class": "restricted"},
        {"Flotilla-Dataclass": "restricted"},
        {"Flotilla-Label-a": "\ud800"},
        {"Flotilla-Label-a": "\x85"},
        {"Flotilla-Label-:a": "1"},
        {"tracestate": "a\tb"},
        {"traceparent": "\r"},
    ],
)
def test_a_record_whose_headers_cannot_be_sent_again_is_not_retried(headers: dict[str, str]):
    """
    Without one of them it would be another task.
    """
    with pytest.raises(BadRequestError):
        headers_to_retry(record(headers))


@given(
    st.dictionaries(
        st.text(max_size=30) | st.sampled_from([*ORDERS, "tracestate", "Traceparent", "Flotilla-Sticky"]),
        st.text(max_size=30) | st.text().map(lambda text: text * 3_000),
        max_size=8,
    )
)
def test_whatever_a_record_holds_only_well_formed_options_go_out(headers: dict[str, str]):
    """
    No line break, no space around, no name that is not ours.
    """
    try:
        sent = headers_to_retry(record(headers))
    except BadRequestError:
        return
    assert dict(read_block(header_block(sent))) == sent
    for name, value in sent.items():
        assert is_ours(name.lower())
        assert name.isascii()
        assert not set(name) & set(string.whitespace)
        assert value == value.strip()
        assert value.isprintable() or not value.isascii()


@pytest.mark.parametrize("name", ["tracestate", "TraceState", "traceparent"])
def test_a_trace_header_of_any_length_is_sent_as_far_as_it_was_understood(name: str):
    """
    No caller writes one that long, and the task is the same without the rest.
    """
    given = "k=" + "v" * 20_000
    options = parse_headers({name: given})

    sent = headers_to_retry(record({name: given}))

    assert len(sent[name]) < 1_000
    assert parse_headers(sent) == options


@pytest.mark.parametrize(
    "subject",
    [
        "scope.other.tasks.classify",
        "$KV.policy.routing",
        "commit.acme.classify.t1",
        "scope.acme.results.classify.t1",
        "scope.acme.tasks.",
        "scope.acme.tasks",
        "scope.acme.tasks.>",
        "scope.acme.tasks.a.*",
        "scope.acme.tasks.a..b",
        "scope.acme.tasks.a b",
        "scope.acme.tasks.a\ufffd",
        "scope.acme.tasks.a\x85",
        "scope.acme.tasks." + "a" * 2_000,
        "scope.acme.tasks.a\r\nPUB x 0\r\n",
        "",
    ],
)
def test_a_retry_goes_to_no_other_place_than_the_task_stream_of_its_scope(subject: str):
    """
    The record names its subject, and whoever could write one would publish with the orchestrator's rights.
    """
    with pytest.raises(BadRequestError):
        subject_to_retry(record({}, subject), "acme")


@pytest.mark.parametrize("rest", ["classify", "classify.high", "a.b.c"])
def test_a_retry_goes_where_the_task_was_published(rest: str):
    """
    Also a misspelt one: it fails again, as what it is.
    """
    subject = f"scope.acme.tasks.{rest}"

    assert subject_to_retry(record({}, subject), "acme") == subject


@pytest.mark.parametrize("capability", [*LOCAL_CAPABILITIES, "classify"])
def test_a_document_that_was_to_be_redacted_is_not_kept(capability: str):
    """
    A dead letter is read by people and kept for a month; how long the input was is all that it says.
    """
    error = ErrorBody(kind=ErrorKind.PROVIDER_FAILED, message="no")
    result = Result(task="t", capability=capability, status="failed", error=error, latency_ms=1.0)
    message = StoredMessage(subject="s", sequence=1, stored_unix_ms=0, headers={}, body=b'{"document":"Ann"}')

    made = dead_record("acme", message, result, error, "restricted")

    if capability in LOCAL_CAPABILITIES:
        assert (b"", len(message.body)) == (made.body, made.body_dropped_bytes)
    else:
        assert (message.body, UNSET) == (made.body, made.body_dropped_bytes)
    sealed = dead_record("acme", message, result, error, "restricted", sealed=True)
    assert (message.body, UNSET) == (sealed.body, sealed.body_dropped_bytes)
