"""
JSON as models and their servers write it, where the strict decoder gives up.

Python's own encoder is behind many servers, and writes half a surrogate pair, NaN and numbers without end without a
word. An answer is not lost for that, and nothing of it can break an encoder on the way out: halves of a character that
come apart are joined again, and one that stays alone becomes U+FFFD.
"""

import json
from collections.abc import Callable
from typing import Any, Final, cast

import msgspec

from flotilla.contracts.decoding import UNDECODABLE

INTEGER_DIGITS_MAX: Final = 300
"""A longer one is infinite; making an integer of it takes time that grows with its square."""

_BOM: Final = b"\xef\xbb\xbf"


def lenient_decoder(kind: Any) -> Callable[[bytes], Any]:
    """
    A decoder of a type, or of one of several, that is as fast as msgspec's for what msgspec takes.

    It raises what msgspec raises: ValidationError for JSON of another shape, DecodeError for what is no JSON in any
    reading. Texts may hold lone surrogates: see `whole_characters`.
    """
    strict: Callable[[bytes], Any] = msgspec.json.Decoder(kind).decode

    def decode(raw: bytes) -> Any:
        try:
            return strict(raw)
        except UNDECODABLE:
            return msgspec.convert(loads(raw), kind)

    return decode


def loads(raw: bytes) -> Any:
    """
    Decode what Python's own decoder takes: lone surrogates, NaN, numbers of any size, control characters in texts.

    Raises:
        msgspec.DecodeError: It is no JSON, or nested too deeply.
    """
    try:
        return json.loads(raw.removeprefix(_BOM).decode(errors="replace"), strict=False, parse_int=_integer)
    except (ValueError, RecursionError) as error:
        raise msgspec.DecodeError(type(error).__name__) from None


def loads_clean(raw: bytes) -> Any:
    """As `loads`, with whole characters in every text."""
    return _clean(loads(raw))


def whole_characters(text: str) -> str:
    """The text with surrogate pairs joined, and U+FFFD for every half that has no other."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


class Joined:
    """Joins the pieces of a text whose characters may come apart between them."""

    def __init__(self) -> None:
        self._half = ""

    def feed(self, piece: str) -> str:
        """Take the next piece; give what can be passed on, possibly nothing."""
        if piece.isascii() and not self._half:
            return piece
        text = self._half + piece
        self._half = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        return whole_characters(text[: len(text) - len(self._half)])

    def end(self) -> str:
        """Give what was withheld: U+FFFD for a half that stayed alone."""
        half, self._half = self._half, ""
        return "\ufffd" if half else ""


def _clean(data: Any) -> Any:
    if isinstance(data, str):
        return whole_characters(data)
    if isinstance(data, list):
        return [_clean(item) for item in cast("list[Any]", data)]
    if isinstance(data, dict):
        return {whole_characters(key): _clean(value) for key, value in cast("dict[str, Any]", data).items()}
    return data


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= INTEGER_DIGITS_MAX else float(digits)
