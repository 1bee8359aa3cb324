"""How long a message may take whoever decodes it: no hundred times as long as others of its length."""

import json
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from flotilla.capabilities.built_in import BuiltInCapability
from flotilla.capabilities.errors import AttemptError
from flotilla.capabilities.json_schema import JsonSchema
from flotilla.capabilities.user_defined import open_capability
from flotilla.contracts import header_names
from flotilla.contracts.approvals import payload_digest
from flotilla.contracts.attempts import SLOT_FREE_BYTES_MAX, decode_slot_free
from flotilla.contracts.decoding import (
    DEPTH_MAX,
    FAR_NUMBERS_MAX,
    FarNumbersError,
    checked,
    with_readable_numbers,
)
from flotilla.contracts.errors import BadRequestError, DecodeFailedError
from flotilla.contracts.fields import is_bounded

SIZE_BYTES = 500_000
TIMES_MAX = 10
"""As long as what is plain, which it takes; gone over level by level, flaw by flaw, it would be 20 to 300 times as long."""
PLAIN = b"[" + b"[]," * (SIZE_BYTES // 3) + b"0]"
_LEVELS = DEPTH_MAX - 1
BRACKETS = {
    "opened": b"[" * SIZE_BYTES,
    "one in the other": b"[" * (SIZE_BYTES // 2) + b"]" * (SIZE_BYTES // 2),
    "one in the other, objects": b'{"":' * (SIZE_BYTES // 5) + b"}" * (SIZE_BYTES // 5),
}
FAR = ("1e308", "-1E-308", "1.5e+0300", "0.1e-999")


def took_s(*calls: Callable[[], object]) -> list[float]:
    """The least CPU time that each took, of five turns."""
    turns = [[_cpu_s(call) for call in calls] for _ in range(5)]
    return [min(times) for times in zip(*turns, strict=True)]


def _cpu_s(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def is_refused(body: bytes) -> bool:
    """Whether it is nested too deeply."""
    try:
        checked(body)
    except RecursionError:
        return True
    return False


@pytest.mark.parametrize("body", BRACKETS.values(), ids=BRACKETS)
def test_brackets_take_no_longer_however_they_stand(body: bytes):
    """
    Whoever asks with nothing but brackets would stop an orchestrator for seconds with each message.
    """
    plain_s, body_s = took_s(lambda: is_refused(PLAIN), lambda: is_refused(body))

    assert body_s < TIMES_MAX * plain_s


def test_how_deep_it_is_does_not_depend_on_what_stands_beside_it():
    """
    As deep as may be among a great many that are not, and one level more.
    """
    beside = b"[]," * 50_000

    checked(b"[" + beside + b"[" * _LEVELS + b"]" * _LEVELS + b"]")
    with pytest.raises(RecursionError):
        checked(b"[" + beside + b"[" * DEPTH_MAX + b"]" * DEPTH_MAX + b"]")
    with pytest.raises(RecursionError):
        checked(b"[" * _LEVELS + beside + b"[[]]" + b"]" * _LEVELS)


def test_integers_of_a_large_document_are_looked_at_as_fast_as_it_is_written():
    """
    Their sizes, wherever they stand.
    """
    document: Any = [[[], {"a": number}] for number in range(50_000)]
    encode_s, look_s = took_s(lambda: msgspec.json.encode(document), lambda: is_bounded(document))

    assert look_s < TIMES_MAX * encode_s
    assert is_bounded([document, {"a": [2**64 - 1, -(2**63), 1.5, None, "é"]}])
    assert not is_bounded([document, {"a": [2**64]}])
    assert not is_bounded([-(2**63) - 1])


@pytest.mark.parametrize("number", FAR)
def test_numbers_that_take_long_are_few(number: str):
    """
    In whatever way they are written.
    """
    few, many = (f"[{','.join([number] * count)}]".encode() for count in (FAR_NUMBERS_MAX, FAR_NUMBERS_MAX + 1))

    assert few is with_readable_numbers(few)
    with pytest.raises(FarNumbersError):
        with_readable_numbers(many + b" " * 1000)


@pytest.mark.parametrize("text", ["e308", '\\"1e308,', "1E-308 \\\\"])
def test_texts_hold_as_many_as_they_like(text: str):
    """
    Digits in hexadecimal look like them; neither do numbers as people have them count.
    """
    body = f'["{text * 1000}",{",".join(["0.25e-07"] * 1000)}]'.encode()
    json.loads(body)

    assert body is with_readable_numbers(body)


def test_such_numbers_are_refused_where_they_would_be_read():
    """
    Of a caller who is told so, and of a worker as no output.
    """
    numbers = b"[" + b",".join([b"1e308"] * 1000) + b"]"
    embedded = b'{"vectors":[' + numbers + b'],"dimensions":1000}'

    with pytest.raises(BadRequestError, match="exponent of three digits"):
        BuiltInCapability("redact").decode_input(b'{"document":' + numbers + b"}")
    with pytest.raises(BadRequestError, match="exponent of three digits"):
        open_capability("own").decode_input(b'{"a":' + numbers + b"}")
    with pytest.raises(DecodeFailedError, match="exponent of three digits"):
        payload_digest(b'{"document":"x","more":' + numbers + b"}")
    with pytest.raises(AttemptError, match="exponent of three digits"):
        BuiltInCapability("embed").check_form(msgspec.Raw(embedded))
    with pytest.raises(AttemptError, match="exponent of three digits"):
        BuiltInCapability("classify").check_form(msgspec.Raw(b'{"label":"a","confidence":1.0,"more":' + numbers + b"}"))


ITEM = {"type": "object", "properties": {"a": {"type": "string"}}}
SCHEMAS: dict[str, dict[str, Any]] = {
    "of one form": {"type": "array", "items": ITEM},
    "of several": {"type": "array", "items": {"anyOf": [ITEM, {"type": "integer"}]}},
    "in several ways": {"oneOf": [{"type": "array", "items": ITEM}, {"type": "string"}]},
}


@pytest.mark.parametrize("items", SCHEMAS.values(), ids=SCHEMAS)
def test_a_document_full_of_flaws_is_refused_as_fast_as_one_without(items: dict[str, Any]):
    """
    By one of them: what is refused says where, and nobody would read the others.
    """
    schema = JsonSchema({"type": "object", "properties": {"items": items}})
    good, bad = ({"items": [{"a": value}] * 20_000} for value in ("", 1))
    size_bytes = len(msgspec.json.encode(bad))
    good_s, bad_s = took_s(lambda: schema.flaw(good, size_bytes), lambda: schema.flaw(bad, size_bytes))

    assert bad_s < TIMES_MAX * good_s
    assert schema.flaw(good, size_bytes) is None
    assert schema.flaw(bad, size_bytes) is not None


def test_a_small_document_is_told_where_its_flaw_is():
    """
    Whatever the schema has.
    """
    found = [
        JsonSchema({"type": "object", "properties": {"items": items}}).flaw({"items": [{"a": 1}]}, 19)
        for items in SCHEMAS.values()
    ]

    assert ["$.items[0].a", "$.items[0]", "$.items"] == [flaw.path for flaw in found if flaw is not None]


def test_a_headers_name_that_is_too_long_is_looked_at_and_not_kept():
    """
    A thousand of 32 KB each would be.
    """
    name = "x" * 200
    kept = header_names._known.cache_info().currsize  # pyright: ignore[reportPrivateUsage]

    assert not header_names.is_lookalike(name)
    assert header_names.is_lookalike(f"{name}-data-class")
    assert kept == header_names._known.cache_info().currsize  # pyright: ignore[reportPrivateUsage]


def test_what_every_orchestrator_hears_of_every_pool_is_short():
    """
    A message of a worker that is no longer than its names, with room for fields of later versions.
    """
    signal = {"replica": "r" * 63, "attempt": "a" * 128, "later": 1}

    assert "a" * 128 == decode_slot_free(msgspec.json.encode(signal)).attempt
    with pytest.raises(DecodeFailedError, match="bytes"):
        decode_slot_free(msgspec.json.encode(signal | {"later": "x" * SLOT_FREE_BYTES_MAX}))
