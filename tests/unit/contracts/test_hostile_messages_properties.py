"""
Whatever a worker, a tenant or a store sends, what decodes is safe to use as it is.

Messages are made from valid ones: any part is replaced by what breaks things elsewhere. Most do not decode. What does is
put where the fleet puts it: in subjects and keys, headers, metric labels, log lines and sums, and is sent again.
"""

import json
import math
import string
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from flotilla.chassis.metrics import Counter, registry_of
from flotilla.contracts import api, api_routing, attempts, blackboard, policy, presence, results, stats, subjects
from flotilla.contracts.decoding import DEPTH_MAX, checked
from flotilla.contracts.failures import ErrorBody
from flotilla.testkit.examples import examples
from flotilla.testkit.hostile_json import Decode, Json, broken_once, check_safe, compact, decoded, near, query

ERROR: Final = {
    "kind": "internal",
    "message": "m",
    "retryable": True,
    "details": {"retry_after_s": 1.5, "known": ["a"]},
}
USAGE: Final = {"input_tokens": 311, "output_tokens": 9, "cost_usd": 0.0125}
REPORT: Final = {"pool": "p", "model": "m", "outcome": "ok", "latency_ms": 1.5, "reason": "first", "replica": "r-1"}
FINISHED: Final = {
    "type": "finished",
    "output": {"label": "a"},
    "usage": USAGE,
    "provider": "openai",
    "model": "llama3.1:8b",
    "timings": {"provider_ms": 1.5, "first_piece_ms": 0.5},
    "replica": "worker-1",
}
FAILED: Final = {
    "type": "failed",
    "kind": "rate_limited",
    "message": "wait",
    "retry_after_s": 1.5,
    "replica": "worker-1",
    "usage": USAGE,
}
RESULT: Final = {
    "task": "seq-1",
    "capability": "classify",
    "status": "ok",
    "output": [1],
    "provider": "p",
    "model": "m",
    "zone": "local",
    "pool": "p",
    "replica": "r-1",
    "latency_ms": 1.5,
    "queued_ms": 0.5,
    "usage": USAGE,
    "attempts": [REPORT],
    "labels": {"team": "a"},
}
EVENT: Final = {
    "task": "t",
    "capability": "classify",
    "kind": "queued",
    "at_unix_ms": 1_750_000_000_000,
    "pool": "p",
    "model": "m",
    "replica": "r-1",
    "error": "lost",
    "latency_ms": 1.5,
    "cost_usd": 0.5,
    "labels": {"a": "b"},
}
DEAD: Final = {
    "task": "t",
    "scope": "default",
    "capability": "classify",
    "error": ERROR,
    "at_unix_ms": 1_750_000_000_000,
    "subject": "scope.default.tasks.classify",
    "headers": {"A": "b"},
    "body": "e30=",
    "data_class": "public",
    "attempts": [REPORT],
    "body_dropped_bytes": 7,
}
CARD: Final = {
    "zone": "cloud",
    "pool": "p",
    "replica": "r-1",
    "provider": "ollama",
    "slots": 4,
    "busy": 1,
    "draining": False,
    "models": [{"name": "llama3.1:8b", "capabilities": ["classify", "chat"]}],
    "version": "0.1.0",
    "started_unix_ms": 1_750_000_000_000,
    "labels": {"gpu": "l4"},
}
WINDOW: Final = {
    "ok": 2,
    "failures": {"lost": 1},
    "deferred": 1,
    "cancelled": 1,
    "latency": {"7": 2},
    "first_piece": {"3": 1},
    "abandoned": {"9": 1},
    "input_tokens": 7,
    "output_tokens": 8,
    "cost_nano_usd": 9,
}
STATS: Final = {
    "format": 1,
    "written_unix_ms": 1_750_000_000_500,
    "windows": {"1750000000": WINDOW},
    "failed_in_a_row": 1,
    "in_flight": {"17500000000": 1},
    "last_failure_unix_ms": 1,
    "last_ok_unix_ms": 2,
    "last_started_unix_ms": 3,
    "retry_after_until_unix_ms": 4,
}
POLICY: Final = {
    "format": 1,
    "default": {"routes": [{"pool": "a", "model": "m", "weight": 1.5, "cost_usd_hint": 0.1}], "strategy": "split"},
    "capabilities": {"classify": {"guards": {"p95_ms": 100.0}, "pool_labels": {"a": "b"}, "task_labels": ["t"]}},
    "scopes": {"acme": {"data_class": "restricted"}},
    "breaker": {"failures_in_a_row": 3, "open_s": 1.0, "open_max_s": 2.0},
}
INFER: Final = {
    "type": "infer",
    "task": "t",
    "attempt": "o1.17",
    "capability": "classify",
    "model": "m",
    "input": {"a": 1},
    "options": {"traceparent": "00-0af7-b7ad-01", "tracestate": "a=b"},
    "deadline_unix_ms": 1_750_000_060_000,
    "data_class": "internal",
    "stream": True,
}


MESSAGES: Final[dict[str, tuple[Json, Decode]]] = {
    "infer": (INFER, attempts.decode_request),
    "accepted": ({"type": "accepted", "replica": "worker-1"}, attempts.decode_reply),
    "piece": ({"type": "piece", "seq": 0, "text": "Grüße "}, attempts.decode_reply),
    "finished": (FINISHED, attempts.decode_reply),
    "failed": (FAILED, attempts.decode_reply),
    "cancel attempt": ({"type": "cancel", "attempt": "o1.17"}, attempts.decode_control),
    "roll call": ({"type": "roll_call", "attempts": ["o1.17"]}, attempts.decode_control),
    "roll": ({"replica": "worker-1", "attempts": ["o1.17"]}, attempts.decode_in_flight_answer),
    "slot free": ({"replica": "worker-1", "attempt": "o1.17"}, attempts.decode_slot_free),
    "card": (CARD, presence.decode_card),
    "result": (RESULT, results.decode_result),
    "failed result": ({**RESULT, "status": "failed", "error": ERROR}, results.decode_result),
    "answer": (RESULT, results.decode_answer),
    "error reply": ({"error": ERROR}, results.decode_answer),
    "piece to the caller": ({"type": "piece", "seq": 3, "text": "a"}, results.decode_answer),
    "event": (EVENT, results.decode_event),
    "dead record": (DEAD, results.decode_dead),
    "stats": (STATS, stats.decode_stats),
    "policy": (POLICY, policy.decode_policy),
    "stored value": (
        {"value": [1], "author": "a", "at_unix_ms": 1, "expires_unix_ms": 2},
        blackboard.decode_value,
    ),
    "blackboard query": (
        {
            "verb": "set",
            "key": "a.b",
            "pattern": "a.*",
            "value": 1,
            "revision": 1,
            "author": "a",
            "ttl_s": 5,
            "wait_ms": 9,
        },
        query(blackboard.BlackboardQuery),
    ),
    "result query": ({"task": "t"}, query(api.ResultQuery)),
    "dead query": ({"verb": "show", "task": "t", "limit": 7}, query(api.DeadQuery)),
    "explain query": (
        {"capability": "classify", "pool": "p", "model": "m", "sticky": "s", "labels": {"a": "b"}, "input_bytes": 9},
        query(api_routing.ExplainQuery),
    ),
    "policy query": (
        {"verb": "set", "toml": "", "revision": 1, "expected_revision": 0, "author": "a"},
        query(api_routing.PolicyQuery),
    ),
}

FREE: Final = {
    *{("Piece", "text"), ("PieceMessage", "text"), ("ErrorBody", "message"), ("ErrorBody", "details")},
    *{("Result", "labels"), ("Event", "labels"), ("ExplainQuery", "labels"), ("ExplainQuery", "sticky")},
    *{("DeadRecord", "headers"), ("DeadRecord", "subject"), ("PolicyQuery", "toml")},
    *{("CapabilityPolicy", "pool_labels"), ("CapabilityPolicy", "task_labels")},
    # For logs and traces.
    ("InferRequest", "task"),
    # What a caller's trace is called; it is handed on as a header, and asked of the guard there.
    *{("AttemptOptions", "traceparent"), ("AttemptOptions", "tracestate")},
}
"""Texts that are somebody's own and go nowhere but back, into JSON."""


@pytest.mark.parametrize("name", MESSAGES)
def test_the_messages_that_are_changed_here_are_valid(name: str):
    """
    Else nothing would be tested.
    """
    value, decode = MESSAGES[name]

    assert decoded(decode, compact(value)) is not None


@pytest.mark.parametrize("name", MESSAGES)
@settings(max_examples=examples(40))
@given(data=st.data())
def test_what_decodes_is_safe_where_it_is_put(name: str, data: st.DataObject):
    """
    Texts that are not somebody's own are one printable line, and as many tokens of a subject as they stand for; numbers
    are finite and leave room for sums; and the message can be sent again.
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


def _is_safe(decode: Decode, body: bytes) -> None:
    message = decoded(decode, body)
    if message is None:
        return
    check_safe(message, free=FREE, signed=SIGNED, subjects=_subjects(message), headers=_headers(message))
    assert decoded(decode, msgspec.json.encode(message)) == message


SIGNED: Final = frozenset({"latency_ms", "queued_ms"})


def _subjects(message: Any) -> Iterator[tuple[str, int]]:
    """
    The subjects and keys that the fleet makes of a message, and of how many tokens they are.
    """
    for model in getattr(message, "models", ()):
        yield stats.stats_key(stats.RouteKey("p", model.name, "c"), "o"), 4
        for capability in model.capabilities:
            yield subjects.infer("local", message.pool, capability), 4
            yield subjects.consumer(capability, "high"), 1
    for field, made in _SUBJECTS.items():
        text = getattr(message, field, None)
        if isinstance(text, str) and text and (type(message).__name__, field) not in FREE:
            subject = made(text)
            yield subject, len(made("x").split("."))
    if isinstance(message, blackboard.BlackboardQuery) and message.key is not None:
        yield subjects.key("blackboard", f"default.{message.key}"), 3 + len(message.key.split("."))
    if isinstance(message, policy.Policy):
        for capability in message.capabilities:
            yield subjects.infer("local", "p", capability), 4
        for scope in message.scopes:
            yield subjects.ask(scope, "c"), 4


_SUBJECTS: Final[dict[str, Callable[[str], str]]] = {
    "replica": lambda replica: subjects.infer_control("cloud", "p", replica),
    "pool": lambda pool: subjects.infer_free("cloud", pool),
    "model": lambda model: stats.stats_key(stats.RouteKey("p", model, "c"), "o"),
    "scope": lambda scope: subjects.dead(scope, "c", "t"),
    "task": lambda task: subjects.commit("default", "c", task),
}
"""What is made of a field of that name, whatever message it is in."""


def _headers(message: Any) -> Iterator[tuple[str, str]]:
    for field in ("task", "attempt", "replica", "model", "provider", "pool", "capability", "author"):
        value = getattr(message, field, None)
        if isinstance(value, str):
            yield f"Flotilla-{string.capwords(field)}", value
    error = getattr(message, "error", None)
    if isinstance(error, ErrorBody):
        yield "Nats-Service-Error", error.kind.value


@settings(max_examples=examples(150))
@given(cards=st.lists(near(CARD), max_size=4), words=st.lists(near(FINISHED) | near(FAILED), max_size=4))
def test_what_decodes_is_safe_in_metrics(cards: list[bytes], words: list[bytes]):
    """
    A scrape is read as it was counted: each series once, each value a number.
    """
    tokens = Counter("tokens_total", "x", ("pool", "model", "replica"))
    cost = Counter("cost_usd_total", "x", ("pool", "model", "replica"))
    expected: dict[tuple[str, ...], float] = {}
    for body in cards:
        card: presence.ReplicaCard | None = decoded(presence.decode_card, body)
        if card is None:
            continue
        for model in card.models:
            labels = (card.pool, model.name, card.replica)
            tokens.add(labels, card.slots)
            expected[labels] = expected.get(labels, 0) + card.slots
    for body in words:
        word = decoded(attempts.decode_reply, body)
        if isinstance(word, attempts.Finished | attempts.Failed):
            labels = ("p", getattr(word, "model", ""), word.replica)
            tokens.add(labels, word.usage.input_tokens)
            cost.add(labels, word.usage.cost_usd or 0.0)
            expected[labels] = expected.get(labels, 0) + word.usage.input_tokens

    text = generate_latest(registry_of(tokens, cost)).decode()

    read = {
        (sample.labels["pool"], sample.labels["model"], sample.labels["replica"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "tokens_total"
    }
    assert read == expected


@settings(max_examples=examples(150))
@given(words=st.lists(near(FINISHED), max_size=5), times=st.sampled_from([1, 50, 2_000]))
def test_sums_of_what_decodes_can_be_read_again(words: list[bytes], times: int):
    """
    However often an attempt is repeated, its task's result has a usage that is one.
    """
    total = attempts.Usage()
    for body in words:
        word = decoded(attempts.decode_reply, body)
        if isinstance(word, attempts.Finished):
            for _ in range(times):
                total += word.usage

    result = results.Result(task="t", capability="c", status="ok", usage=total)

    assert results.decode_result(results.encode(result)).usage == total


@settings(max_examples=examples(100))
@given(values=st.lists(near(STATS), max_size=6))
def test_sums_of_stats_can_be_sent(values: list[bytes]):
    """
    Every writer's window put together is a window.
    """
    merged = stats.EMPTY
    for body in values:
        value = decoded(stats.decode_stats, body)
        if value is not None:
            for _ in range(100):
                merged = stats.merge(merged, value)

    assert math.isfinite(merged.total.cost_usd)
    stats.encode_stats(merged)


@given(
    depth=st.integers(DEPTH_MAX - 3, DEPTH_MAX + 3), width=st.integers(1, 40), text=st.text(max_size=6), data=st.data()
)
def test_only_what_is_nested_too_deeply_is_refused_as_that(depth: int, width: int, text: str, data: st.DataObject):
    """
    Brackets in strings, escaped quotes and empty strings do not count.
    """
    text = data.draw(st.sampled_from([text, "[" * 200, "]" * 7 + '"', "\\", '\\"[', '"', ""]))
    body = json.dumps([text] * width).encode()
    around = (json.dumps([text, 0, "", [], {}]), json.dumps({f"{text}k": 0, "b": ["", text, []]}))
    for level in range(depth - 1):
        before, _, after = around[level % 2].rpartition(" 0,")
        body = before.encode() + body + b"," + after.encode()
    json.loads(body)

    if depth <= DEPTH_MAX:
        assert checked(body) is body
    else:
        with pytest.raises(RecursionError):
            checked(body)


@pytest.mark.parametrize("body", [b'"\xff"', b'{"\xed\xa0\x80":1}', b'["\xc0\x80"]'])
def test_what_is_passed_over_is_utf_8_too(body: bytes):
    """
    Else who decodes it later could not.
    """
    with pytest.raises(UnicodeDecodeError):
        checked(body)
