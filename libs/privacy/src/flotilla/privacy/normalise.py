"""
What detection reads in place of the original text, with the way back to the original's offsets.

Tricks and accidents that hide a value are undone first: full-width and other compatibility forms (NFKC), invisible
characters (zero-width, soft hyphens, direction marks), digits of other scripts, hyphens and spaces of every kind,
characters that HTML, JSON and URLs write as something else.
A second reading undoes what would damage ordinary text: letters spelled out with spaces, line breaks inside a value,
letters in place of digits, "(at)" and "dot".
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import unescape
from html.entities import html5
from typing import Final

from flotilla.privacy.spans import Span
from flotilla.privacy.values.regions import near_hints

_HYPHENS: Final = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d\u00ad"), "-")
_APOSTROPHES: Final = dict.fromkeys(map(ord, "\u2018\u2019\u02bc\uff07\u00b4"), "'")
_KEPT_FORMATS: Final = frozenset("\r\n\t\v\f")
# Variation selectors and the grapheme joiner.
_INVISIBLE: Final = frozenset(map(chr, (*range(0xFE00, 0xFE10), 0x034F)))
_LINE_ENDS: Final = frozenset("\u2028\u2029\u0085")


@dataclass(frozen=True, slots=True)
class Reading:
    """
    A text as detection reads it.

    Attributes:
        text: What is read.
        starts: For each character of `text`, where its source begins in the original; None where they are the same.
        ends: For each character of `text`, where its source ends in the original.
        changed: Where of the original something else is read, in no order.
    """

    text: str
    starts: Sequence[int] | None = None
    ends: Sequence[int] | None = None
    changed: tuple[tuple[int, int], ...] = ()

    def original(self, span: Span) -> Span:
        """The span of the original that a span of `text` stands for."""
        if self.starts is None or self.ends is None:
            return span
        return span._replace(start=self.starts[span.start], end=self.ends[span.end - 1])

    def replaced(self, matches: Iterable[re.Match[str]], replacement: Callable[[re.Match[str]], str]) -> "Reading":
        """
        Give this reading with every match of its text replaced; they are in its order, without overlaps.

        A replacement of the match's length keeps offsets character by character; every character of another one
        stands for the whole match.
        """
        starts = range(len(self.text)) if self.starts is None else self.starts
        ends = range(1, len(self.text) + 1) if self.ends is None else self.ends
        pieces: list[str] = []
        new_starts: list[int] = []
        new_ends: list[int] = []
        changed: list[tuple[int, int]] = []
        done = 0
        for match in matches:
            new = replacement(match)
            begin, end = match.span()
            if begin == end or new == match[0]:
                continue
            pieces += (self.text[done:begin], new)
            changed.append((starts[begin], ends[end - 1]))
            new_starts += starts[done:begin]
            new_ends += ends[done:begin]
            if len(new) == end - begin:
                new_starts += starts[begin:end]
                new_ends += ends[begin:end]
            else:
                new_starts += [starts[begin]] * len(new)
                new_ends += [ends[end - 1]] * len(new)
            done = end
        if not done:
            return self
        pieces.append(self.text[done:])
        new_starts += starts[done:]
        new_ends += ends[done:]
        return Reading("".join(pieces), new_starts, new_ends, (*self.changed, *changed))


# What European texts are made of, character for character: read without a map of offsets, thirty times as fast.
_SAME_LENGTH: Final = _HYPHENS | _APOSTROPHES | dict.fromkeys(map(ord, "\u00a0\u202f\u2009"), " ")
_UNUSUAL: Final = re.compile(
    "[^\\x00-\\x7f\u00a0\u00c0-\u0131\u0134-\u013e\u0141-\u0148\u014a-\u017e\u2009\u202f\u2010-\u2014\u2018\u2019\u201c-\u201e\u00ab\u00bb\u2026\u20ac\u00a3\u00a7\u00b0\u00bf\u00a1\u00ba\u00aa\u2022]"
)


@lru_cache(maxsize=4096)
def _plain(cluster: str) -> str:
    """What is read for one character and its combining marks."""
    if cluster in _LINE_ENDS:
        return "\n"
    normal = unicodedata.normalize("NFKC", cluster).translate(_HYPHENS).translate(_APOSTROPHES)
    read: list[str] = []
    for character in normal:
        category = unicodedata.category(character)
        if category == "Nd":
            read.append(str(unicodedata.digit(character)))
        elif category == "Zs":
            read.append(" ")
        elif category == "Cf" or (category == "Cc" and character not in _KEPT_FORMATS) or character in _INVISIBLE:
            continue
        else:
            read.append(character)
    return "" if cluster == "\u00ad" else "".join(read)


# "&uuml;" and "&#252;", "\\u00fc", the "\\n" before a name, the "%40" of an address in a query.
_ESCAPED: Final = re.compile(
    r"&(?:#\d{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z]{2,8}\d{0,2});|\\u([0-9A-Fa-f]{4})"
    r"|\\[nrt](?=[^\W_a-zß-öø-ÿ]|\\)|(?<=\w)%40(?=\w)"
)
_ESCAPES: Final = ("&", "\\", "%40")
_SHORT: Final = {"\\n": "\n", "\\r": "\n", "\\t": "\t", "%40": "@"}


def _unescaped(match: re.Match[str]) -> str:
    """The character that is meant; what is none, or half of one, stays."""
    shown = match[0]
    if shown in _SHORT:
        return _SHORT[shown]
    if shown[0] == "\\":
        meant = chr(int(match[1], 16))
    else:
        meant = unescape(shown) if shown[1] == "#" else html5.get(shown[1:], shown)
    return shown if "\0" in meant or "\ud800" <= meant <= "\udfff" else meant


def read(text: str) -> Reading:
    """The text in its plain form."""
    if not any(sign in text for sign in _ESCAPES):
        return _read(text)
    written = Reading(text).replaced(_ESCAPED.finditer(text), _unescaped)
    reading = _read(written.text)
    if written.starts is None or written.ends is None:
        return reading
    if reading.starts is None or reading.ends is None:
        return Reading(reading.text, written.starts, written.ends)
    starts = [written.starts[start] for start in reading.starts]
    return Reading(reading.text, starts, [written.ends[end - 1] for end in reading.ends])


def _read(text: str) -> Reading:
    if text.isascii():
        return Reading(text)
    if not _UNUSUAL.search(text):
        return Reading(text.translate(_SAME_LENGTH))
    pieces: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    place = 0
    length = len(text)
    while place < length:
        end = place + 1
        while end < length and text[end] > "\u02ff" and unicodedata.combining(text[end]):
            end += 1
        cluster = text[place:end]
        plain = cluster if cluster < "\x7f" and end == place + 1 else _plain(cluster)
        pieces.append(plain)
        starts += [place] * len(plain)
        ends += [end] * len(plain)
        place = end
    return Reading("".join(pieces), starts, ends)


# --- the second reading -------------------------------------------------------------------------------------------
# At least six single characters with one space between: nobody writes prose so. "+", "@" and digits count as letters.
_SPELLED: Final = re.compile(r"(?<!\S)\S(?: \S){5,}(?![^\s.,;:!?)])")
# A value that goes on in the next line; "2. " there begins an item of a list.
_BROKEN: Final = re.compile(
    r"(?<=[\w.+%-][@._-])[ \t]?\r?\n[ \t]*(?=[a-z0-9])(?!\d{1,3}[.)]\s)|(?<=\w)[ \t]?\r?\n[ \t]*(?=[@.]\w)"
)
_QUOTED_PRINTABLE: Final = re.compile(r"=(?<=\w=)\r?\n(?=\w)")
_BROKEN_NUMBER: Final = re.compile(r"(?<=\d)[ \t]?-?\r?\n[ \t]*(?=\d)")
# Where one of these two may be: looking for a line break first takes a hundredth of the time.
_BROKEN_HINT: Final = re.compile(r"\n[ \t]*[a-z0-9@.]")
_BROKEN_NUMBER_HINT: Final = re.compile(r"\n[ \t]*[0-9]")
_BEFORE_HINT, _AFTER_HINT = 3, 6
_VALUE_LENGTH_MAX: Final = 44
_NUMBERS_BEFORE: Final = re.compile(r"(?:(?<!\S)(?=[^\s\d]{0,40}\d)\S{1,44}[ \t]{1,2}){0,9}\S{0,43}\d\Z")
_NUMBERS_AFTER: Final = re.compile(r"\d\S{0,43}(?:[ \t]{1,2}(?=[^\s\d]{0,40}\d)\S{1,44}){0,9}")
_AT: Final = re.compile(r"\s{0,2}[\[({<]\s?(?:at|arroba)\s?[\])}>]\s{0,2}", re.IGNORECASE)
_DOT: Final = re.compile(r"\s{0,2}[\[({<]\s?(?:dot|punkt|point|punto)\s?[\])}>]\s{0,2}", re.IGNORECASE)
_AT_SAID: Final = re.compile(r"(?<=\w) at (?=[\w-]{1,63} dot \w)", re.IGNORECASE)
_DOT_SAID: Final = re.compile(r"(?<=\w) dot (?=\w)", re.IGNORECASE)
# What the text must have for one of the above to be worth trying.
_SPELLED_HINT: Final = re.compile(r" \S \S \S \S \S(?!\w)")
_BRACKETED_HINT: Final = re.compile(r"[\[({<]\s?(?:at|arroba|dot|punkt|point|punto)\s?[\])}>]", re.IGNORECASE)
_UNDERSCORED: Final = re.compile(r"(?<![^\W_])\d{1,20}(?:_\d{1,20}){1,8}(?![^\W_])")
_UNDERSCORED_HINT: Final = re.compile(r"\d_\d")
# "1_000_000", as programs write an amount.
_THOUSANDS: Final = re.compile(r"\d{1,3}(?:_\d{3})+\Z")
_LETTERED_HINTS: Final = (re.compile(r"[0-9][OoIl|SB]"), re.compile(r"[OoIl|][0-9]"))
_LETTERED: Final = re.compile(
    r"(?<![A-Za-z])(?=[OoIl|SB ./-]{0,20}\d)[\dOoIl|SB](?:[ ./-]?[\dOoIl|SB]){6,40}(?![A-Za-z])"
)
_LOOK_ALIKE: Final = str.maketrans("OoIl|SB", "0011158")
_DIGITS_SHARE_MIN: Final = 0.5
COMPLETE: Final = 2


def _are_found(broken: re.Match[str], found: bytes | bytearray) -> bool:
    """Whether the numbers before and after a line break were found, with all of their groups."""
    text = broken.string
    if found and COMPLETE in (found[broken.start() - 1], found[broken.end()]):
        return True
    # The digits beside the break belong to them; a line has thousands of these where the rest is slow.
    if not (found and found[broken.start() - 1] and found[broken.end()]):
        return False
    before, after = _NUMBERS_BEFORE.search(text, max(0, broken.start() - _VALUE_LENGTH_MAX), broken.start()), None
    after = _NUMBERS_AFTER.match(text, broken.end(), broken.end() + _VALUE_LENGTH_MAX)
    return all(
        found[place] or not text[place].isalnum()
        for part in (before, after)
        if part is not None
        for place in range(*part.span())
    )


def _digits(match: re.Match[str]) -> str:
    signs = [sign for sign in match[0] if sign.isalnum() or sign == "|"]
    if sum(sign.isdigit() for sign in signs) < len(signs) * _DIGITS_SHARE_MIN:
        return match[0]
    return match[0].translate(_LOOK_ALIKE)


def _hyphened(match: re.Match[str]) -> str:
    return match[0] if _THOUSANDS.match(match[0]) else match[0].replace("_", "-")


def read_closely(plain: Reading, found: bytes | bytearray = b"") -> Reading | None:
    """
    Read a second time.

    Args:
        plain: The first reading.
        found: A byte for each of its characters, 1 where something was found, `COMPLETE` where it is known to be whole. Two
            numbers on two lines that were found are not read as one, nor is a number with one that is whole: columns of a
            table stay apart.

    Returns:
        None where it is the same as the first.
    """
    reading = plain
    if "\n" in reading.text:
        numbers = near_hints(_BROKEN_NUMBER, _BROKEN_NUMBER_HINT, reading.text, _BEFORE_HINT, _AFTER_HINT)
        reading = reading.replaced(numbers, lambda match: match[0] if _are_found(match, found) else " ")
    if _SPELLED_HINT.search(reading.text):
        reading = reading.replaced(_SPELLED.finditer(reading.text), lambda match: match[0].replace(" ", ""))
    if "\n" in reading.text:
        words = near_hints(_BROKEN, _BROKEN_HINT, reading.text, _BEFORE_HINT, _AFTER_HINT)
        reading = reading.replaced(words, _nothing)
        if "=\n" in reading.text or "=\r\n" in reading.text:
            reading = reading.replaced(_QUOTED_PRINTABLE.finditer(reading.text), _nothing)
    if _UNDERSCORED_HINT.search(reading.text):
        reading = reading.replaced(_UNDERSCORED.finditer(reading.text), _hyphened)
    if _BRACKETED_HINT.search(reading.text):
        reading = reading.replaced(_AT.finditer(reading.text), lambda _: "@")
        reading = reading.replaced(_DOT.finditer(reading.text), lambda _: ".")
    if " dot " in reading.text.lower():
        reading = reading.replaced(_AT_SAID.finditer(reading.text), lambda _: "@")
        reading = reading.replaced(_DOT_SAID.finditer(reading.text), lambda _: ".")
    if any(hint.search(reading.text) for hint in _LETTERED_HINTS):
        reading = reading.replaced(_LETTERED.finditer(reading.text), _digits)
    return None if reading is plain else reading


def _nothing(_: re.Match[str]) -> str:
    return ""
