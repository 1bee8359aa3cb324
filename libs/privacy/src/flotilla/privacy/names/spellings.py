"""
The words that a simple pattern matches, so that a text without any of them need not be searched for it.

Trying fifty patterns with long alternations at every character of a page takes longer than everything else.
"""

import re
from collections.abc import Iterator
from itertools import product
from typing import Final

from flotilla.privacy.values.outline import WordPlaces

SPELLINGS_MAX: Final = 4_096
_FIRST_WORD: Final = re.compile(r"[^\W\d_]+")


def spellings(pattern: str) -> frozenset[str]:
    """
    Every text that a pattern of literals, `[Xx]`, `(?:a|b)`, `?`, and escaped stops and spaces matches.

    Raises:
        ValueError: it has something else in it, or matches too many.
    """
    found, rest = _alternatives(pattern)
    if rest or len(found) > SPELLINGS_MAX:
        raise ValueError(f"no simple pattern: {pattern[:60]}")
    return frozenset(found)


def first_words(pattern: str) -> frozenset[str]:
    """The first word, letters alone, of every text that a simple pattern matches."""
    return frozenset(match[0] for text in spellings(pattern) if (match := _FIRST_WORD.search(text)))


def matches_at(
    pattern: re.Pattern[str], text: str, words: frozenset[str], places: WordPlaces
) -> Iterator[re.Match[str]]:
    """The matches that begin with one of the words; they may overlap."""
    for word in words & places.keys():
        for place in places[word]:
            match = pattern.match(text, place)
            if match is not None:
                yield match


def _alternatives(pattern: str) -> tuple[list[str], str]:
    """What the alternatives up to the closing bracket match, and what stands after it."""
    every: list[str] = []
    parts: list[list[str]] = []
    while True:
        if pattern[:1] in {"", "|", ")"}:
            every += ("".join(part) for part in product(*parts))
            parts = []
            if pattern[:1] != "|":
                return every, pattern
            pattern = pattern[1:]
            continue
        choice, pattern = _one(pattern)
        if pattern[:1] == "?":
            choice, pattern = [*choice, ""], pattern[1:]
        parts.append(choice)


def _one(pattern: str) -> tuple[list[str], str]:
    if pattern.startswith("(?:"):
        inner, rest = _alternatives(pattern[3:])
        if not rest:
            raise ValueError("a bracket is open")
        return inner, rest[1:]
    if pattern[0] == "[":
        inside, _, rest = pattern[1:].partition("]")
        return list(inside), rest
    if pattern[0] == "\\":
        return [" " if pattern[1] == "s" else pattern[1]], pattern[2:]
    if pattern[0] in "{*+^$.(":
        raise ValueError("no simple pattern")
    return [pattern[0]], pattern[1:]
