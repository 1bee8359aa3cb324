"""
What is known of a text before any pattern is tried, so that most need not be.

Trying fifty patterns at every character of a page takes 30 ms. A pattern is tried near digits alone, and only if the
text has the shape that it needs somewhere: whether it has takes a microsecond.
"""

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Final

from flotilla.privacy.values.regions import Region, begins, near_digits

_SHAPES: Final = bytes(
    ord("9")
    if chr(code).isdigit() and code < 128  # noqa: PLR2004 - ASCII
    else ord("A")
    if chr(code).isupper()
    else ord("a")
    if chr(code).islower()
    else code
    for code in range(256)
)
_NUMBER_BEGINS: Final = re.compile(begins("+(0-9", r"\w") + r"(?:(?<=[0-9])[0-9]*)?")
_WORD: Final = re.compile(r"[^\W\d_]+")
ANY_LENGTH: Final = 1 << 62

WordPlaces = Mapping[str, Sequence[int]]
"""Where each word of a text begins."""


@dataclass(frozen=True)
class Outline:
    """
    A text with what is known of it.

    Attributes:
        text: In its plain form (`normalise.read`).
        lower: In small letters, of the same length.
        shape: Of the same length, with "9" for each digit, "A" and "a" for letters of Latin-1 in capitals and small, "?"
            for what Latin-1 has not.
        digits: Where digits are, with what may belong to them.
        numbers: Where a number may begin: at a digit, a plus or a bracket, with nothing of a word before it; and how many
            digits it begins with.
    """

    text: str
    lower: str
    shape: str
    digits: Sequence[Region]
    numbers: Sequence[tuple[int, int]]
    _chosen: dict[tuple[int, int], list[int]] = field(default_factory=dict[tuple[int, int], list[int]])

    @cached_property
    def word_places(self) -> WordPlaces:
        """Its words as they are written, letters alone."""
        places: defaultdict[str, list[int]] = defaultdict(list)
        for match in _WORD.finditer(self.text):
            places[match[0]].append(match.start())
        return dict(places)

    @cached_property
    def words(self) -> frozenset[str]:
        """Its words in small letters, letters alone."""
        return frozenset(map(str.lower, self.word_places))

    def has_shape(self, *shapes: str) -> bool:
        """Whether one of some shapes occurs."""
        text = self.shape
        for shape in shapes:  # noqa: SIM110 - many a page, and `any` of a generator takes three times as long
            if shape in text:
                return True
        return False

    def has_word(self, *lower: str) -> bool:
        """Whether one of some texts in small letters occurs."""
        return any(word in self.lower for word in lower)

    def at_numbers(
        self, pattern: re.Pattern[str], digits_min: int = 0, digits_max: int = ANY_LENGTH
    ) -> Iterator[re.Match[str]]:
        """The matches of a pattern that can begin only where a number may, with so many digits."""
        return _at(pattern, self.text, self.places(digits_min, digits_max))

    def at_numbers_before(
        self, pattern: re.Pattern[str], words: Iterable[str], length_max: int
    ) -> Iterator[re.Match[str]]:
        """The same, of a pattern that goes on with one of some words, at most so many characters after its beginning."""
        numbers = self.places(0, ANY_LENGTH)
        near = {
            place
            for word in words
            for start in self.word_places.get(word, ())
            for place in numbers[bisect_left(numbers, start - length_max) : bisect_left(numbers, start)]
        }
        return _at(pattern, self.text, sorted(near))

    def places(self, digits_min: int, digits_max: int) -> Sequence[int]:
        """Where a number may begin that begins with so many digits; a page has hundreds, and is asked twenty times."""
        places = self._chosen.get((digits_min, digits_max))
        if places is None:
            places = [place for place, digits in self.numbers if digits_min <= digits <= digits_max]
            self._chosen[digits_min, digits_max] = places
        return places

    def at_shapes(self, pattern: re.Pattern[str], *shapes: str) -> Iterator[re.Match[str]]:
        """The matches of a pattern that can begin only with one of some shapes."""
        return _at(pattern, self.text, sorted(_every(self.shape, shapes)))

    def at_words(self, pattern: re.Pattern[str], lower: Iterable[str]) -> Iterator[re.Match[str]]:
        """The matches of a pattern that can begin only with one of some texts, in any case."""
        return _at(pattern, self.text, sorted(_every(self.lower, lower)))


Find = Callable[[Outline], Iterator[tuple[int, int, str]]]


@lru_cache(maxsize=1)
def shared_outline_of(text: str) -> Outline:
    """What is known of a text that several layers read; `forget_shared` when they have."""
    return outline_of(text)


forget_shared: Final = shared_outline_of.cache_clear


def outline_of(text: str) -> Outline:
    """What is known of a text."""
    numbers = [
        (start, 0 if text[start] in "+(" else end - start)
        for start, end in (match.span() for match in _NUMBER_BEGINS.finditer(text))
    ]
    return Outline(text, lower_of(text), shape_of(text), near_digits(text), numbers)


def _at(pattern: re.Pattern[str], text: str, places: Iterable[int]) -> Iterator[re.Match[str]]:
    """What a pattern matches at some places in the order of the text, without overlaps."""
    tried, end = pattern.match, 0
    for place in places:
        if place >= end:
            match = tried(text, place)
            if match is not None:
                end = match.end()
                yield match


def _every(text: str, parts: Iterable[str]) -> Iterator[int]:
    """Every place where one of some parts is, in no order."""
    for part in parts:
        place = text.find(part)
        while place >= 0:
            yield place
            place = text.find(part, place + 1)


def lower_of(text: str) -> str:
    """The text in small letters, of the same length: a letter that becomes two stays."""
    lower = text.lower()
    return lower if len(lower) == len(text) else "".join(map(_lower, text))


def _lower(sign: str) -> str:
    lower = sign.lower()
    return lower if len(lower) == 1 else sign


def shape_of(text: str) -> str:
    """The text with "9" for its digits, "A" for capitals and "a" for small letters."""
    return text.encode("latin-1", "replace").translate(_SHAPES).decode("latin-1")
