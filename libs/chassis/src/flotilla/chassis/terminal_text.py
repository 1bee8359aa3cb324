"""
Text on its way to a terminal, which obeys control characters and shows some characters as others.

What comes from a model, a document, a provider or another member may hold anything. Replaced or escaped are the control
characters (C0 but for line breaks and tabs, DEL, C1), the controls of writing direction, characters of no width but the
two joiners that writing needs, line and paragraph separators, tags, and lone surrogates.
"""

import re
from typing import Final

from msgspec import json

_UNSAFE: Final = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f"
    "\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f"
)
_find_unsafe: Final = re.compile(f"[{_UNSAFE}]")
_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
_ASTRAL: Final = 0x10000
_find_surrogate: Final = re.compile("[\ud800-\udfff]")
_find_not_ascii: Final = re.compile(r"[^\x00-\x7e]")
_find_raw_control: Final = re.compile(rb"[\x00-\x1f]").search


def clean(text: str) -> str:
    """The text with U+FFFD for each character that a terminal would obey, or not show."""
    if _find_unsafe.search(text) is None:
        return text
    return _find_unsafe.sub(_REPLACEMENT, text.replace("\r\n", "\n"))


def clean_line(text: str) -> str:
    """The same on one line: what is told on one line cannot pretend to be several."""
    return clean(" ".join(text.split()))


def one_json_line(encoded: bytes) -> str:
    """
    JSON as the text of one line, without its end.

    A part that another member encoded may have line breaks between its values, or bytes that are no UTF-8.
    """
    if _find_raw_control(encoded) is not None:
        encoded = json.format(encoded, indent=-1)
    return encoded.decode("utf-8", "replace")


def escape_json(text: str) -> str:
    """The same JSON, with an escape for each character that a terminal would obey, or not show."""
    return _find_unsafe.sub(lambda found: _escape(found[0]), text)


def ascii_json(text: str) -> str:
    """The same JSON with an escape for each character beyond ASCII, for a stream whose encoding has not all of them."""
    return _find_not_ascii.sub(lambda found: _escape(found[0]), text)


def encodable(text: str) -> str:
    """
    The text with U+FFFD for each lone surrogate.

    Python makes them of bytes that are no UTF-8, in a file's name or an argument.
    """
    return _find_surrogate.sub(_REPLACEMENT, text)


def _escape(character: str) -> str:
    code = ord(character)
    if code < _ASTRAL:
        return f"\\u{code:04x}"
    high, low = divmod(code - _ASTRAL, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
