"""The decoders of the fleet's own messages: any bytes are a message or a DecodeFailedError, and nothing is quoted."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flotilla.contracts.attempts import (
    Failed,
    Finished,
    InferRequest,
    Piece,
    Usage,
    decode_control,
    decode_reply,
    decode_request,
    decode_slot_free,
    encode,
)
from flotilla.contracts.decoding import REASON_LENGTH_MAX
from flotilla.contracts.errors import DecodeFailedError
from flotilla.contracts.failures import FailureKind
from flotilla.contracts.presence import decode_card
from flotilla.contracts.results import decode_answer, decode_dead, decode_event, decode_result
from flotilla.contracts.stats import decode_stats

DECODERS: tuple[Callable[[bytes], Any], ...] = (
    decode_request,
    decode_reply,
    decode_control,
    decode_slot_free,
    decode_card,
    decode_result,
    decode_answer,
    decode_event,
    decode_dead,
    decode_stats,
)
MARK = "Zaphod-Beeblebrox"
TAGS = ["infer", "busy", "accepted", "progress", "piece", "finished", "failed", "cancel", "drain", MARK]
KEYS = [
    "type",
    "task",
    "attempt",
    "kind",
    "message",
    "output",
    "seq",
    "text",
    "status",
    "error",
    "replica",
    "usage",
    MARK,
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | st.just(MARK),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=12,
)


def _like_a_message(tag: str, fields: dict[str, Any]) -> bytes:
    return json.dumps({"type": tag, **fields}).encode()


LIKE_A_MESSAGE = st.builds(
    _like_a_message, st.sampled_from(TAGS), st.dictionaries(st.sampled_from(KEYS[1:]), JSON, max_size=8)
)
ANY_BYTES = st.one_of(st.binary(max_size=200), JSON.map(lambda value: json.dumps(value).encode()), LIKE_A_MESSAGE)


@pytest.mark.parametrize("decode", DECODERS, ids=lambda decode: decode.__name__)
@given(body=ANY_BYTES)
def test_any_bytes_are_a_message_or_refused(decode: Callable[[bytes], Any], body: bytes):
    """
    Whatever a broken or hostile member sends, one kind of exception comes out, and the sender's text is not in it.
    """
    said = ""
    try:
        decode(body)
    except DecodeFailedError as error:
        said = str(error)
    assert MARK not in said
    assert len(said) < REASON_LENGTH_MAX + 100


@pytest.mark.parametrize(
    # Of statistics every field has a default, so that an object of unknown fields is a value without content.
    "decode",
    [decode for decode in DECODERS if decode is not decode_stats],
    ids=lambda decode: decode.__name__,
)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"type":"\xff"}',
        b'{"type":"finished","output":' + b"[" * 100_000,
        b'{"type":"' + MARK.encode() + b'"}',
        b"\xef\xbb\xbf{}",
        b'{"task":"\xc3(","status":"ok"}',
    ],
    ids=lambda body: body[:24].decode("latin-1"),
)
def test_the_usual_suspects_are_refused(decode: Callable[[bytes], Any], body: bytes):
    """
    Nothing, half of something, other encodings, and nesting that would exhaust the stack.
    """
    with pytest.raises(DecodeFailedError) as refused:
        decode(body)
    assert MARK not in str(refused.value)


TEXT = st.text(max_size=40)
WORD = st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=40)
NAME = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,20}", fullmatch=True)
NUMBER = st.floats(min_value=0, max_value=1e4, allow_nan=False)
COUNT = st.integers(min_value=0, max_value=2**31)
USAGE = st.builds(Usage, input_tokens=COUNT, output_tokens=COUNT, cost_usd=st.none() | NUMBER)
REPLIES = st.one_of(
    st.builds(Piece, seq=COUNT, text=TEXT),
    st.builds(Failed, kind=st.sampled_from(FailureKind), message=WORD, retry_after_s=st.none() | NUMBER, usage=USAGE),
    st.builds(
        Finished,
        output=JSON.map(lambda value: msgspec.Raw(msgspec.json.encode(value))),
        provider=WORD,
        model=WORD,
        usage=USAGE,
        replica=NAME | st.just(""),
    ),
)


@given(REPLIES)
def test_a_reply_survives_the_wire(reply: Piece | Failed | Finished):
    """
    Any text, any number, any output.
    """
    assert decode_reply(encode(reply)) == reply


@given(JSON.map(msgspec.json.encode), WORD, NAME)
def test_a_caller_s_bytes_reach_the_worker_as_they_are(body: bytes, task: str, capability: str):
    """
    The input is not decoded and encoded again on its way.
    """
    request = InferRequest(
        task=task,
        attempt="o1.1",
        capability=capability,
        model="",
        input=msgspec.Raw(body),
        deadline_unix_ms=1,
        data_class="internal",
    )

    decoded = decode_request(encode(request))

    assert bytes(decoded.input) == body
    assert (decoded.task, decoded.capability) == (task, capability)
