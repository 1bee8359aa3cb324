"""
German nouns: written with a capital as names are, and made of others without an end.

What is on no list is a noun when it ends as only nouns end, or when it comes apart into ordinary words.
"""

from functools import lru_cache
from typing import Final

from flotilla.privacy import lexicon
from flotilla.privacy.lexicon import COMMON, LAST
from flotilla.privacy.values.regions import words

_ENDINGS: Final = tuple(
    words(
        "ung ungen heit heiten keit keiten schaft schaften tion tionen sion tät täten ismus nis nisse nissen ling "
        "linge tum ment mente ierung ierungen logie grafie graphie ität enz anz ur chen lein bar lich isch ische "
        "ischen ischer lichen licher liche ende enden ender"
    )
)
_ENDING_STEM_MIN: Final = 4
_PART_LENGTH_MIN: Final = 3
_JOINTS: Final = ("", "s", "es", "n", "en", "er", "e")
_INFLECTIONS: Final = ("", "s", "n", "en", "e", "es", "er")
_DEPTH_MAX: Final = 3


def is_german_noun(word: str) -> bool:
    """Whether a capitalised word that is on no list is an ordinary German noun or adjective."""
    lower = word.lower()
    if any(lower.endswith(ending) and len(lower) - len(ending) >= _ENDING_STEM_MIN for ending in _ENDINGS):
        return True
    return _comes_apart(lower, _DEPTH_MAX)


@lru_cache(maxsize=8192)
def _comes_apart(word: str, depth: int) -> bool:
    listed, german = lexicon.ordinary_words(), COMMON["de"]
    # What ends as family names do is more probably one: Wend-meier, Rosen-stein.
    if depth < _DEPTH_MAX and lexicon.names().flags(word) & LAST:
        return False
    for ending in _INFLECTIONS:
        stem = word.removesuffix(ending)
        if len(stem) > _PART_LENGTH_MIN and (stem != word or not ending) and listed.flags(stem) & german:
            return True
    if depth == 0:
        return False
    return any(
        _is_head(word[:cut]) and _comes_apart(word[cut:], depth - 1)
        for cut in range(_PART_LENGTH_MIN + 1, len(word) - _PART_LENGTH_MIN)
    )


def _is_head(head: str) -> bool:
    """Whether a German compound can begin so: an ordinary word and what joins it to the next one."""
    listed, german = lexicon.ordinary_words(), COMMON["de"]
    return any(
        listed.flags(head.removesuffix(joint)) & german
        for joint in _JOINTS
        if head.endswith(joint) and len(head) - len(joint) >= _PART_LENGTH_MIN
    )
