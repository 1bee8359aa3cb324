"""Sentences, words and stems, of any text there is, in bounded time."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

SENTENCE_CHARS_MAX: Final = 1_000
"""A longer run without an end is cut between words, or where it is when it has none."""

WORD_CHARS_MAX: Final = 64
"""Longer runs of letters (keys, encoded data) are no words."""

READ_BLOCK_CHARS: Final = 65_536
"""
Patterns run over at most this much at a time.

A pattern that runs holds the interpreter, and with it the event loop of the worker: over a whole document of 5 MB that
would be felt.
"""

_BLANK_LINE = re.compile(r"\n[ \t\r\f\v]*\n")
_BULLET = re.compile(r"\s{0,40}[-*•–]\s{1,8}")  # noqa: RUF001  # the dash is meant
_NUMBERED = re.compile(r"\s{0,40}(?:\d{1,3}[.)]|[a-z]\))\s")
_ORDINAL_BEFORE = re.compile(r"(?:\b(?:am|im|zum|vom|der|dem|den|das|die|bis|seit|ab|nr|no)\s)\d{1,2}\Z", re.IGNORECASE)
_END = re.compile(r"[.!?…]{1,5}[\"'”’»)\]]{0,3}(?=\s)|[。！？]{1,5}[」』”]?")  # noqa: RUF001
_STARTS_LOWER = re.compile(r"\s+[a-zà-öø-ÿ]")
_LAST_WORD = re.compile(r"([^\W_]+)\.?\Z")
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")  # noqa: RUF001
_SPACES = re.compile(r"\s+")
_CJK = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff]")
_ABBREVIATIONS = frozenset(
    """
    mr mrs ms dr prof st jr sr inc ltd co corp dept est no nr art abs vs etc e.g i.e eg ie approx fig ca bzw z.b
    u.a usw evtl ggf inkl str tel bspw d.h dipl ing mme mlle al cf vol pp ed rev gen sen rep jan feb mar apr jun
    jul aug sep sept oct nov dec mio mrd hr fr sig dott
    """.split()  # noqa: SIM905  # a word list reads better without quotes
)


def blocks(text: str) -> Iterator[tuple[int, int]]:
    """Cut a text into spans of at most READ_BLOCK_CHARS, between lines where it has lines, else between words."""
    start = 0
    while start < len(text):
        end = min(start + READ_BLOCK_CHARS, len(text))
        if end < len(text):
            for break_at in ("\n", " "):
                cut = text.rfind(break_at, start + READ_BLOCK_CHARS // 2, end)
                if cut > 0:
                    end = cut + 1
                    break
        yield start, end
        start = end


def paragraphs(text: str) -> Iterator[str]:
    """The parts between blank lines; the items of a list each on its own."""
    for start, end in blocks(text.replace("\r\n", "\n").replace("\r", "\n")):
        for part in _BLANK_LINE.split(text[start:end]):
            lines: list[str] = []
            for line in part.splitlines():
                if lines and _begins_anew(lines[-1], line):
                    yield "\n".join(lines)
                    lines = []
                lines.append(line)
            if lines:
                yield "\n".join(lines)


_HEAD_CHARS_MAX = 60


def _begins_anew(line: str, after: str) -> bool:
    """
    Whether a line break is more than a wrapped line.

    A short line before one that begins with a capital is a heading, an address or a greeting. A number alone does not
    make an item: "on the / 2. September" is wrapped.
    """
    if _BULLET.match(after):
        return True
    line, after = line.strip(), after.strip()
    if _NUMBERED.match(after):
        return line.endswith((".", ":", ";", "!", "?"))
    return len(line) < _HEAD_CHARS_MAX and bool(after) and not after[0].islower() and not line.endswith(("-", "and"))


def sentences(text: str) -> Iterator[tuple[str, bool]]:
    """Every sentence, white space made single, with whether it opens its paragraph."""
    for paragraph in paragraphs(text):
        opens = True
        for sentence in _split(_BULLET.sub("", paragraph, count=1) if _BULLET.match(paragraph) else paragraph):
            for piece in _cut(_SPACES.sub(" ", sentence).strip()):
                yield piece, opens
                opens = False


def _split(paragraph: str) -> Iterator[str]:
    start = 0
    for end in _END.finditer(paragraph):
        if end.group().startswith(".") and not _is_an_end(paragraph, start, end):
            continue
        yield paragraph[start : end.end()]
        start = end.end()
    yield paragraph[start:]


def _is_an_end(paragraph: str, start: int, end: re.Match[str]) -> bool:
    if _STARTS_LOWER.match(paragraph, end.end()):
        return False
    before = _LAST_WORD.search(paragraph[max(start, end.start() - WORD_CHARS_MAX) : end.start()])
    if before is None:
        return True
    word = before.group(1)
    if word.isdigit():
        # "1. Services", and in German "vom 12. Januar".
        told = paragraph[start : end.start()]
        return not (told.strip() == word or _ORDINAL_BEFORE.search(told))
    # "J. Smith" and "Dr. Smith".
    return not (len(word) == 1 or word.casefold() in _ABBREVIATIONS)


def _cut(sentence: str) -> Iterator[str]:
    while len(sentence) > SENTENCE_CHARS_MAX:
        at = sentence.rfind(" ", SENTENCE_CHARS_MAX // 2, SENTENCE_CHARS_MAX)
        at = at if at > 0 else SENTENCE_CHARS_MAX
        yield sentence[:at]
        sentence = sentence[at:].lstrip()
    if sentence:
        yield sentence


def words(text: str, limit: int) -> Iterator[str]:
    """At most `limit` words, case folded; of scripts written without spaces, pairs of characters."""
    left = limit
    for start, end in blocks(text):
        for match in _WORD.finditer(text, start, end):
            word = match.group().casefold()
            for part in _pairs(word) if _CJK.search(word) else (word,):
                if len(part) <= WORD_CHARS_MAX:
                    yield part
                    left -= 1
                    if left <= 0:
                        return


def _pairs(word: str) -> Iterator[str]:
    if len(word) == 1:
        yield word
    for index in range(len(word) - 1):
        yield word[index : index + 2]


def word_count(text: str) -> int:
    """As people count: what stands between spaces; two characters of a script without spaces are about a word."""
    return len(text.split()) + len(_CJK.findall(text)) // 2


_SUFFIXES: Final = (
    ("ations", ""),
    ("ation", ""),
    ("ments", ""),
    ("ment", ""),
    ("ings", ""),
    ("ing", ""),
    ("ungen", "ung"),
    ("ities", "y"),
    ("ies", "y"),
    ("ied", "y"),
    ("edly", ""),
    ("ally", "al"),
    ("ed", ""),
    ("ern", ""),
    ("ers", ""),
    ("er", ""),
    ("es", ""),
    ("en", ""),
    ("em", ""),
    ("ly", ""),
    ("s", ""),
    ("e", ""),
)
_STEM_CHARS_MIN = 3


@lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """A crude stem, good for finding two forms of one word; not a word itself."""
    word = word.partition("'")[0].partition("’")[0] or word  # noqa: RUF001  # the typographic apostrophe is meant
    if not word.isalpha():
        return word
    for suffix, instead in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) + len(instead) >= _STEM_CHARS_MIN:
            if suffix == "s" and word.endswith(("ss", "us", "is")):
                continue
            return word[: len(word) - len(suffix)] + instead
    return word
