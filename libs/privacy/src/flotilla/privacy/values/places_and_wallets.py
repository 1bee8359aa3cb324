"""Coordinates of places, and addresses of cryptocurrencies."""

import re
from collections.abc import Iterator
from typing import Final

from flotilla.privacy.values.outline import Outline
from flotilla.privacy.values.regions import begins, matches

_NUMBER: Final = r"[-+]?(?:1[0-7]\d|\d{1,2})\.\d{3,12}"
_DECIMAL: Final = re.compile(
    rf"(?<![\w.,]){_NUMBER}°?\s?[NSns]?\s?[,;/ ]\s?{_NUMBER}(?:°|\s?[EWOewo](?!\w))?(?![\w.]\d)"
)
_DEGREES: Final = re.compile(
    begins("0-9", r"\w.,") + r"\d{0,2}\s?°\s?\d{1,2}(?:\.\d{1,6})?\s?['\u2032]\s?"
    r"(?:\d{1,2}(?:[.,]\d{1,6})?\s?(?:\"|''|\u2033|\u2032\u2032)\s?)?[NSEWO](?!\w)"
)
_WALLET: Final = re.compile(
    r"(?<!\w)(?:(?:bc1|tb1|ltc1|addr1)[a-z0-9]{20,110}|0x[0-9A-Fa-f]{40}|[13][1-9A-HJ-NP-Za-km-z]{25,34}"
    r"|T[1-9A-HJ-NP-Za-km-z]{33})(?!\w)"
)
_HEADS: Final = ("bc1", "tb1", "ltc1", "addr1", "0x")


def find(outline: Outline) -> Iterator[tuple[int, int, str]]:
    """Coordinates and wallets of a text."""
    text = outline.text
    if outline.has_shape("9.999"):
        for match in matches(_DECIMAL, text, outline.digits):
            yield *match.span(), "ADDRESS"
    if "°" in text:
        for match in outline.at_numbers(_DEGREES, 1, 3):
            yield *match.span(), "ADDRESS"
    if outline.has_shape("A9a", "a9A", "9aA", "9Aa") or any(head in text for head in _HEADS):
        for match in _WALLET.finditer(text):
            if match[0].startswith(_HEADS) or _is_mixed(match[0]):
                yield *match.span(), "ACCOUNT"


def _is_mixed(shown: str) -> bool:
    """Whether it has capitals, small letters and digits, as what a computer made."""
    return any(map(str.isupper, shown)) and any(map(str.islower, shown)) and any(map(str.isdigit, shown[1:]))
