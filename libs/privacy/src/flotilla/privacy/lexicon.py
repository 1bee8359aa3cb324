"""
Word lists: names, places, and the ordinary words of English, German, French and Spanish.

200,000 words as sets of strings would take 30 MB and half a second; kept as sorted hashes they take 3 MB. A hash of
56 bits gives a word that is on no list the flags of one that is about once in 10^11 look-ups.
"""

import lzma
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from importlib.resources import files
from typing import Final

FIRST: Final = 1
LAST: Final = 2
PLACE: Final = 1
# A country or state: a place whatever stands around it.
WHOLE_PLACE: Final = 2
# The first word of a place of several words.
BEGINS_PLACE: Final = 4
LANGUAGES: Final = ("en", "de", "fr", "es")
COMMON: Final = {language: 1 << place for place, language in enumerate(LANGUAGES)}
COMMON_ANYWHERE: Final = (1 << len(LANGUAGES)) - 1

# Of each list.
_LOOKED_UP_MAX: Final = 4_096
_FLAGS_BITS: Final = 8
_FLAGS: Final = (1 << _FLAGS_BITS) - 1


def _hashed(word: str) -> int:
    """The word's place: its hash, without the bits where the flags stand."""
    return hash(word) & ~_FLAGS


class WordList:
    """Words in lower case with flags; ß and ss are one."""

    def __init__(self, name: str) -> None:
        self._words = array("q", sorted(_lines(name)))

        self.flags: Callable[[str], int] = lru_cache(maxsize=_LOOKED_UP_MAX)(self._flags)
        """The flags of a word in lower case; 0 when it is not listed."""

    def __len__(self) -> int:
        return len(self._words)

    def _flags(self, word: str) -> int:
        hashed = _hashed(word.replace("ß", "ss") if "ß" in word else word)
        at = bisect_left(self._words, hashed)
        if at == len(self._words):
            return 0
        found = self._words[at]
        return found & _FLAGS if found & ~_FLAGS == hashed else 0


def _lines(name: str) -> Iterator[int]:
    flags = 0
    packed = files("flotilla.privacy.lists").joinpath(f"{name}.txt.xz").read_bytes()
    for word in lzma.decompress(packed).decode().split("\n"):
        if word.startswith("="):
            flags = int(word[1:])
        else:
            yield _hashed(word.replace("ß", "ss")) | flags


@cache
def names() -> WordList:
    """First names (`FIRST`) and family names (`LAST`), word by word."""
    return WordList("names")


@cache
def places() -> WordList:
    """Cities, regions and countries, whole; those of several words have spaces in them."""
    return WordList("places")


@cache
def ordinary_words() -> WordList:
    """The ordinary words of each language (`COMMON`), without those that are rather names."""
    return WordList("words")
