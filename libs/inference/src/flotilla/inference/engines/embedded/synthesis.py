"""
Reports from several sources, made of their own sentences: what is said overall, what several of them are about, and
what each one says, every statement with the number of its source.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

from flotilla.inference.engines.embedded.stopwords import STOPWORDS
from flotilla.inference.engines.embedded.summaries import Sentence, choose, likeness, rank
from flotilla.inference.engines.embedded.text import sentences, stem, words

OVERVIEW_SENTENCES_MAX: Final = 4
OVERVIEW_WORDS_MAX: Final = 140
SOURCE_SENTENCES_MAX: Final = 3
SOURCE_WORDS_MAX: Final = 90
SENTENCES_TOGETHER: Final = 60
"""With many sources, fewer sentences of each: about this many together, and one of each at least."""

THEMES_MAX: Final = 6
THEME_FRACTION_MIN: Final = 0.3
"""A theme is a word that at least two sources and this fraction of them have."""

WORDS_READ_MAX: Final = 20_000
TITLE_CHARS_MAX: Final = 120

_REPEATED_LIKENESS = 0.75
_THEME_CHARS_MIN = 4


class _Read(NamedTuple):
    number: int
    title: str
    ranked: list[Sentence]
    forms: dict[str, str]
    counts: Counter[str]


def synthesize(sources: Sequence[tuple[str, str]], instruction: str | None = None) -> list[str]:
    """
    The lines of the report (Markdown), each with its line break; together they are the report.

    Args:
        sources: Title (may be empty) and text of each; cited as [1], [2], ... in this order.
        instruction: Sentences with its words count more; it is not understood beyond that.
    """
    asked = [stem(word) for word in words(instruction or "", WORDS_READ_MAX) if word not in STOPWORDS]
    read = [_read(number, title, text, asked) for number, (title, text) in enumerate(sources, start=1)]
    lines: list[str] = []
    if instruction and instruction.strip():
        lines += [f"Asked for: {' '.join(instruction.split())}", ""]
    if len(read) > 1:
        lines += ["## Overview", *_overview(read), ""]
        if themes := _themes(read):
            lines += ["## Common themes", *themes, ""]
        lines.append("## By source")
    each = max(1, min(SOURCE_SENTENCES_MAX, SENTENCES_TOGETHER // len(read)))
    for source in read:
        lines += _key_points(source, each)
    while not lines[-1]:
        lines.pop()
    return [f"{line}\n" for line in lines[:-1]] + lines[-1:]


def _read(number: int, title: str, text: str, asked: list[str]) -> _Read:
    found = list(sentences(text)) or [(text.strip(), True)]
    forms: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for word in words(text, WORDS_READ_MAX):
        if word not in STOPWORDS and len(word) >= _THEME_CHARS_MIN and word.isalpha():
            counts[stem(word)] += 1
            forms.setdefault(stem(word), word)
    return _Read(number, " ".join(title.split())[:TITLE_CHARS_MAX], rank(found, asked), forms, counts)


def _overview(read: Sequence[_Read]) -> list[str]:
    """The best of each source in turn, by how much of what the others say is in it."""
    everywhere: Counter[str] = Counter(name for source in read for name in source.counts)
    candidates = [
        (turn, sentence.score * (1 + sum(everywhere[name] > 1 for name in sentence.stems) / 10), source, sentence)
        for source in read
        for turn, sentence in enumerate(choose(source.ranked, words_max=SOURCE_WORDS_MAX, count_max=2))
    ]
    candidates.sort(key=lambda candidate: (candidate[0], -candidate[1], candidate[2].number))
    shown: list[tuple[Sentence, list[int]]] = []
    left = OVERVIEW_WORDS_MAX
    for _, _, source, sentence in candidates:
        same = next((known for known in shown if likeness(known[0].stems, sentence.stems) > _REPEATED_LIKENESS), None)
        if same:
            same[1].append(source.number)
            continue
        needed = len(sentence.text.split())
        if len(shown) < OVERVIEW_SENTENCES_MAX and (needed <= left or not shown):
            shown.append((sentence, [source.number]))
            left -= needed
    return [f"{sentence.text} {_cited(numbers)}" for sentence, numbers in shown] or [
        f"{source.ranked[0].text} {_cited([source.number])}" for source in read[:1]
    ]


def _themes(read: Sequence[_Read]) -> list[str]:
    sources_of: dict[str, list[int]] = {}
    total: Counter[str] = Counter()
    forms: dict[str, str] = {}
    for source in read:
        for name, count in source.counts.items():
            sources_of.setdefault(name, []).append(source.number)
            total[name] += count
            forms.setdefault(name, source.forms[name])
    least = max(2, round(len(read) * THEME_FRACTION_MIN))
    shared = [name for name, numbers in sources_of.items() if len(numbers) >= least]
    shared.sort(key=lambda name: (-len(sources_of[name]), -total[name], name))
    return [f"- {forms[name]} {_cited(sources_of[name])}" for name in shared[:THEMES_MAX]]


def _key_points(source: _Read, count: int) -> list[str]:
    chosen = choose(source.ranked, words_max=SOURCE_WORDS_MAX, count_max=count) or source.ranked[:1]
    title = f"### [{source.number}] {source.title}".rstrip()
    points = (sentence for sentence in sorted(chosen, key=lambda sentence: sentence.place))
    return [title, *(f"- {sentence.text} {_cited([source.number])}" for sentence in points), ""]


def _cited(numbers: Sequence[int]) -> str:
    return "".join(f"[{number}]" for number in dict.fromkeys(numbers))
