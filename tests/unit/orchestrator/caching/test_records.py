"""What stands in the bucket is checked like anything from outside, and only what went well is written there."""

import json
from typing import Any

import msgspec
import pytest

from flotilla.contracts.attempts import Usage
from flotilla.contracts.errors import DecodeFailedError
from flotilla.contracts.results import AttemptReport, Result
from orchestrator.caching.records import (
    OUTPUT_BYTES_MAX,
    RECORD_BYTES_MAX,
    Claim,
    KeptAnswer,
    answer_of,
    decode_record,
    encode_record,
    will_do,
)

KEY = "ab" * 32
ANSWER = KeptAnswer(
    key=KEY,
    task="t",
    capability="summarize",
    output=msgspec.Raw(b'{"summary":"s"}'),
    provider="openai",
    model="m",
    zone="cloud",
    pool="openai",
    cost_usd=0.5,
    made_unix_ms=1_000,
)
OK = AttemptReport(pool="p", model="m", outcome="ok", latency_ms=1.0, reason="r")
MAKESHIFT = "first of the cascade; confidence 0.4 is below 0.7, and no route behind it answered"
RESULT = Result(
    task="t",
    capability="summarize",
    status="ok",
    output=ANSWER.output,
    provider="openai",
    model="m",
    zone="cloud",
    pool="openai",
    usage=Usage(cost_usd=0.5),
    attempts=[OK],
)


def test_records_come_back_as_they_were():
    """
    Answers and claims.
    """
    claim = Claim(key=KEY, orchestrator="o1", renewed=3)

    assert ANSWER == decode_record(encode_record(ANSWER), key=KEY, capability="summarize")
    assert claim == decode_record(encode_record(claim), key=KEY, capability="summarize")


@pytest.mark.parametrize(
    "change",
    [
        {"key": "cd" * 32},
        {"capability": "classify"},
        {"task": "a.b"},
        {"task": "x" * 65},
        {"model": "\x1b[2J"},
        {"zone": "moon"},
        {"cost_usd": -1},
        {"cost_usd": 1e9},
        {"made_unix_ms": -1},
        {"type": "another"},
        {"output": "x" * RECORD_BYTES_MAX},
        {"output": "deep"},
    ],
    ids=lambda change: str(change)[:40],
)
def test_what_is_no_record_of_this_key_is_refused(change: dict[str, Any]):
    """
    And the error repeats nothing of it.
    """
    given = json.loads(encode_record(ANSWER)) | change
    body = json.dumps(given).encode()
    body = body.replace(b'"deep"', b"[" * 200 + b"]" * 200)

    with pytest.raises(DecodeFailedError) as refused:
        decode_record(body, key=KEY, capability="summarize")

    assert "moon" not in str(refused.value)


@pytest.mark.parametrize("body", [b"", b"null", b"\xff", b"{}", b'{"type":"answer"}', b"x" * (RECORD_BYTES_MAX + 1)])
def test_what_is_nothing_at_all_is_refused(body: bytes):
    """
    Whatever it is.
    """
    with pytest.raises(DecodeFailedError):
        decode_record(body, key=KEY, capability="summarize")


@pytest.mark.parametrize(
    ("now_unix_ms", "fresh"), [(1_000, True), (5_999, True), (6_000, False), (-58_000, True), (-60_000, False)]
)
def test_an_answer_will_do_for_the_time_of_whoever_wants_it(now_unix_ms: int, fresh: bool):  # noqa: FBT001
    """
    And clocks are not apart by more than a minute.
    """
    assert fresh is will_do(ANSWER, ttl_s=5, now_unix_ms=now_unix_ms)


def test_a_good_result_has_an_answer():
    """
    With what it cost, and who gave it.
    """
    assert ANSWER == answer_of(RESULT, KEY, 1_000)


@pytest.mark.parametrize(
    "change",
    [
        {"status": "failed"},
        {"output": msgspec.UNSET},
        {"attempts": [msgspec.structs.replace(OK, reason=MAKESHIFT), msgspec.structs.replace(OK, outcome="refused")]},
        {"output": msgspec.Raw(b'"' + b"x" * OUTPUT_BYTES_MAX + b'"')},
    ],
    ids=["failed", "without an output", "not sure enough", "too large"],
)
def test_other_results_have_none(change: dict[str, Any]):
    """
    Failures above all.
    """
    assert answer_of(msgspec.structs.replace(RESULT, **change), KEY, 1_000) is None
