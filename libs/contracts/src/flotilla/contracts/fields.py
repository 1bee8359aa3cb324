"""
The types of fields that come from outside: what is decoded is safe in a subject, a key, a header, a label, a line, a sum.

Names are patterns, texts have a length and hold nothing that moves a terminal's cursor or turns text around, numbers lie
within bounds that leave room for the sums made of them. msgspec itself refuses NaN and infinity, but lets an integer have
4,300 digits.

A pattern costs half a microsecond: the messages of every attempt have only lengths here, and `attempts` looks the words
up that it has seen before.
"""

import re
from functools import lru_cache
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from flotilla.contracts.headers import LABEL_LENGTH_MAX, LABELS_MAX
from flotilla.contracts.patterns import pattern

MODEL_LENGTH_MAX: Final = 128
WORD_LENGTH_MAX: Final = 128
TEXT_LENGTH_MAX: Final = 500
TRACESTATE_LENGTH_MAX: Final = 512
WORDS_KNOWN: Final = 4_096

SLOTS_MAX: Final = 4_096
"""Of one replica."""
TOKENS_MAX: Final = 10**12
"""Of one attempt, and of a task."""
COST_USD_MAX: Final = 10_000.0
MS_MAX: Final = 10_000_000_000
"""A duration of 115 days."""
UNIX_MS_MAX: Final = 10**14
"""The year 5138."""
RETRY_AFTER_S_MAX: Final = 7 * 24 * 3600.0
SEQUENCE_MAX: Final = 2**63 - 1
SIZE_BYTES_MAX: Final = 2**40

# No control characters (C0, DEL, C1), no line or paragraph separator, no zero widths or marks that change direction.
_UNSAFE: Final = r"\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
PRINTABLE: Final = pattern(rf"^[^{_UNSAFE}]*\Z", "printable characters on one line")
_A_NAME: Final = "1 to 63 of a-z, 0-9 and hyphens, no hyphen at either end"
_AN_INSTANCE: Final = "1 to 63 of A-Z, a-z, 0-9, _ and -, a letter or digit first"
NAME: Final = pattern(r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z", _A_NAME)
INSTANCE: Final = pattern(r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}\Z", _AN_INSTANCE)
TASK_ID: Final = pattern(r"^[A-Za-z0-9_-]{1,64}\Z", "1 to 64 of A-Z, a-z, 0-9, _ and -")
SHA256: Final = pattern(r"^[0-9a-f]{64}\Z", "64 hexadecimal digits, in lower case")

Name = Annotated[str, Meta(pattern=NAME)]
"""Of a capability or a pool."""
Instance = Annotated[str, Meta(pattern=INSTANCE)]
"""Of a replica, an orchestrator or a scope."""
MaybeName = Annotated[str, Meta(pattern=pattern(rf"(?:^\Z)|(?:{NAME})", f"nothing, or {_A_NAME}"))]
MaybeInstance = Annotated[str, Meta(pattern=pattern(rf"(?:^\Z)|(?:{INSTANCE})", f"nothing, or {_AN_INSTANCE}"))]
"""Empty where there is none."""
TaskId = Annotated[str, Meta(pattern=TASK_ID)]
Sha256 = Annotated[str, Meta(pattern=SHA256)]
"""In hexadecimal."""
Word = Annotated[str, Meta(max_length=WORD_LENGTH_MAX, pattern=PRINTABLE)]
"""An identifier of somebody else's: a provider, a version, an author."""
ModelName = Annotated[str, Meta(max_length=MODEL_LENGTH_MAX, pattern=PRINTABLE)]
Text = Annotated[str, Meta(max_length=TEXT_LENGTH_MAX, pattern=PRINTABLE)]
LabelText = Annotated[str, Meta(max_length=LABEL_LENGTH_MAX)]
Labels = Annotated[dict[LabelText, LabelText], Meta(max_length=LABELS_MAX)]
"""Of a caller: they come back to him as he gave them."""

Slots = Annotated[int, Meta(ge=0, le=SLOTS_MAX)]
Tokens = Annotated[int, Meta(ge=0, le=TOKENS_MAX)]
CostUsd = Annotated[float, Meta(ge=0.0, le=COST_USD_MAX)]
Ms = Annotated[float, Meta(ge=0.0, le=MS_MAX)]
UnixMs = Annotated[int, Meta(ge=0, le=UNIX_MS_MAX)]
RetryAfterS = Annotated[float, Meta(ge=0.0, le=RETRY_AFTER_S_MAX)]
Sequence = Annotated[int, Meta(ge=0, le=SEQUENCE_MAX)]
Size = Annotated[int, Meta(ge=0, le=SIZE_BYTES_MAX)]

_encode_64_bits: Final = msgspec.msgpack.Encoder().encode
_unsafe: Final = re.compile(rf"[{_UNSAFE}\ud800-\udfff]")
_printable: Final = re.compile(PRINTABLE)
_maybe_instance: Final = re.compile(rf"(?:^\Z)|(?:{INSTANCE})")


def printable(text: str, length_max: int) -> str:
    """A text as one of these fields takes it: cut, and a question mark for each character that it must not hold."""
    return _unsafe.sub("?", text[:length_max])


@lru_cache(WORDS_KNOWN)
def are_words(replica: str, *words: str) -> bool:
    """Whether the first is a replica's name, or empty, and the others are printable; for words that come again and again."""
    return _maybe_instance.search(replica) is not None and all(_printable.search(word) for word in words)


def is_bounded(value: Any) -> bool:
    """
    Whether JSON of no fixed shape can be read by others once it is encoded again: no integer of more than 64 bits.

    MessagePack has none. 10 ns for a value, of which a large document has millions: nothing that Python goes through.
    """
    try:
        _encode_64_bits(value)
    except (OverflowError, UnicodeEncodeError):
        return False
    return True
