"""
What decoding may raise, and what holds for every message besides its type: UTF-8 throughout, and nested only so deep.

msgspec looks at neither where it passes over a field or keeps it as it is (`msgspec.Raw`), and its own bound on nesting is
the interpreter's recursion limit, so that what one reader takes another one, deeper in its stack, does not.

Whoever decodes serves others meanwhile: no message may take a hundred times as long as others of its length.
"""

from itertools import accumulate
from typing import Final

import msgspec

from flotilla.contracts.patterns import in_words

DEPTH_MAX: Final = 100
INPUT_DEPTH_MAX: Final = 80
"""Of a task's input: whatever messages hold it, and the output that holds it again, must be readable too."""
REASON_LENGTH_MAX: Final = 500
FAR_NUMBERS_MAX: Final = 256
"""
Numbers in one JSON text with an exponent of three digits or more. Near the ends of what a float holds msgspec takes 5 to
12 µs for one, where others take 0.1: 8 MiB of `1e308` would be a stop of ten seconds.
"""

UNDECODABLE: Final = (msgspec.MsgspecError, ValueError, OverflowError, RecursionError)
"""What bytes that are not the message make msgspec, or `checked`, raise. UnicodeDecodeError is a ValueError."""

_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
_NOT_STRUCTURAL: Final = bytes(set(range(256)) - set(b'"[]{}'))
_STEPS: Final = bytes.maketrans(b"[]", b"\x01\xff")
"""Read as signed bytes: one level down, one level up."""
_STEPS_AT_ONCE: Final = 64 * 1024
_EXPONENTS: Final = bytes.maketrans(b"123456789E", b"000000000e")
_SIGNS: Final = b"+-"
_FAR: Final = b"e000"
_FAR_NUMBER_BYTES: Final = 6
"""The shortest, with what parts it from the next."""


class FarNumbersError(ValueError):
    """More numbers with a long exponent than FAR_NUMBERS_MAX."""


def checked(body: bytes, depth_max: int = DEPTH_MAX) -> bytes:
    """
    The same bytes, which are JSON.

    Takes 0.2 µs for a message of a few hundred bytes, and 20 ms for each MB of one that is nothing but brackets.

    Raises:
        UnicodeDecodeError: They are not UTF-8.
        RecursionError: Nested deeper than `depth_max`.
    """
    if not body.isascii():
        body.decode()
    if body.count(b"[") + body.count(b"{") > depth_max and _is_deep(body, depth_max):
        raise RecursionError
    return body


def with_readable_numbers(body: bytes) -> bytes:
    """
    The same bytes, which are JSON whose numbers are going to be read, and not only passed over. Takes 1 ms for each MB.

    Raises:
        FarNumbersError: Its numbers would take long.
    """
    if len(body) <= FAR_NUMBERS_MAX * _FAR_NUMBER_BYTES or _far_numbers(body) <= FAR_NUMBERS_MAX:
        return body
    # Texts may hold as many: digits in hexadecimal, for one.
    if _far_numbers(_outside_strings(_without_escapes(body))) > FAR_NUMBERS_MAX:
        raise FarNumbersError
    return body


def _is_deep(body: bytes, depth_max: int) -> bool:
    """Without strings what is left is brackets: innermost pairs are taken out, level by level, then levels are counted."""
    rest = _without_escapes(body).translate(_SQUARE, _NOT_STRUCTURAL)
    # Quotes come in turns, one that opens and one that closes; without two that touch, the others keep their turns.
    rest = rest.replace(b'""', b"")
    if b'"' in rest:
        rest = _outside_strings(rest)
    while depth_max > 0 and rest:
        size = len(rest)
        rest = rest.replace(b"[]", b"")
        depth_max -= 1
        # Most of what people send is gone after two or three levels; what hardly shrinks would be gone over for each.
        if len(rest) > size // 2:
            break
    depth = 0
    steps = memoryview(rest.translate(_STEPS)).cast("b")
    for start in range(0, len(steps), _STEPS_AT_ONCE):
        depths = list(accumulate(steps[start : start + _STEPS_AT_ONCE], initial=depth))
        if max(depths) > depth_max:
            return True
        depth = depths[-1]
    return False


def _far_numbers(body: bytes) -> int:
    return body.translate(_EXPONENTS, _SIGNS).count(_FAR)


def _without_escapes(body: bytes) -> bytes:
    return body.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in body else body


def _outside_strings(body: bytes) -> bytes:
    return b"".join(body.split(b'"')[::2])


def safe_text(error: BaseException) -> str:
    """
    The reason that bytes did not decode, without the bytes.

    msgspec's messages name the path and the types; those about enums and tags quote the value, which is the sender's
    text, so the quotation is cut.
    """
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, FarNumbersError):
        return f"more than {FAR_NUMBERS_MAX} numbers with an exponent of three digits"
    if not isinstance(error, msgspec.MsgspecError):
        return "not a message"
    text = str(error)
    if text.startswith(("Invalid value", "Invalid enum value")):
        _, at, path = text.partition(" - at ")
        return f"value not allowed{at}{path}"
    return in_words(text)[:REASON_LENGTH_MAX]
