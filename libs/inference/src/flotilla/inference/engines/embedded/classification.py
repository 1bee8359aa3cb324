"""
Classification by words: which label's name, description and related words occur in the document, and how much.

A word that speaks for few of the labels counts more than one that speaks for many, the first lines count more than the
rest, and a word after a negation counts as its opposite. The confidence is what the evidence supports, not a
probability that was ever measured.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

from flotilla.contracts.capabilities import ClassifyOutput
from flotilla.inference.engines.embedded.lexicon import FALLBACKS, NEGATIONS, related
from flotilla.inference.engines.embedded.stopwords import STOPWORDS
from flotilla.inference.engines.embedded.text import stem, words

WORDS_READ_MAX: Final = 50_000
HEAD_WORDS: Final = 60
"""The subject and the first sentences; their words count HEAD_WEIGHT times."""

HEAD_WEIGHT: Final = 2
LABEL_WORDS_MAX: Final = 200
CONFIDENCE_MAX: Final = 0.97
MULTI_FRACTION: Final = 0.4
"""With `multi`, labels with this fraction of the best one's evidence apply too."""

FALLBACK_EVIDENCE: Final = 1.6
"""With less than this for any label, one that stands for the rest is chosen, if there is one."""

EVIDENCE_MIN: Final = 0.5
"""With `multi`, a label with less evidence does not apply."""

RATIONALE_WORDS_MAX: Final = 6

_NAME_WEIGHT = 2.5
_DESCRIPTION_WEIGHT = 1.0
_RELATED_WEIGHT = 1.0
_PART_WEIGHT = 0.5
_PART_CHARS_MIN = 5
_NEGATION_REACH = 2
_STRENGTH_SCALE = 3.0


class _Words(NamedTuple):
    counts: Counter[str]
    forms: dict[str, str]
    heads: dict[str, list[str]]
    tails: dict[str, list[str]]


class _Evidence(NamedTuple):
    score: float
    matched: list[str]


def classify(document: str, labels: Sequence[tuple[str, str]], *, multi: bool) -> ClassifyOutput:
    """
    Choose among `labels`, each a name and a description (possibly empty).

    Without enough evidence a label that stands for the rest ("other", "neutral") is chosen, with the confidence of a
    guess; where there is none, the one with the most evidence, or the first. With `multi` the list may be empty.
    """
    found = _read(document)
    terms = [_terms(name, description) for name, description in labels]
    spoken_for = Counter(term for weights in terms for term in weights)
    evidence = [_weigh(found, weights, spoken_for, len(labels)) for weights in terms]
    order = sorted(range(len(labels)), key=lambda index: (-evidence[index].score, index))
    best = order[0]
    confidence = _confidence([item.score for item in evidence], best)
    if multi:
        least = max(EVIDENCE_MIN, MULTI_FRACTION * evidence[best].score)
        chosen = [index for index in order if evidence[index].score >= least]
        return ClassifyOutput(
            labels=[labels[index][0] for index in chosen],
            confidence=confidence,
            rationale=_rationale([word for index in chosen for word in evidence[index].matched]),
        )
    rest = next((index for index, (name, _) in enumerate(labels) if _is_fallback(name)), None)
    if rest is not None and evidence[best].score < FALLBACK_EVIDENCE:
        return ClassifyOutput(label=labels[rest][0], confidence=round(1 / len(labels), 3), rationale=_rationale(()))
    return ClassifyOutput(label=labels[best][0], confidence=confidence, rationale=_rationale(evidence[best].matched))


def _is_fallback(name: str) -> bool:
    named = list(words(name, LABEL_WORDS_MAX))
    return bool(named) and all(word in FALLBACKS for word in named)


def _read(document: str) -> _Words:
    counts: Counter[str] = Counter()
    forms: dict[str, str] = {}
    negated = 0
    for position, word in enumerate(words(document, WORDS_READ_MAX)):
        plain = word.replace("’", "'")  # noqa: RUF001  # the typographic apostrophe is meant
        if plain in NEGATIONS:
            negated = _NEGATION_REACH + 1
        negated = max(0, negated - 1)
        if word in STOPWORDS:
            continue
        root = stem(word)
        key = f"!{root}" if negated else root
        counts[key] += HEAD_WEIGHT if position < HEAD_WORDS else 1
        forms.setdefault(key, f"not {word}" if negated else word)
    heads: dict[str, list[str]] = {}
    tails: dict[str, list[str]] = {}
    for root in counts:
        if len(root) > _PART_CHARS_MIN:
            heads.setdefault(root[:_PART_CHARS_MIN], []).append(root)
            tails.setdefault(root[-_PART_CHARS_MIN:], []).append(root)
    return _Words(counts, forms, heads, tails)


def _terms(name: str, description: str) -> dict[str, float]:
    weights: dict[str, float] = {}
    for word in words(description, LABEL_WORDS_MAX):
        if word not in STOPWORDS:
            weights[stem(word)] = _DESCRIPTION_WEIGHT
    named = [stem(part) for word in words(name, LABEL_WORDS_MAX) for part in (word, *word.split("_"))]
    for root in named:
        for other in related(root):
            weights[other] = max(weights.get(other, 0.0), _RELATED_WEIGHT)
    for root in named:
        if root not in STOPWORDS:
            weights[root] = _NAME_WEIGHT
    return weights


def _weigh(found: _Words, weights: dict[str, float], spoken_for: Counter[str], labels: int) -> _Evidence:
    scores: dict[str, float] = {}
    for term, weight in weights.items():
        rarity = math.log(1 + labels / spoken_for[term])
        if count := found.counts.get(term, 0):
            scores[term] = max(scores.get(term, 0.0), weight * rarity * (1 + math.log(count)))
        elif len(term) >= _PART_CHARS_MIN:
            # "Rechnung" speaks from within "Rechnungsnummer" and "Arztrechnung".
            for root in _compounds(found, term):
                scores[root] = max(scores.get(root, 0.0), _PART_WEIGHT * weight * rarity)
    matched = sorted(scores, key=lambda term: (-scores[term], term))
    # A long description has more words that can occur by chance.
    total = sum(scores[term] for term in matched) / (1 + math.log1p(len(weights)) / 8)
    return _Evidence(total, [found.forms[term] for term in matched])


def _compounds(found: _Words, term: str) -> list[str]:
    starting = (root for root in found.heads.get(term[:_PART_CHARS_MIN], ()) if root.startswith(term))
    ending = (root for root in found.tails.get(term[-_PART_CHARS_MIN:], ()) if root.endswith(term))
    return [*starting, *ending]


def _confidence(scores: Sequence[float], best: int) -> float:
    guess = 1 / len(scores)
    total = sum(score**1.5 for score in scores)
    if total <= 0:
        return round(guess, 3)
    share = scores[best] ** 1.5 / total
    strength = 1 - math.exp(-scores[best] / _STRENGTH_SCALE)
    if len(scores) == 1:
        return round(min(CONFIDENCE_MAX, strength), 3)
    return round(min(CONFIDENCE_MAX, guess + max(0.0, share - guess) * strength), 3)


def _rationale(matched: Sequence[str]) -> str:
    shown = list(dict.fromkeys(matched))[:RATIONALE_WORDS_MAX]
    return (
        f"words that speak for it: {', '.join(shown)}" if shown else "too few words of the document speak for any label"
    )
