"""
In which encoding bytes without a mark are.

A detector goes by how letters follow each other, which in a short letter several encodings explain equally well: the same
bytes are `à` or `ŕ`, kana or hangul. No language has all of what a wrong encoding makes of them. So of those that the
detector finds plausible it is the one of whose characters one language has most, and between equals the commoner one.
Pure.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

NOISE_MAX: Final = 0.05
"""By how much an encoding may be worse than the detector's best, and still be the right one."""
COHERENCE_MAX: Final = 0.2
"""By how much another of no more noise may be more like a language."""
COMMONEST: Final = "cp1252"
"""Always tried: detectors name one of several that give the same text, or none of a text with few letters beyond ASCII."""
SHARE_MIN_OF_TEXT: Final = 0.5
"""Below it, what comes out is no text of any language that is known here."""
SHARE_MIN: Final = 0.9
"""Of the characters beyond ASCII, or of all where there may be nothing but noise."""
LOOKED_AT_CHARS_MAX: Final = 20_000
WIDE: Final = ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")
"""Encodings whose bytes hold NULs; without a mark they look like no text."""
SEVEN_BIT: Final = ("iso2022_jp_ext", "iso2022_kr")
"""Encodings in which an escape sequence changes what the bytes after it mean."""

_ALPHABETS: Final = (
    *("äöüß", "àâæçéèêëîïôœùûüÿ", "áéíñóúüªº", "ãáàâçéêíóôõúüªº", "àèéìíîòóùúªº", "äåéöæøü", "áðéíóúýþæö", "äåöšž"),
    *("éèëïöüáóíúij", "ąćęłńóśźż", "áčďéěíňóřšťúůýž", "áäčďéíĺľňóôŕšťúýž", "áéíóöőúüű", "čćđšž", "ăâîșşțţ"),
    *("âçğıİîöşüû", "āčēģīķļņšūž", "ąčęėįšųūž", "äõöüšž", "àçéèíïòóúü·ŀ", "çë", "ċġħż"),
    *("абвгдежзийклмнопрстуфхцчшщъыьэюяё", "абвгґдеєжзиіїйклмнопрстуфхцчшщьюя"),
    *("абвгдеёжзійклмнопрстуўфхцчшыьэюя", "абвгдђежзијклљмнњопрстћуфхцчџшѓќѕ"),
    "αβγδεζηθικλμνξοπρσςτυφχψωάέήίόύώϊϋΐΰ",
)
"""Letters beyond ASCII, of one language or of neighbours whose letters stand together."""
_IN_A_WORD: Final = re.compile(
    r"(?<=[^\W\d_])[\u00a1-\u00b6\u00b8-\u00bf\u2020\u2021](?=[^\W\d_])"
    r"|(?<=[a-z])[\u4e00-\ud7a3]|[\u4e00-\ud7a3](?=[a-z])"
)
"""Signs between letters, and ideographs or hangul in Latin words: letters of another encoding."""
_BLOCKS: Final = (
    re.compile(r"[\u0590-\u05ff]"),
    re.compile(r"[\u0600-\u06ff]"),
    re.compile(r"[\u0e00-\u0e7f]"),
    re.compile(r"[\u4e00-\u9fff\u3001-\u301f\uff01-\uff5e]"),
)
"""Hebrew, Arabic, Thai, Chinese."""
_JAPANESE: Final = re.compile(r"[\u3041-\u30ff\u4e00-\u9fff\u3001-\u301f\uff01-\uff5e]")
_KANA: Final = re.compile(r"[\u3041-\u30ff]")
_KANA_SHARE_MIN: Final = 0.1
"""No Japanese text is without kana."""
_HANGUL: Final = re.compile(r"[\uac00-\ud7a3\u3001-\u301f\uff01-\uff5e]")
_COMMON: Final = (
    COMMONEST,
    "cp932",
    "euc_jis_2004",
    "euc_jp",
    "cp1251",
    "cp1250",
    "gb18030",
    "big5",
    "cp949",
    "mac_iceland",
)
_NO_TEXT: Final = frozenset({"Cc", "Cn", "Co", "Cs"})


class Plausible(NamedTuple):
    """An encoding that a detector found: how much noise the text would have, how like a language it is (0 to 1)."""

    name: str
    noise: float
    coherence: float


def best(raw: bytes, plausible: Sequence[Plausible]) -> str | None:
    """
    The likeliest encoding of bytes.

    Args:
        raw: A text's, without a mark.
        plausible: The likeliest first.
    """
    found: list[tuple[float, int, int, str]] = []
    names = [each.name for each in plausible if _is_likely(each, plausible)]
    for place, name in enumerate(dict.fromkeys((*names, COMMONEST))):
        text = _decoded(raw, name)
        if text is not None:
            common = _COMMON.index(name) if name in _COMMON else len(_COMMON)
            found.append((-round(share_of_one_language(text), 3), common, place, name))
    likeliest = min(found, default=None)
    return likeliest[-1] if likeliest is not None and -likeliest[0] >= SHARE_MIN_OF_TEXT else None


def without_mark(raw: bytes) -> str | None:
    """The encoding of bytes that hold NULs or escape sequences and are a text all the same; None where they are none."""
    for name in (*(WIDE if b"\0" in raw else ()), *(SEVEN_BIT if b"\x1b$" in raw and raw.isascii() else ())):
        text = _decoded(raw, name)
        # In a wrong byte order, most of what comes out is letters of no language that is written.
        if text and _is_written(text) and share_of_one_language(text, ascii_counts=True) >= SHARE_MIN:
            return name
    return None


def share_of_one_language(text: str, *, ascii_counts: bool = False) -> float:
    """
    How many of a text's characters beyond ASCII one language has, from 0 to 1; of all characters with `ascii_counts`.

    Signs that stand in every language's texts count as its own.
    """
    looked_at = text[:LOOKED_AT_CHARS_MAX]
    beyond = [letter for letter in looked_at if not letter.isascii()]
    wrong = len(_IN_A_WORD.findall(looked_at))
    others = "".join(letter for letter in beyond if unicodedata.category(letter)[0] in "LMN")
    here = len(looked_at) if ascii_counts else len(beyond)
    return 1.0 if not here else max(0, here - wrong - len(others) + _most(others)) / here


def _is_likely(one: Plausible, among: Sequence[Plausible]) -> bool:
    return one.noise <= among[0].noise + NOISE_MAX and not any(
        other.noise <= one.noise and other.coherence > one.coherence + COHERENCE_MAX for other in among
    )


def _most(letters: str) -> int:
    """How many of these letters the language has that has most of them."""
    if not letters:
        return 0
    lowered = letters.lower()
    counts = [sum(letter in alphabet for letter in lowered) for alphabet in _alphabets()]
    counts += [len(block.findall(letters)) for block in _BLOCKS]
    if len(_KANA.findall(letters)) >= _KANA_SHARE_MIN * len(letters):
        counts.append(len(_JAPANESE.findall(letters)))
    counts.append(sum(_is_korean(letter) for letter in _HANGUL.findall(letters)))
    return max(counts)


@lru_cache(maxsize=1)
def _alphabets() -> tuple[frozenset[str], ...]:
    return tuple(map(frozenset, _ALPHABETS))


def _is_korean(letter: str) -> bool:
    """Whether it is a syllable that is written; three quarters of those that have a number are not."""
    try:
        letter.encode("euc_kr")
    except UnicodeEncodeError:
        return False
    return True


def _decoded(raw: bytes, name: str) -> str | None:
    try:
        return raw.decode(name)
    except (ValueError, LookupError):
        return None


def _is_written(text: str) -> bool:
    controls = "\t\n\r\f"
    return all(letter in controls or unicodedata.category(letter) not in _NO_TEXT for letter in text)
