"""The words by which a text is known to be worth searching: exactly those that the patterns match."""

import re

import pytest

from flotilla.privacy.names import addresses, people
from flotilla.privacy.names.spellings import first_words, spellings

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
