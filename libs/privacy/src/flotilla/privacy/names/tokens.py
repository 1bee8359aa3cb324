"""The words of a text, with what the lists say of those that begin with a capital."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from flotilla.privacy import lexicon
from flotilla.privacy.lexicon import COMMON, COMMON_ANYWHERE, FIRST, LAST, PLACE
from flotilla.privacy.names.german import is_german_noun

_WORD: Final = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*")
# What stands before the word belongs to it in French, and is none of its letters: l'Oréal, d'Anne, qu'Yves.
_ELISION: Final = re.compile(r"(?:[ldjmnstc]|qu|jusqu|lorsqu|puisqu)'(?=[^\W\d_]{2})", re.IGNORECASE)
_POSSESSIVE: Final = re.compile(r"'s?\Z|(?<=[A-Z])'S\Z")
_SENTENCE_ENDS: Final = frozenset('.!?:;\n\r\t"([{|>*•-_')
_LOOKED_BACK: Final = 8
_ACRONYM_LENGTH_MAX: Final = 3
WORD_LENGTH_MAX: Final = 60
LOOKED_UP_MAX: Final = 16_384


@dataclass(slots=True)
class Token:
    """
    A word.

    Attributes:
        text: Without an elided article before it and a possessive after it.
        lower: The same in small letters.
        start: In the text.
        end: In the text.
        capital: It begins with a capital letter.
        upper: It has capitals only, two at least.
        begins: It is where capitals are usual: at the beginning of a sentence, line, quotation or list item.
        first: A listed first name.
        last: A listed family name.
        place: A listed place.
        common: An ordinary word of the text's language.
        name: Taken for a part of a name.
    """

    text: str
    lower: str
    start: int
    end: int
    capital: bool
    upper: bool
    begins: bool
    first: bool = False
    last: bool = False
    place: bool = False
    common: bool = True
    name: bool = False

    @property
    def unknown(self) -> bool:
        """On no list."""
        return not (self.first or self.last or self.place or self.common)


def tokens_of(text: str, language: str) -> list[Token]:
    """The words of a text in their order."""
    return list(_tokens(text, language))


def _tokens(text: str, language: str) -> Iterator[Token]:
    common = COMMON.get(language, COMMON_ANYWHERE)
    for match in _WORD.finditer(text):
        word = match[0]
        start, end = match.span()
        if not word[0].isupper() and "'" not in word:
            yield Token(word, word.lower(), start, end, False, False, False)
            continue
        elided = _ELISION.match(word)
        if elided is not None and (word[0].islower() or language == "fr"):
            word, start = word[elided.end() :], start + elided.end()
        if "'" in word:
            word = _POSSESSIVE.sub("", word)
        token = Token(
            word,
            word.lower(),
            start,
            start + len(word),
            capital=word[:1].isupper(),
            upper=len(word) > 1 and word.isupper(),
            begins=elided is None and _begins(text, match.start()),
        )
        if len(word) > WORD_LENGTH_MAX:
            # On no list, and long to take apart: whatever it is, it is redacted.
            token.common = not token.capital
        elif token.capital:
            token.first, token.last, token.place, token.common = _look_up(word, common, language in {"de", "any"})
        yield token


def _begins(text: str, start: int) -> bool:
    before = text[max(0, start - _LOOKED_BACK) : start].rstrip(" ")
    if not before:
        return True
    # An abbreviation's stop ends no sentence: "J. Smith", "Mr. Smith", "St. Ives".
    if before[-1] == "." and _ABBREVIATION.search(before):
        return False
    return before[-1] in _SENTENCE_ENDS


_ABBREVIATION: Final = re.compile(r"(?<![^\W\d_])(?:[^\W\d_]|Mrs?|Ms|Drs?|Prof|St|Sra?|Srta|Mmes?|Hr|Fr)\.\Z")


@lru_cache(maxsize=LOOKED_UP_MAX)
def _look_up(word: str, common: int, german: bool) -> tuple[bool, bool, bool, bool]:  # noqa: FBT001 - a key of the cache
    """Whether a capitalised word is listed as a first name, a family name, a place, an ordinary word."""
    lower = word.lower()
    parts = lower.split("-") if "-" in lower else (lower,)
    flags = 0
    for part in parts:
        flags |= lexicon.names().flags(part)
    first, last = bool(flags & FIRST), bool(flags & LAST)
    place = bool(lexicon.places().flags(lower) & PLACE)
    words = lexicon.ordinary_words()
    ordinary = all(words.flags(part) & common or len(part) == 1 or _inflected(part, common) for part in parts)
    if not ordinary and german and not (first or last or place):
        ordinary = is_german_noun(word)
    if not ordinary and len(word) > 1 and word.isupper():
        ordinary = bool(words.flags(lower)) or (len(lower) <= _ACRONYM_LENGTH_MAX and not (first or place))
    return first, last, place, ordinary


def _inflected(word: str, common: int) -> bool:
    """Whether a word is an ordinary one with a usual ending that the lists lack."""
    words = lexicon.ordinary_words()
    for ending, stems in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _STEM_LENGTH_MIN:
            stem = word[: -len(ending)]
            if any(words.flags(stem + more) & common for more in stems):
                return not lexicon.names().flags(word) and not lexicon.places().flags(word)
    return False


_STEM_LENGTH_MIN: Final = 4
_ENDINGS: Final = (
    ("ing", ("", "e")),
    ("ed", ("", "e")),
    ("ly", ("", "e")),
    ("ness", ("",)),
    ("ies", ("y",)),
    ("es", ("", "e")),
    ("s", ("",)),
)
