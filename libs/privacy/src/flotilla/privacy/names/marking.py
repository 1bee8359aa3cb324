"""Which words of a text are taken for names; decided word by word, by lists, capitals and the words beside them."""

import re
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from flotilla.privacy import lexicon
from flotilla.privacy.lexicon import BEGINS_PLACE, FIRST, PLACE, WHOLE_PLACE
from flotilla.privacy.names.groups import COUNTRY_CODES, GROUPS
from flotilla.privacy.names.labels import is_label
from flotilla.privacy.names.learned import (
    DAYS_OF_FEASTS,
    FEASTS,
    HOLIDAYS,
    THINGS,
    WISHES,
    is_feast_after,
    is_learned,
    is_unit,
)
from flotilla.privacy.names.people import NO_NAMES, SAINTS, said_small
from flotilla.privacy.names.tokens import Token
from flotilla.privacy.values.regions import words

_LOCAL_PART: Final = re.compile(r"([\w.+-]{3,64})@")
_LOCAL_WORD: Final = re.compile(r"[^\W\d_]{3,}")
_LOCAL_PARTS_MAX: Final = 200
_LOCAL_LENGTH_MAX: Final = 64
_AT_SIGN: Final = re.compile("@")
_PLACE_WORDS_MAX: Final = 4
_IN: Final = words("in from near to at of nach aus bei à au aux en desde hacia cerca vers chez until")
_ARTICLES: Final = words(
    "the a an this that these those our your their its his her my every each any no some all new old "
    "le la les l un une des du au aux ce cet cette ces notre votre leur son sa ses mon ma chaque "
    "el los las lo un una unos unas del al este esta estos estas ese esa su sus mi tu cada"
)
_BEFORE_PLACES: Final = SAINTS | words("Bad Mount Port Fort")
_CAMEL: Final = re.compile(r"[^\W\d_A-ZÀ-Þ][A-ZÀ-Þ]")
# A number before a word, and in German one with the stop of an ordinal and an article that no date has.
_COUNTED: Final = re.compile(
    r"(?:(?P<ordinal>(?<!\w)(?:[Ii]m|[Ii]ns|[Dd]as|[Dd]em|[Dd]es|[Bb]eim) \d{1,3}\. )|\d[ \u00a0])\Z"
)
_COUNTS: Final = frozenset("0123456789.")
_NUMBER_LENGTH_MAX: Final = 12
# "MySQL", "LiteLLM", "MiB": what comes after the small letters.
_TAIL_LENGTH_MAX: Final = 3
_VERSION_AFTER: Final = re.compile(r"[(_]|\.\w| v?\d")
# A label that is somebody's first name as well, before the name of whom it is: "Pat. Maria Huber".
_SHORT_LABELS: Final = frozenset({"Pat"})
_AFTER_FIRST: Final = frozenset({"", ",", ";", ")", "\n", ":"})
_UPPER_SHARE: Final = 0.6
_ACRONYM_LENGTH_MIN: Final = 4


def mark(text: str, tokens: Sequence[Token], language: str) -> None:
    """Set `name` of every word that is taken for a part of a name."""
    addressed = _addressed(text)
    shouted = _shouted(tokens)
    for at, token in enumerate(tokens):
        lower = token.lower
        if (
            not token.capital
            or len(token.text) == 1
            or (not (token.first or token.last) and _is_technical(text, token))
            or lower in NO_NAMES
            or lower in GROUPS
            or token.text in COUNTRY_CODES
            or _is_counted(text, tokens, at, language)
            or ((lower in HOLIDAYS or lower in THINGS) and not _is_of_a_name(text, tokens, at))
            or _is_of_a_feast(text, tokens, at)
        ):
            continue
        if lower in addressed:
            token.name = True
        elif token.upper:
            token.name = _is_upper_name(token, shouted=shouted)
        elif not token.common:
            token.name = language != "de" or not token.begins or not token.unknown
        elif (
            (token.first or token.last) and language in {"en", "fr", "es"} and _stands_alone(text, tokens, at, language)
        ):
            token.name = True
        elif token.first:
            token.name = text[token.end : token.end + 2].strip()[:1] == ":" or _beside_a_name(text, tokens, at)
    _unmark_labels(text, tokens, language)
    _mark_families(text, tokens)
    names = lexicon.names()
    starts = [token.start for token in tokens]
    for said in said_small(text):
        for token in tokens[bisect_left(starts, said.start(1)) : bisect_left(starts, said.end(1))]:
            token.name = token.name or bool(names.flags(token.lower) & FIRST)


def _unmark_labels(text: str, tokens: Sequence[Token], language: str) -> None:
    for at, token in enumerate(tokens):
        token.name = token.name and not _is_label(text, tokens, at, language)


def _mark_families(text: str, tokens: Sequence[Token]) -> None:
    """Mark family names before a comma and a first name: "Re: Seidel, Gertrud, born 1938"."""
    for family, first in pairwise(tokens):
        if (
            first.name
            and first.first
            and family.last
            and family.begins
            and family.lower not in NO_NAMES
            and text[family.end : first.start] == ", "
            and text[first.end : first.end + 1] in _AFTER_FIRST
        ):
            family.name = True


def _is_label(text: str, tokens: Sequence[Token], at: int, language: str) -> bool:
    """Whether a word says what stands after it, and is nobody's name: "Payee Hannah Berg", "Author:"."""
    token = tokens[at]
    after = text[token.end : token.end + 1]
    if token.text in _SHORT_LABELS and language == "de" and after == "." and at + 1 < len(tokens):
        name = tokens[at + 1]
        return text[token.end : name.start] == ". " and name.capital and (name.first or name.last)
    return (not token.first or after == ":") and is_label(token.lower)


def _is_technical(text: str, token: Token) -> bool:
    """Whether a word is written as no name is (SpO2, MySQL, Postgres 16, TimeoutError(), or made as learned words are."""
    if text[token.end : token.end + 1].isdigit() or is_learned(token.lower):
        return True
    camel = _CAMEL.search(token.text)
    if camel is None:
        return False
    head, tail = token.text[: camel.start() + 1], token.text[camel.start() + 1 :]
    # "JeanDUPONT" has lost its space.
    as_a_product = tail.isupper() and len(tail) <= _TAIL_LENGTH_MAX and not lexicon.names().flags(head.lower()) & FIRST
    return as_a_product or _VERSION_AFTER.match(text, token.end) is not None


def _is_counted(text: str, tokens: Sequence[Token], at: int, language: str) -> bool:
    """Whether a word is what a number before it counts, and no name: "30 Newton metres", "im 3. Stock"."""
    token = tokens[at]
    if text[token.start - 2 : token.start - 1] not in _COUNTS or not (language == "de" or is_unit(token.lower)):
        return False
    counted = _COUNTED.search(text, max(0, token.start - _NUMBER_LENGTH_MAX), token.start)
    if counted is None:
        return False
    after = tokens[at + 1] if at + 1 < len(tokens) and text[token.end : tokens[at + 1].start] == " " else None
    if after is not None and after.capital and not is_unit(after.lower):
        return False
    return is_unit(token.lower) if not counted["ordinal"] else language == "de"


def _is_of_a_name(text: str, tokens: Sequence[Token], at: int) -> bool:
    """Whether another name stands beside a word: "Mary Christmas", "Christmas Humphreys"."""
    before, after = tokens[at - 1] if at else None, tokens[at + 1] if at + 1 < len(tokens) else None
    return (
        before is not None
        and before.capital
        and before.first
        and not before.common
        and before.lower not in WISHES
        and text[before.end : tokens[at].start] == " "
    ) or (after is not None and after.capital and after.last and text[tokens[at].end : after.start] == " ")


def _is_of_a_feast(text: str, tokens: Sequence[Token], at: int) -> bool:
    """Whether a word is a feast that some are called like, or what one is wished: "Joyeux Noël", "Merry Christmas"."""
    token = tokens[at]
    if token.lower in WISHES:
        return at + 1 < len(tokens) and tokens[at + 1].lower in HOLIDAYS
    if token.lower in DAYS_OF_FEASTS:
        return at + 1 < len(tokens) and tokens[at + 1].lower in DAYS_OF_FEASTS[token.lower]
    return (
        token.lower in FEASTS and not _is_of_a_name(text, tokens, at) and is_feast_after(text, token.start, token.lower)
    )


def _addressed(text: str) -> frozenset[str]:
    """The words of e-mail addresses before the @: who is written to is often named."""
    if "@" not in text:
        return frozenset()
    found: list[str] = []
    for at in _AT_SIGN.finditer(text):
        match = _LOCAL_PART.search(text, _local_part(text, at.start()), at.end())
        if match is None:
            continue
        found += (word.lower() for word in _LOCAL_WORD.findall(match[1]))
        if len(found) >= _LOCAL_PARTS_MAX:
            break
    ordinary = lexicon.ordinary_words()
    return frozenset(word for word in found if not ordinary.flags(word))


def _local_part(text: str, at: int) -> int:
    """Where what stands before an @ begins."""
    start, first = at, max(0, at - _LOCAL_LENGTH_MAX)
    while start > first and (text[start - 1].isalnum() or text[start - 1] in "_.+-"):
        start -= 1
    return start


def _shouted(tokens: Sequence[Token]) -> bool:
    """Whether the text is written in capitals, so that they say nothing."""
    return sum(token.upper for token in tokens) > _UPPER_SHARE * max(1, len(tokens))


def _is_upper_name(token: Token, *, shouted: bool) -> bool:
    if token.common or (not shouted and len(token.text) < _ACRONYM_LENGTH_MIN):
        return False
    if token.first or token.last or token.place:
        return True
    return not shouted and len(token.text) >= _ACRONYM_LENGTH_MIN


def _stands_alone(text: str, tokens: Sequence[Token], at: int, language: str) -> bool:
    """
    Whether an ordinary word that is a name too has a capital of its own.

    Not at the beginning of a sentence, nor after an article ("the Church"), nor in a heading or the name of something
    ("Best Practice Guide"), where ordinary words have capitals beside it.
    """
    token = tokens[at]
    if token.begins or at == 0:
        return False
    before = tokens[at - 1].lower
    # In Spanish "a" is no article, and stands before persons.
    if before in _ARTICLES and not (before == "a" and language == "es"):
        return False
    beside = [tokens[at - 1]] if at == 1 else [tokens[at - 1], tokens[at - 2]]
    if any(one.capital and one.common and not one.begins and not one.first for one in beside[:1]):
        return False
    after = tokens[at + 1] if at + 1 < len(tokens) else None
    followed = after is not None and text[token.end : after.start] == " " and after.capital and after.common
    return not (followed and after is not None and not after.last) and (token.first or not beside[0].capital)


def _beside_a_name(text: str, tokens: Sequence[Token], at: int) -> bool:
    """Whether an ordinary word that is a first name too stands before a word that can only be a name."""
    if at + 1 >= len(tokens):
        return False
    token, after = tokens[at], tokens[at + 1]
    if text[token.end : after.start] != " " or not after.capital or after.lower in NO_NAMES:
        return False
    if not (after.first or after.last) and is_learned(after.lower):
        return False
    return not after.common or (after.last and not after.begins)


def places(text: str, tokens: Sequence[Token], language: str) -> list[tuple[int, int]]:
    """Places of one word or several, where the words around do not make another thing of them."""
    listed = lexicon.places()
    found: list[tuple[int, int]] = []

    def begin(at: int) -> int:
        """Of the place, with the saint before it."""
        before = tokens[at - 1] if at else None
        if (
            before is not None
            and before.text in _BEFORE_PLACES
            and text[before.end : tokens[at].start] in {" ", "-", ". "}
        ):
            return before.start
        return tokens[at].start

    done = 0
    for at, token in enumerate(tokens):
        # "Date:" is a town as well.
        if (
            not token.capital
            or token.start < done
            or token.lower in NO_NAMES
            or (token.begins and is_label(token.lower))
        ):
            continue
        if token.text in COUNTRY_CODES:
            if token.text == "GB" and text[token.start - 2 : token.start - 1].isdigit():
                continue  # of memory
            found.append((token.start, token.end))
            continue
        alone = listed.flags(token.lower)
        longest = _PLACE_WORDS_MAX if alone & BEGINS_PLACE else 1
        for count in range(min(longest, len(tokens) - at), 0, -1):
            last = tokens[at + count - 1]
            flags = listed.flags(text[token.start : last.end].lower()) if count > 1 else alone
            if not flags & PLACE:
                continue
            sure = count > 1 or not token.common or flags & WHOLE_PLACE
            if sure or _in_a_place(tokens, at) or (language in {"en", "fr", "es"} and not token.begins):
                found.append((begin(at), last.end))
                done = last.end
                break
    return found


def _in_a_place(tokens: Sequence[Token], at: int) -> bool:
    token = tokens[at]
    return not token.begins and at > 0 and tokens[at - 1].lower in _IN
