"""The parts of a text in which a pattern is worth trying."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

_DIGIT_BEFORE: Final = 40
_DIGIT_AFTER: Final = 44
# With the further ones whose surroundings meet its own; possessive, or a text of a million digits takes 80 MB.
_DIGITS: Final = re.compile(rf"\d[\d .,:/()-]*+(?:[^\d]{{0,{_DIGIT_BEFORE + _DIGIT_AFTER}}}\d[\d .,:/()-]*+)*+")
# A word that reaches into a region belongs to it, up to this length.
_WORD_LENGTH_MAX: Final = 80

Region = tuple[int, int]


def around(
    text: str, places: Iterable[Region], *, before: int, after: int, word_length_max: int = _WORD_LENGTH_MAX
) -> list[Region]:
    """The merged surroundings of places in the order of the text, cut between words."""
    merged: list[list[int]] = []
    for first, last in places:
        start, end = max(0, first - before), min(len(text), last + after)
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
            continue
        merged.append([start, end])
    regions: list[Region] = []
    for start, end in merged:
        left = max(0, start - word_length_max)
        while start > left and not text[start - 1].isspace():
            start -= 1  # noqa: PLW2901 - the region grows
        right = min(len(text), end + word_length_max)
        while end < right and not text[end].isspace():
            end += 1  # noqa: PLW2901
        regions.append((start, end))
    return regions


def near_digits(text: str) -> list[Region]:
    """Where digits are, with what may belong to them."""
    return around(text, (match.span() for match in _DIGITS.finditer(text)), before=_DIGIT_BEFORE, after=_DIGIT_AFTER)


def near_any(text: str, words: Sequence[str], *, before: int, after: int) -> list[Region]:
    """Where one of some lower-case words is, with its surroundings; `text` in lower case, of the original's length."""
    hits: list[Region] = []
    for word in words:
        place = text.find(word)
        while place >= 0:
            hits.append((place, place + len(word)))
            place = text.find(word, place + 1)
    hits.sort()
    return around(text, hits, before=before, after=after)


def places_of_words(lower: str, listed: Iterable[str]) -> Iterator[Region]:
    """Where one of some words stands, with no letter before and after it; all in lower case."""
    for word in listed:
        start = lower.find(word)
        while start >= 0:
            end = start + len(word)
            if not (lower[start - 1 : start].isalpha() or lower[end : end + 1].isalpha()):
                yield start, end
            start = lower.find(word, end)


def matches(pattern: re.Pattern[str], text: str, regions: Iterable[Region]) -> Iterator[re.Match[str]]:
    """The pattern's matches within the regions."""
    for start, end in regions:
        yield from pattern.finditer(text, start, end)


def near_hints(
    pattern: re.Pattern[str], hint: re.Pattern[str], text: str, before: int, after: int
) -> Iterator[re.Match[str]]:
    """The matches of a pattern that begin at most so far before a match of the hint, and end at most so far after it."""
    done = 0
    for place in hint.finditer(text):
        match = pattern.search(text, max(done, place.start() - before), place.end() + after)
        if match is not None:
            done = match.end()
            yield match


def begins(first: str, unless: str) -> str:
    """
    The beginning of a pattern: a sign of one class where none of another stands before it.

    The class comes first and the look behind after it, so that the search skips to the next sign of the class; with the
    look behind first, it tries the pattern at every character, which takes five times as long.

    Args:
        first: What stands between the brackets of a class; no line break.
        unless: The same, of what may not stand before.
    """
    return f"[{first}](?<![{unless}].)"


def words(listed: str) -> frozenset[str]:
    """The words of a text with spaces between."""
    return frozenset(listed.split())
