"""The words by which a text is known to be worth searching: exactly those that the patterns match."""

import re
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flotilla.privacy.names import addresses, people, postal_codes
from flotilla.privacy.names.spellings import first_words, spellings
from flotilla.privacy.values.outline import outline_of

SIMPLE = [
    people.TITLE_WORDS,
    people.ROLE_WORDS,
    people.KIN_WORDS,
    people.GREETING,
    people.SAID_WORDS,
    people.CLOSING,
    people.BORN_WORDS,
    people.LABEL_WORDS,
    people.LABEL_PREFIXES,
    addresses.ENGLISH_KINDS[3:-1],
    addresses.ROMANCE_KINDS[3:-1],
    addresses.GERMANIC_KINDS,
]


@pytest.mark.parametrize("pattern", SIMPLE)
def test_every_spelling_is_matched_and_has_its_first_word_among_them(pattern: str):
    every, compiled = spellings(pattern), re.compile(pattern)

    assert all(compiled.fullmatch(text) for text in every)
    assert {match[0] for text in every if (match := re.search(r"[^\W\d_]+", text))} == first_words(pattern)


def test_a_simple_pattern_is_spelled_out():
    assert {"ab", "Ab", "abs", "Abs", "x y."} == spellings(r"[Aa]bs?|x\sy\.")


@pytest.mark.parametrize("pattern", ["a+", "a{2}", "(?:a", "a)", "^a"])
def test_what_is_not_simple_is_refused(pattern: str):
    with pytest.raises(ValueError, match=r"simple|open"):
        spellings(pattern)


def spans_of(found: Iterable[re.Match[str]]) -> list[tuple[int, int]]:
    """Where matches are."""
    return [match.span() for match in found]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "12",
                "bis",
                ",",
                "rue",
                "Rue",
                "de",
                "Lilas",
                "C/",
                "P°",
                "A",
                "ter",
                "3",
                "Via",
                "\n",
                ".",
                "é",
                "IL",
                "Denver",
                "62704",
                "62704-1234",
            ]
        ),
        max_size=24,
    )
)
def test_what_is_tried_beside_a_word_or_a_hint_alone_is_what_is_there(parts: list[str]):
    text = " ".join(parts).replace(" , ", ", ").replace(". ", ".")
    streets = addresses._ROMANCE_NUMBER_FIRST  # pyright: ignore[reportPrivateUsage]
    codes = postal_codes._CODE_AFTER_STATE  # pyright: ignore[reportPrivateUsage]
    words, length_max = addresses._ROMANCE_WORDS, addresses._ROMANCE_NUMBER_LENGTH_MAX  # pyright: ignore[reportPrivateUsage]

    assert spans_of(streets.finditer(text)) == spans_of(outline_of(text).at_numbers_before(streets, words, length_max))
    assert spans_of(codes.finditer(text)) == spans_of(postal_codes.after_states(text))
