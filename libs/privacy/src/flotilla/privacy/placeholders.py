"""
The form of placeholders: `[PERSON_12_KQXRT]`, type, number and the vault's tag.

- The number counts through the whole vault, so number and tag name one entry, whatever becomes of the rest.
- The tag binds it to its vault. Five consonants make no word, keep no digit that could be read as a letter, and end
  the placeholder, so that `[PERSON_1_KQXRT]` is no beginning of `[PERSON_12_KQXRT]`.
- Square brackets and capitals are what models and tokenizers see around fields in templates, and copy; angle
  brackets vanish where a text is shown as HTML, and asterisks in Markdown.

Models change placeholders, so restore reads more than redact writes: any case, brackets lost, of another width or
escaped for HTML, JSON or a URL, spaces or line breaks beside them (with the signs of a quotation), underscores lost,
escaped likewise or for Markdown, in bold, or turned into spaces, hyphens, dashes, dots, colons, commas, slashes; digits
and letters of full width, digits of other scripts, signs within the tag that nobody sees; in brackets also another word
for the type, of any script, as it is when a text is translated or a plural made. Number and tag must be whole: they name
one entry.
The tag occurs nowhere else in a redacted text: where the input has it, it is replaced itself, as LITERAL.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

TAG_LETTERS: Final = "BCDFGHJKLMNPQRSTVWXZ"
TAG_LENGTH: Final = 5
NUMBER_MAX: Final = 999_999
_NUMBER_LENGTH_MAX: Final = 6
_SEPARATORS_MAX: Final = 10
"""An underscore, a line break, and the indentation or the signs of a quotation after it."""
_SPACES_MAX: Final = 3
_TYPE_LENGTH_MAX: Final = 16
# A bracket of another width, and one escaped for HTML, for a URL, for JSON.
_OPEN: Final = (
    "[",
    "\uff3b",
    "\u3010",
    "\u3014",
    "&#91;",
    "&#091;",
    "&#x5b;",
    "&lbrack;",
    "&lsqb;",
    "%5b",
    "\\u005b",
    "\\[",
)
_CLOSE: Final = (
    "]",
    "\uff3d",
    "\u3011",
    "\u3015",
    "&#93;",
    "&#093;",
    "&#x5d;",
    "&rbrack;",
    "&rsqb;",
    "%5d",
    "\\u005d",
    "\\]",
)
# An underscore or a space that is escaped likewise; where HTML may break a line, and where it does.
_ESCAPED: Final = (
    *("&#95;", "&#095;", "&#x5f;", "&lowbar;", "&underbar;", "&nbsp;", "&#160;", "&#xa0;", "&#32;"),
    *("%5f", "%20", "\\u005f", "&shy;", "<wbr>", "<br>", "<br/>"),
)
# What one placeholder can be after a model had it: no stream holds back more.
PLACEHOLDER_LENGTH_MAX: Final = (
    max(map(len, _OPEN))
    + max(map(len, _CLOSE))
    + 2 * _SPACES_MAX
    + _TYPE_LENGTH_MAX
    + 2 * _SEPARATORS_MAX * max(map(len, _ESCAPED))
    + _NUMBER_LENGTH_MAX
    + 2 * TAG_LENGTH
)

_SPACE: Final = r"\s\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
_SPACES: Final = rf"[{_SPACE}]{{0,{_SPACES_MAX}}}"
# Of any width: models that typeset put them in. Invisible ones, those that tell a direction, the signs of bold and code.
_SEPARATOR: Final = (
    rf"(?:[{_SPACE}\u2010-\u2015\u2212\u00ad\u200b-\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff\uff3f\\_*`.:,/#+>-]"
    rf"|{'|'.join(map(re.escape, _ESCAPED))}){{0,{_SEPARATORS_MAX}}}"
)
# Signs that nobody sees, put into long words where a line may break.
_UNSEEN: Final = r"\u00ad\u200b-\u200d\u2060\ufeff"
# What may stand in brackets for the type: letters of any script, with the marks that belong to them.
_WORD: Final = (
    rf"(?:E[-\u2010\u2011])?[{_UNSEEN}A-Za-z\u00c0-\u024f\u0300-\u052f\u0531-\u06ff\u0900-\u0eff\u10a0-\u11ff\u1e00-\u1fff\u3040-\u30ff\u3400-\u9fff"
    rf"\uac00-\ud7a3\uff21-\uff3a\uff41-\uff5a]{{1,{_TYPE_LENGTH_MAX}}}"
)
# The digits 0 of other scripts, and of full width; `int` reads them.
_ZEROS: Final = (
    *("\uff10", "\u0660", "\u06f0", "\u0966", "\u09e6", "\u0a66", "\u0ae6", "\u0b66", "\u0be6", "\u0c66", "\u0ce6"),
    *("\u0d66", "\u0e50", "\u0ed0", "\u0f20", "\u1040", "\u17e0"),
)
_NUMBER: Final = rf"[0-9{''.join(f'{zero}-{chr(ord(zero) + 9)}' for zero in _ZEROS)}]{{1,{_NUMBER_LENGTH_MAX}}}"
_WIDTH: Final = ord("\uff21") - ord("A")


def tag_of(vault_id: str) -> str:
    """The tag of a vault, from its id: the same for the same id, without saying anything of it."""
    number = int.from_bytes(hashlib.blake2b(vault_id.encode(), digest_size=8, person=b"flotilla-tag").digest())
    letters: list[str] = []
    for _ in range(TAG_LENGTH):
        number, place = divmod(number, len(TAG_LETTERS))
        letters.append(TAG_LETTERS[place])
    return "".join(letters)


def is_tag(text: str) -> bool:
    """Whether a text is a vault's tag."""
    return len(text) == TAG_LENGTH and all(letter in TAG_LETTERS for letter in text)


def placeholder(type_name: str, number: int, tag: str) -> str:
    """The placeholder as redact writes it."""
    return f"[{type_name}_{number}_{tag}]"


@dataclass(frozen=True, slots=True)
class Forms:
    """
    What a vault's placeholders look like in a text that a model wrote.

    Attributes:
        whole: A placeholder, with its brackets (groups `word`: its type or another word; `in`: the number) or without
            (`type`, `alone`).
        begun: What may become one when more of the text arrives: from its beginning to the end of what is there.
        tag: The tag alone.
    """

    whole: re.Pattern[str]
    begun: re.Pattern[str]
    tag: re.Pattern[str]


@lru_cache(maxsize=64)
def forms_of(tag: str, types: tuple[str, ...]) -> Forms:
    """The forms of the placeholders with that tag and these types."""
    longest_first = sorted(types, key=len, reverse=True)
    names = "|".join((*longest_first, *map(_of_full_width, longest_first)))

    letters = [rf"[{letter}{_of_full_width(letter + letter.lower())}]" for letter in tag]
    whole_tag = f"[{_UNSEEN}]?".join(letters)
    begun_tag = "".join(f"(?:{letter}[{_UNSEEN}]?" for letter in letters[:-1]) + ")?" * (len(letters) - 1)

    def tail(name: str) -> str:
        return rf"{_SEPARATOR}(?P<{name}>{_NUMBER}){_SEPARATOR}{whole_tag}"

    begun_escape = rf"(?:{_any_of(_beginnings(_ESCAPED))})?"
    begun_tail = rf"{_SEPARATOR}(?:{_NUMBER}{_SEPARATOR}(?:{begun_tag}|{begun_escape}))?{begun_escape}\Z"
    every = (*types, *map(_of_full_width, types))
    begun_core = rf"(?:{_any_of((*_beginnings(every), *every))})\Z|(?:{names}){begun_tail}"
    begun_word = rf"{_WORD}(?:\Z|{begun_tail}|{tail('held')}{_SPACES}(?:{_any_of(_beginnings(_CLOSE))})?\Z)"
    opened = rf"(?:{_any_of(_OPEN)}){_SPACES}"
    flags = re.IGNORECASE | re.ASCII
    return Forms(
        # A backslash before a bracket belongs to it only where the other one has one as well: it may be the text's own.
        whole=re.compile(
            rf"(?:(?P<escaped>\\)?\[|{_any_of(_OPEN[1:-1])}){_SPACES}(?P<word>{_WORD}){tail('in')}{_SPACES}"
            rf"(?(escaped)\\\]|(?:{_any_of(_CLOSE[:-1])}))|(?P<type>{names}){tail('alone')}",
            flags,
        ),
        begun=re.compile(rf"(?:{_any_of(_beginnings(_OPEN))})\Z|{opened}(?:\Z|{begun_word})|{begun_core}", flags),
        tag=re.compile(whole_tag, flags),
    )


def told_type(word: str) -> str:
    """The type that a word of a placeholder names, as a model may have written it; upper-case, whatever it is."""
    return unicodedata.normalize("NFKC", re.sub(f"[{_UNSEEN}]", "", word)).upper()


def _of_full_width(name: str) -> str:
    """A type's name in letters, digits and underscores of full width."""
    return "".join(chr(ord(letter) + _WIDTH) for letter in name)


def _beginnings(texts: Iterable[str]) -> list[str]:
    """Every proper beginning of some texts."""
    return sorted({text[:length] for text in texts for length in range(1, len(text))})


def _any_of(texts: Iterable[str]) -> str:
    """A pattern of some texts, the longest first."""
    return "|".join(map(re.escape, sorted(texts, key=len, reverse=True)))
