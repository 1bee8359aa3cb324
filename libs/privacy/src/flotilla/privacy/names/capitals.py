"""Texts all in small letters or all in capitals, where case says nothing: as they would be written."""

import re
from typing import Final

from flotilla.privacy import lexicon
from flotilla.privacy.names.groups import GROUPS
from flotilla.privacy.values.regions import words

_WORD: Final = re.compile(r"[^\W\d_]+")
_WORDS_MIN: Final = 3
_UPPER_SHARE_MIN: Final = 0.7
_TITLES: Final = words("mr mrs ms dr prof herr frau mme mlle sr sra srta")


def with_capitals(text: str) -> str:
    """
    The text, or where it has but one case, one of the same length in which names have capitals.

    Every word that is no ordinary one of any language is taken for a name.
    """
    upper = sum(map(str.isupper, text))
    if not upper:
        small = True
    elif upper >= _UPPER_SHARE_MIN * sum(map(str.isalpha, text)):
        small = False
    else:
        return text
    if len(_WORD.findall(text)) < _WORDS_MIN:
        return text
    written = _WORD.sub(_written, text if small else _lower(text))
    return written if len(written) == len(text) else text


def _lower(text: str) -> str:
    return "".join(sign.lower() if len(sign.lower()) == 1 else sign for sign in text)


def _written(match: re.Match[str]) -> str:
    word = match[0]
    if len(word) == 1 or (lexicon.ordinary_words().flags(word) and word not in _TITLES and word not in GROUPS):
        return word
    first = word[0].upper()
    return first + word[1:] if len(first) == 1 else word
