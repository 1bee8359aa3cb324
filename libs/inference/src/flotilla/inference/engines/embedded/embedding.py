"""
Embeddings by hashing: words, pairs of words and parts of words, counted into a fixed number of dimensions.

Texts that share words and forms of words come out alike; texts that say the same in other words do not. The hash is
CRC-32, so vectors are the same on every machine and in every release.
"""

import math
from collections import Counter
from functools import lru_cache
from typing import Final
from zlib import crc32

from flotilla.inference.engines.embedded.stopwords import STOPWORDS
from flotilla.inference.engines.embedded.text import stem, words

DIMENSIONS: Final = 256
WORDS_READ_MAX: Final = 50_000
"""Of one text; what follows does not count."""

DIGITS: Final = 6

_STEM_WEIGHT = 1.0
_PAIR_WEIGHT = 0.5
_PART_WEIGHT = 0.35
_STOPWORD_WEIGHT = 0.1
_PART_CHARS = 3


def embed(text: str) -> list[float]:
    """A vector of DIMENSIONS numbers and length 1."""
    features: Counter[str] = Counter()
    before = ""
    for word in words(text, WORDS_READ_MAX):
        root = stem(word)
        features[root] += 1
        if word in STOPWORDS:
            continue
        if before:
            features[f"{before} {root}"] += 1
        before = root
    if not features:
        features[text] += 1
    vector = [0.0] * DIMENSIONS
    for feature, count in features.items():
        weight = 1 + math.log(count)
        for index, share in _slots(feature):
            vector[index] += weight * share
    length = math.sqrt(sum(number * number for number in vector))
    if length == 0.0:
        vector[0] = length = 1.0
    return [round(number / length, DIGITS) for number in vector]


@lru_cache(maxsize=65_536)
def _slots(feature: str) -> tuple[tuple[int, float], ...]:
    """Where a feature counts, and how much; the sign keeps collisions from adding up."""
    if " " in feature:
        return (_slot(feature, _PAIR_WEIGHT),)
    if feature in STOPWORDS:
        return (_slot(feature, _STOPWORD_WEIGHT),)
    framed = f"<{feature}>"
    parts = (framed[start : start + _PART_CHARS] for start in range(len(framed) - _PART_CHARS + 1))
    return (_slot(feature, _STEM_WEIGHT), *(_slot(part, _PART_WEIGHT) for part in parts))


def _slot(feature: str, weight: float) -> tuple[int, float]:
    digest = crc32(feature.encode(errors="replace"))
    return digest % DIMENSIONS, weight if digest & 0x8000_0000 else -weight
