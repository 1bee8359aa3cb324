"""Texts all in small letters or all in capitals, where case says nothing: as they would be written."""

import re
from typing import Final

from flotilla.privacy import lexicon
from flotilla.privacy.lexicon import FIRST, LAST
from flotilla.privacy.names.groups import GROUPS
from flotilla.privacy.names.people import NO_NAMES
from flotilla.privacy.names.small import NOBODYS
from flotilla.privacy.values.outline import shape_of
from flotilla.privacy.values.regions import words

_WORD: Final = re.compile(r"[^\W\d_]+")
_AFTER_FIRST: Final = re.compile(r"(?<!\w)([^\W\d_a-z]\w{1,40})( [a-z]\. | )([a-z]\w{1,40})")
_WORDS_MIN: Final = 3
_UPPER_SHARE_MIN: Final = 0.7
_TITLES: Final = words("mr mrs ms dr prof herr frau mme mlle sr sra srta")


def with_capitals(text: str) -> str:
    """
    The text, or where it has but one case, one of the same length in which names have capitals.

    Every word that is no ordinary one of any language is taken for a name.
    """
    shape = shape_of(text)
    if "?" in shape:
        upper, letters = sum(map(str.isupper, text)), sum(map(str.isalpha, text))
    else:
        upper = shape.count("A")
        letters = upper + shape.count("a")
    if not upper:
        small = True
    elif upper >= _UPPER_SHARE_MIN * letters:
        small = False
    else:
        return text
    if len(_WORD.findall(text)) < _WORDS_MIN:
        return text
    lower = text if small else _lower(text)
    written = _AFTER_FIRST.sub(_family, _WORD.sub(_written, lower))
    return written if len(written) == len(text) else text


def _lower(text: str) -> str:
    lower = text.lower()
    return (
        lower if len(lower) == len(text) else "".join(sign.lower() if len(sign.lower()) == 1 else sign for sign in text)
    )


def _family(match: re.Match[str]) -> str:
    """A family name that is an ordinary word has a capital after a first name: jane doe, mark long."""
    names, (first, between, family) = lexicon.names(), match.groups()
    if names.flags(first.lower()) & FIRST and names.flags(family) & LAST and family not in NO_NAMES:
        return f"{first}{between}{family[0].upper()}{family[1:]}"
    return match[0]


def _written(match: re.Match[str]) -> str:
    word = match[0]
    if (
        len(word) == 1
        or word in NOBODYS
        or (lexicon.ordinary_words().flags(word) and word not in _TITLES and word not in GROUPS)
    ):
        return word
    first = word[0].upper()
    return first + word[1:] if len(first) == 1 else word
