"""JSON that is not quite JSON, and characters that came apart."""

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flotilla.inference.lenient_json import Joined, lenient_decoder, loads, whole_characters

ANY_TEXT = st.text(st.characters() | st.characters(categories=["Cs"]))


class Answer(msgspec.Struct):
    text: str
    count: Any = None


decode = lenient_decoder(Answer)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"text": "x", "count": 1}', Answer("x", 1)),
        (b'\xef\xbb\xbf{"text": "x"}', Answer("x")),
        (rb'{"text": "a\ud83d"}', Answer("a\ud83d")),
        (rb'{"text": "\ude00", "other": "\ud83d"}', Answer("\ude00")),
        (b'{"text": "x", "count": 1e999}', Answer("x", math.inf)),
        (b'{"text": "x", "other": [NaN, -Infinity]}', Answer("x")),
        (b'{"text": "x", "count": ' + b"9" * 40 + b"}", Answer("x", int("9" * 40))),
        (b'{"text": "x", "count": ' + b"9" * 100_000 + b"}", Answer("x", math.inf)),
        (b'{"text": "a\nb"}', Answer("a\nb")),
        (b'{"text": "\xff"}', Answer("\ufffd")),
    ],
    ids=range(10),
)
def test_what_the_strict_decoder_refuses(raw: bytes, expected: Answer):
    """
    And what it takes.
    """
    assert expected == decode(raw)


@pytest.mark.parametrize("raw", [b"", b"{", b"<html>", b"{'text': 'x'}", b"[" * 100_000, b'{"a":' * 100_000])
def test_what_is_no_json_in_any_reading(raw: bytes):
    """
    One kind of error, and nothing of the text in it.
    """
    with pytest.raises(msgspec.DecodeError) as caught:
        loads(raw)
    assert "text" not in str(caught.value)
    with pytest.raises(msgspec.MsgspecError):
        decode(raw)


@pytest.mark.parametrize("raw", [b"[]", b"{}", b'{"text": null}', b'"text"', b"7"])
def test_json_of_another_shape(raw: bytes):
    """
    Is told apart.
    """
    with pytest.raises(msgspec.ValidationError):
        decode(raw)


@given(ANY_TEXT)
def test_any_text_can_be_sent_afterwards(text: str):
    """
    Nothing else of it is changed.
    """
    whole = whole_characters(text)
    msgspec.json.encode(whole)
    if not any("\ud800" <= character <= "\udfff" for character in text):
        assert text == whole


@given(ANY_TEXT, st.integers(1, 5))
def test_halves_are_joined_across_pieces(text: str, size: int):
    """
    As if they had come together, and no piece breaks an encoder.
    """
    joined = Joined()
    pieces = [joined.feed(text[start : start + size]) for start in range(0, len(text), size)]
    pieces.append(joined.end())

    for piece in pieces:
        msgspec.json.encode(piece)
    assert whole_characters(text) == "".join(pieces)


def test_a_character_outside_the_bmp_survives_a_python_server():
    """
    That cut it and escaped the halves.
    """
    joined = Joined()
    first, second = json.loads(r'["a\ud83d", "\ude00b"]')
    assert "a" == joined.feed(first)
    assert "😀b" == joined.feed(second)
