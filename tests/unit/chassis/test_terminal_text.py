"""What a terminal would obey is replaced in text and escaped in JSON; everything else stays."""

import json
import unicodedata

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flotilla.chassis.terminal_text import (
    ascii_json,
    clean,
    clean_line,
    encodable,
    escape_json,
    one_json_line,
)

BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
NASTY = st.text(
    st.one_of(
        st.characters(),
        st.characters(categories=("Cc", "Cf", "Cs", "Zl", "Zp")),
        st.sampled_from("\x1b\x9b\x9d\x07\r\n\t\u202e\u2066\u200b\u200d\ufeff\U000e0041"),
    )
)


def obeyed(character: str) -> bool:
    """
    Said independently of the implementation: by what Unicode says of the character.
    """
    if character in "\n\t":
        return False
    marks = "\u061c\u200e\u200f\u200b\u2060\ufeff"
    return (
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        or unicodedata.bidirectional(character) in BIDI
        or character in marks
        or 0xE0000 <= ord(character) <= 0xE007F
    )


@given(NASTY)
def test_cleaned_text_holds_nothing_that_a_terminal_obeys(text: str):
    """
    And what was harmless stands where it stood.
    """
    cleaned = clean(text)

    assert not any(map(obeyed, cleaned))
    assert not set("\n\r") & set(clean_line(text))
    if not any(map(obeyed, text)):
        assert cleaned == text


def test_what_writing_needs_is_kept():
    """
    Persian and family emoji are written with joiners; a Windows line end is a line end.
    """
    persian, family = "\u0645\u06cc\u200c\u062e", "👩\u200d👩\u200d👧"

    assert clean(persian + family) == persian + family
    assert clean("a\r\nb\tc") == "a\nb\tc"


@given(NASTY)
def test_escaped_json_says_the_same_and_holds_nothing_that_a_terminal_obeys(text: str):
    """
    Lone surrogates included, which no UTF-8 has.
    """
    raw = json.dumps({text: [text]}, ensure_ascii=False)

    for escaped in (escape_json(raw), ascii_json(raw)):
        assert not any(map(obeyed, escaped))
        assert json.loads(escaped) == json.loads(raw)
    assert ascii_json(raw).isascii()
    encodable(text).encode()


@pytest.mark.parametrize("raw", [b'{"a":\r\n\t1.10000000000000000001}', b"[\n1.10000000000000000001\n]"])
def test_json_that_another_member_wrote_over_several_lines_is_one(raw: bytes):
    """
    With its numbers as they were.
    """
    line = one_json_line(msgspec.json.encode(msgspec.Raw(raw)))

    assert "1.10000000000000000001" in line
    assert not set("\r\n\t") & set(line)


def test_json_with_bytes_that_are_no_text_is_still_json():
    """
    They become replacement characters.
    """
    assert json.loads(one_json_line(b'{"a":"\xff\xed\xa0\x80"}'))["a"].startswith("\N{REPLACEMENT CHARACTER}")
