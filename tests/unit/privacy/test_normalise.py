"""What detection reads, and the way back to the original's offsets."""

import itertools
import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flotilla.privacy import Span, Structured
from flotilla.privacy.layers import find_spans
from flotilla.privacy.normalise import (
    _BROKEN,  # pyright: ignore[reportPrivateUsage]
    _BROKEN_HINT,  # pyright: ignore[reportPrivateUsage]
    _BROKEN_NUMBER,  # pyright: ignore[reportPrivateUsage]
    _BROKEN_NUMBER_HINT,  # pyright: ignore[reportPrivateUsage]
    Reading,
    read,
    read_closely,
)
from flotilla.privacy.values.regions import near_hints
from flotilla.testkit.examples import examples

HIDDEN = [
    pytest.param("mail jane.doe@example.com now", "jane.doe@example.com", id="plain"),
    pytest.param(
        "mail jane\u200b.doe@exam\u00adple.com now", "jane\u200b.doe@exam\u00adple.com", id="zero width, soft hyphen"
    ),
    pytest.param("mail ｊａｎｅ＠ｅｘａｍｐｌｅ．ｃｏｍ now", "ｊａｎｅ＠ｅｘａｍｐｌｅ．ｃｏｍ", id="full width"),
    pytest.param("mail jane.doe&#64;example.com now", "jane.doe&#64;example.com", id="HTML"),
    pytest.param(r"mail jane.doe\u0040example.com now", r"jane.doe\u0040example.com", id="JSON"),
    pytest.param("reset/jane.doe%40example.com now", "jane.doe%40example.com", id="URL"),
    pytest.param("call 0161_496_0656 now", "0161_496_0656", id="underscores"),
    pytest.param("pay GB82.WEST.1234.5698.7654.32 now", "GB82.WEST.1234.5698.7654.32", id="IBAN with stops"),
    pytest.param("pay GB82_WEST_1234_5698_7654_32 now", "GB82_WEST_1234_5698_7654_32", id="IBAN with underscores"),
    pytest.param("mail j o h n @ x . c o m, now", "j o h n @ x . c o m", id="spelled out"),
    pytest.param("mail jane@\nexample.com now", "jane@\nexample.com", id="line break"),
    pytest.param("mail jane (at) example (dot) com now", "jane (at) example (dot) com", id="at and dot in brackets"),
    pytest.param("mail jane at example dot com now", "jane at example dot com", id="at and dot said"),
    pytest.param("card 4111 1111 1111\r\n1111 now", "4111 1111 1111\r\n1111", id="number over two lines"),
    pytest.param(
        "card ４１１１ １１１１ １１１１ １１１１ now", "４１１１ １１１１ １１１１ １１１１", id="full width digits"
    ),
    pytest.param("card ٤١١١١١١١١١١١١١١١ now", "٤١١١١١١١١١١١١١١١", id="Arabic digits"),
    pytest.param("card 4lll 1111 I111 1111 now", "4lll 1111 I111 1111", id="letters for digits"),
    pytest.param(
        "card 4111\u00a01111\u202f1111\u20111111 now", "4111\u00a01111\u202f1111\u20111111", id="no-break signs"
    ),
    pytest.param(
        "card 4111\u200b1111\u20601111\ufeff1111 now", "4111\u200b1111\u20601111\ufeff1111", id="invisible signs"
    ),
]


@pytest.mark.parametrize(("text", "value"), HIDDEN)
def test_tricks_and_accidents_hide_no_value(text: str, value: str):
    """The whole of the value is found, in the original's offsets."""
    spans = find_spans(text, [Structured()], language="any")

    assert any(span.start <= text.index(value) and span.end >= text.index(value) + len(value) for span in spans)


@settings(max_examples=examples(60), deadline=None)
@given(st.text(max_size=80))
def test_every_character_read_has_its_place_in_the_original(text: str):
    """Offsets grow, stay within the text, and what is read is in NFKC without invisible characters."""
    reading = read(text)
    places = [reading.original(Span(start=at, end=at + 1, type="X")) for at in range(len(reading.text))]

    assert all(0 <= place.start < place.end <= len(text) for place in places)
    assert all(one.start <= two.start for one, two in itertools.pairwise(places))
    assert not any(unicodedata.category(sign) == "Cf" for sign in reading.text)


@settings(max_examples=examples(60), deadline=None)
@given(st.text(alphabet="a1 0lO@.\n-(atd)o", max_size=60))
def test_the_second_reading_stays_within_the_text(text: str):
    closely = read_closely(Reading(text))
    if closely is None:
        return
    for at in range(len(closely.text)):
        place = closely.original(Span(start=at, end=at + 1, type="X"))
        assert 0 <= place.start < place.end <= len(text)


@pytest.mark.parametrize(("pattern", "hint"), [(_BROKEN, _BROKEN_HINT), (_BROKEN_NUMBER, _BROKEN_NUMBER_HINT)])
@settings(max_examples=examples(200), deadline=None)
@given(text=st.text(alphabet="a1@._-A \t\r\n)", max_size=40))
def test_what_is_looked_for_beside_line_breaks_is_what_is_there(
    pattern: re.Pattern[str], hint: re.Pattern[str], text: str
):
    assert [match.span() for match in pattern.finditer(text)] == [
        match.span() for match in near_hints(pattern, hint, text, 3, 6)
    ]


def test_the_number_of_the_next_item_of_a_list_is_no_part_of_an_address():
    spans = find_spans("1. Write to jane@example.com.\n2. Pay the rent.", [Structured()], language="any")

    assert [(12, 28)] == [(span.start, span.end) for span in spans]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("M&uuml;ller &amp; S&#246;hne&#x2c; K&shy;öln", "Müller & Söhne, Köln"),
        (r"J\u00fcrgen\nPriya\n\nAnn\tBo", "Jürgen\nPriya\n\nAnn\tBo"),
        # None is meant, or half of one.
        (
            r"&nothing; &#0; \ud83d \u12 C:\new\table 5%40 AT&T; 100%4",
            r"&nothing; \ufffd \ud83d \u12 C:\new\table 5%40 AT&T; 100%4",
        ),
    ],
)
def test_what_is_written_as_something_else_is_read_as_it_is_meant(written: str, meant: str):
    reading = read(written)

    assert meant.replace(r"\ufffd", "\ufffd") == reading.text
    assert (0, len(written)) == reading.original(Span(start=0, end=len(reading.text), type="X"))[:2]


def test_amounts_of_programs_are_no_numbers_of_somebody():
    assert find_spans("max_rows = 1_000_000", [Structured()], language="any") == []


def test_ordinary_text_is_read_once():
    assert read_closely(Reading("An ordinary sentence, with 12 words and a date of 3 May 2024.")) is None
    assert read("plain").text == "plain"
