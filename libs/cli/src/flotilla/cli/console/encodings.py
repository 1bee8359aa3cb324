"""Text out of bytes: UTF-8, what a byte order mark says, what is named, or what is detected."""

import codecs
import re
from typing import Final, NamedTuple

from flotilla.cli.console import guessed_encodings
from flotilla.cli.console.formats import EXTRA
from flotilla.contracts.errors import FlotillaError

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""The longer ones first: that of UTF-32 begins like one of UTF-16."""
_CONTROLS: Final = frozenset(map(chr, (*range(9), *range(14, 27), *range(28, 32), 127)))
"""What no text holds: all controls but tab, line ends, form feed and escape."""
_CONTROL_BYTES: Final = frozenset(map(ord, _CONTROLS))
_SIGNATURES: Final = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"\x1f\x8b", b"ID3", b"OggS")
"""Of pictures, sounds and archives: short ones could pass for text in some encoding."""
_ESCAPE: Final = b"\x1b$"
DETECTED_BYTES_MAX: Final = 1024 * 1024
"""How much of a long text is looked at."""
_XML: Final = re.compile(rb"<\?xml\s[^>]{0,100}?encoding=[\"']([A-Za-z0-9._-]{1,40})[\"']")


class NotTextError(FlotillaError):
    """Bytes are no text; says what to do."""


class Decoded(NamedTuple):
    """A text, and the encoding that was guessed; empty where nothing had to be."""

    text: str
    detected: str = ""


def is_encoding(name: str) -> bool:
    """Whether Python knows a text encoding of this name."""
    try:
        "".encode(name)
    except LookupError:
        return False
    return True


def decode(raw: bytes, encoding: str | None) -> Decoded:
    """
    The text that bytes stand for.

    Raises:
        NotTextError: They stand for none, in the encoding that was named or in any.
    """
    if encoding is None:
        encoding = next((name for mark, name in _MARKS if raw.startswith(mark)), None) or _declared(raw)
    if encoding is not None:
        try:
            return Decoded(_text(raw.decode(encoding)))
        except ValueError as error:
            raise NotTextError(f"not text in {encoding}; name its encoding with --encoding") from error
    if b"\0" in raw or (_ESCAPE in raw and raw.isascii()):
        unmarked = _likeliest(raw)[:1]
        # In UTF-16 and UTF-32 letters may hold NULs, in ISO-2022 an escape sequence says what bytes mean.
        if unmarked and unmarked[0].startswith(("utf-16", "utf-32", "iso-2022", "iso2022")):
            try:
                return Decoded(_text(raw.decode(unmarked[0])), unmarked[0])
            except ValueError as error:  # the detector has looked at a part, or at less than whole characters
                raise NotTextError("binary, no text") from error
    try:
        return Decoded(_text(raw.decode()))
    except UnicodeDecodeError:
        return _detected(raw)


def _declared(raw: bytes) -> str | None:
    """What an XML document says of itself, where that is an encoding in which it can be read."""
    match = _XML.match(raw)
    name = match[1].decode() if match else ""
    if not is_encoding(name):
        return None
    try:
        raw.decode(name)
    except ValueError:
        return None
    return name


def _detected(raw: bytes) -> Decoded:
    # These bytes are the same characters in every encoding that has no mark and is not named.
    if raw.startswith(_SIGNATURES) or not _CONTROL_BYTES.isdisjoint(raw):
        raise NotTextError("binary, no text")
    best = guessed_encodings.best(raw, _likeliest(raw))
    if best is None:
        raise NotTextError("binary, or in an encoding that was not recognised; name it with --encoding")
    try:
        return Decoded(_text(raw.decode(best)), best)
    except ValueError as error:
        raise NotTextError("in an encoding that was not recognised; name it with --encoding") from error


def _likeliest(raw: bytes) -> list[str]:
    """
    The encodings that a detector finds likeliest, several where it cannot tell them apart; none of bytes that are no text.

    Raises:
        NotTextError: There is no detector.
    """
    try:
        from chardet import detect_all  # noqa: PLC0415  (an extra)
    except ImportError as error:
        hint = f"name its encoding with --encoding, or have it detected: {EXTRA}"
        raise NotTextError(f"not text in UTF-8; {hint}") from error
    found = detect_all(raw, ignore_threshold=True, max_bytes=DETECTED_BYTES_MAX)
    most = max((each["confidence"] for each in found), default=0.0)
    return [each["encoding"].lower() for each in found if each["encoding"] and each["confidence"] == most]


def _text(text: str) -> str:
    """
    The text, when it is one.

    Raises:
        NotTextError: It holds what no text holds.
    """
    if not _CONTROLS.isdisjoint(text):
        raise NotTextError("binary, no text")
    return text
