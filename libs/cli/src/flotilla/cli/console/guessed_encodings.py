"""
In which encoding bytes without a mark are.

A detector goes by how letters follow each other, which in a line or two several encodings explain equally well, and a sign
such as `€` is a letter of another alphabet elsewhere. So what the detector finds is held against the commonest encoding:
the one counts of whose characters one language has most. No language has all of what a wrong encoding makes of them. Pure.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

COMMONEST: Final = "cp1252"
"""Always tried: a detector has little to go by in a text with few letters beyond ASCII."""
SHARE_MIN_OF_TEXT: Final = 0.5
"""Below it, what comes out is no text of any language that is known here."""
LOOKED_AT_CHARS_MAX: Final = 20_000
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


def best(raw: bytes, found: Iterable[str]) -> str | None:
    """
    The likeliest encoding of bytes.

    Args:
        raw: A text's, without a mark.
        found: The encodings that a detector finds likeliest.
    """
    shares: list[tuple[float, bool, str]] = []
    for name in (COMMONEST, *found):
        text = _decoded(raw, name)
        if text is not None:
            shares.append((round(share_of_one_language(text), 3), name == COMMONEST, name))
    share, _, name = max(shares, default=(0.0, False, ""))
    return name if share >= SHARE_MIN_OF_TEXT else None


def share_of_one_language(text: str) -> float:
    """
    How many of a text's characters beyond ASCII one language has, from 0 to 1.

    Signs that stand in every language's texts count as its own.
    """
    looked_at = text[:LOOKED_AT_CHARS_MAX]
    beyond = [letter for letter in looked_at if not letter.isascii()]
    wrong = len(_IN_A_WORD.findall(looked_at))
    others = "".join(letter for letter in beyond if unicodedata.category(letter)[0] in "LMN")
    return 1.0 if not beyond else max(0, len(beyond) - wrong - len(others) + _most(others)) / len(beyond)


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
