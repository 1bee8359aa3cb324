"""
Extractive summaries: the sentences of a document that say most of what it says, in their order.

A sentence scores by the frequency of its words in the document, by its likeness to other good sentences (a small
TextRank), by its place, and by what letters put into sentences that matter: figures, dates, requests, decisions.
Sentences that repeat a chosen one are passed over.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from flotilla.inference.engines.embedded.stopwords import STOPWORDS
from flotilla.inference.engines.embedded.text import sentences, stem, word_count, words

SENTENCES_SCORED_MAX: Final = 2_000
"""Of a longer document, its beginning, its end, and sentences evenly spread between them are read."""

SENTENCES_RANKED_MAX: Final = 120
"""So many of the best are compared with one another; the comparison is quadratic."""

DEFAULT_WORDS_MIN: Final = 50
DEFAULT_WORDS_MAX: Final = 150
DEFAULT_FRACTION: Final = 0.3
REDUNDANT_LIKENESS: Final = 0.6
POOR_FRACTION: Final = 0.25
"""A sentence with less than this fraction of the best score is no part of a summary, even when it would fit."""

RANK_ROUNDS: Final = 12
RANK_DAMPING: Final = 0.85

_SENTENCE_WORDS_MAX = 400
_SHORT_WORDS = 4
_SENTENCE_ENDS = (".", "!", "?", "…", "。", "！", "？", '"', ")", "”")  # noqa: RUF001  # Chinese and Japanese ends
_FIGURE = re.compile(r"\d")
_CONTACT = re.compile(r"\w@\w|https?://|www\.")
_CUE = re.compile(
    r"\b(?:therefore|in summary|in conclusion|conclu\w+|important|decid\w+|agree\w*|request\w*|deadline|must|"
    r"require\w*|confirm\w*|terminat\w+|cancel\w*|propos\w+|recommend\w*|result\w*|because|urgent\w*|"
    r"daher|deshalb|wichtig\w*|frist\w*|beschl\w+|kündig\w*|bitte\w?|fordern|ergebnis\w*|zusammenfass\w+|"
    r"donc|décid\w+|importan\w+|délai|résult\w+|por lo tanto|plazo|solicit\w+)\b",
    re.IGNORECASE,
)
_FORMALITY = re.compile(
    r"(?:dear|hi|hello|sincerely|yours|kind regards|best regards|regards|best|cheers|thank you|thanks|many thanks|"
    r"sehr geehrte\w?|liebe\w?|hallo|mit freundlichen|freundliche|viele grüße|beste grüße|vielen dank|"
    r"cher|chère|bonjour|cordialement|bien à vous|veuillez agréer|estimad\w+|atentamente|saludos|"
    r"from|to|cc|tel|phone|fax|e-?mail|page|date|re|subject|betreff|datum|attendees|objet)\b",
    re.IGNORECASE,
)


class Sentence(NamedTuple):
    """A sentence, its place in the document, its stems, and what it scored."""

    text: str
    place: int
    stems: frozenset[str]
    score: float


def summarize(document: str, *, max_words: int | None = None, style: str | None = None) -> list[str]:
    """
    The chosen sentences in the order of the document; at least one, and `max_words` words at the most together.

    `style` may ask for a list (`bullets`) or for one sentence (`headline`, `one sentence`); other styles need a model
    and change nothing. A first sentence that alone is longer than `max_words` is cut and ends with an ellipsis.
    """
    read = list(sentences(document))
    wanted = (style or "").casefold()
    most = max_words or _default_words(sum(word_count(text) for text, _ in read[:SENTENCES_SCORED_MAX]))
    one = any(word in wanted for word in ("headline", "title", "one sentence", "single sentence"))
    ranked = rank(read)
    if not ranked:
        return [_shortened(document.strip(), most)]
    chosen = choose(ranked, words_max=most, count_max=1 if one else len(ranked))
    if not chosen:
        return [_shortened(ranked[0].text, most)]
    texts = [sentence.text for sentence in sorted(chosen, key=lambda sentence: sentence.place)]
    if any(word in wanted for word in ("bullet", "list", "stichpunkt", "stichwort")):
        return [f"- {text}" for text in texts]
    return texts


def _default_words(document_words: int) -> int:
    return max(DEFAULT_WORDS_MIN, min(DEFAULT_WORDS_MAX, round(document_words * DEFAULT_FRACTION)))


def _shortened(text: str, words_max: int) -> str:
    kept = text.split()[:words_max]
    short = " ".join(kept)[: words_max * 20]
    return short if short == " ".join(text.split()) else f"{short.rstrip(' ,;:-')}…"


def rank(read: Sequence[tuple[str, bool]], boosts: Iterable[str] = ()) -> list[Sentence]:
    """
    The sentences by score, best first.

    Args:
        read: As `sentences` gives them.
        boosts: Stems that somebody asked for: sentences that have them count more.
    """
    sampled = _sample(len(read))
    stems_of = {index: _stems(read[index][0]) for index in sampled}
    counts = Counter(name for stems in stems_of.values() for name in stems)
    asked = frozenset(boosts)
    scored: list[Sentence] = []
    for index in sampled:
        text, opens = read[index]
        stems = stems_of[index]
        weight = sum(math.log1p(counts[name]) for name in sorted(stems))
        score = weight / (len(stems) ** 0.5 + 2) * _place(index, len(read), opens=opens) * _manner(text, stems)
        scored.append(Sentence(text, index, stems, score))
    if asked and scored:
        # A sentence that has all that was asked for is worth as much as the best one of the document, at least.
        best = max(sentence.score for sentence in scored)
        scored = [
            sentence._replace(score=sentence.score + best * len(asked & sentence.stems) / len(asked))
            for sentence in scored
        ]
    scored.sort(key=lambda sentence: (-sentence.score, sentence.place))
    return _central(scored[:SENTENCES_RANKED_MAX]) + scored[SENTENCES_RANKED_MAX:]


def _sample(count: int) -> list[int]:
    if count <= SENTENCES_SCORED_MAX:
        return list(range(count))
    head, tail = SENTENCES_SCORED_MAX // 4, SENTENCES_SCORED_MAX // 8
    between = SENTENCES_SCORED_MAX - head - tail
    span = count - head - tail
    middle = (head + step * span // between for step in range(between))
    return [*range(head), *middle, *range(count - tail, count)]


def _stems(text: str) -> frozenset[str]:
    return frozenset(stem(word) for word in words(text, _SENTENCE_WORDS_MAX) if word not in STOPWORDS and len(word) > 1)


def _place(index: int, count: int, *, opens: bool) -> float:
    early = 1.35 if index == 0 else 1.25 if index < max(3, count // 20) else 1.0
    return early * (1.1 if opens else 1.0)


def _manner(text: str, stems: frozenset[str]) -> float:
    factor = 1.0
    if _CUE.search(text):
        factor *= 1.25
    if _FIGURE.search(text):
        factor *= 1.1
    if _CONTACT.search(text):
        factor *= 0.5
    if len(stems) < _SHORT_WORDS:
        factor *= 0.4
    if _FORMALITY.match(text):
        factor *= 0.3
    if text.endswith("?"):
        factor *= 0.8
    if not text.endswith(_SENTENCE_ENDS):
        factor *= 0.6
    return factor


def likeness(one: frozenset[str], other: frozenset[str]) -> float:
    """Cosine of two sets of stems, 0 to 1."""
    return len(one & other) / math.sqrt(len(one) * len(other)) if one and other else 0.0


def _central(scored: list[Sentence]) -> list[Sentence]:
    """Weigh the scores by how much the sentences are like one another (TextRank)."""
    count = len(scored)
    links = [[0.0] * count for _ in range(count)]
    for row in range(count):
        for column in range(row):
            links[row][column] = links[column][row] = likeness(scored[row].stems, scored[column].stems)
    sums = [sum(row) or 1.0 for row in links]
    ranks = [1.0] * count
    for _ in range(RANK_ROUNDS):
        shares = [ranks[index] / sums[index] for index in range(count)]
        ranks = [
            1 - RANK_DAMPING + RANK_DAMPING * sum(link * share for link, share in zip(row, shares, strict=True))
            for row in links
        ]
    weighted = [
        sentence._replace(score=sentence.score * math.sqrt(rank)) for sentence, rank in zip(scored, ranks, strict=True)
    ]
    return sorted(weighted, key=lambda sentence: (-sentence.score, sentence.place))


def choose(ranked: Sequence[Sentence], *, words_max: int, count_max: int) -> list[Sentence]:
    """The best that fit into `words_max` together and do not repeat one another; best first, possibly none."""
    chosen: list[Sentence] = []
    left = words_max
    floor = ranked[0].score * POOR_FRACTION if ranked else 0.0
    for sentence in ranked[:SENTENCES_RANKED_MAX]:
        if len(chosen) >= count_max or sentence.score < floor:
            break
        needed = word_count(sentence.text)
        if needed > left or any(likeness(sentence.stems, other.stems) > REDUNDANT_LIKENESS for other in chosen):
            continue
        chosen.append(sentence)
        left -= needed
    return chosen
