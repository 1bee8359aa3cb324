"""
Documents of any JSON shape: every text in them, keys included, is redacted and restored, the shape stays.

CPU-bound: run it in a thread.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from flotilla.capabilities.errors import AttemptError
from flotilla.contracts.failures import FailureKind
from flotilla.privacy import Entries, Layer, Policy, Redacted, redact, redact_number

DEPTH_MAX: Final = 64
TEXTS_MAX: Final = 20_000
LENGTH_MAX: Final = 2_000_000
"""Characters of all texts of a document together."""
KEY_LENGTH_MAX: Final = 60
"""Of what is read of a key."""
EVERY_TYPE: Final = Policy()
_KEY_WORDS: Final = re.compile(r"[^\W\d_](?:[^\W\d_A-ZÄÖÜÉ]+|(?:[A-ZÄÖÜÉ](?![a-zäöüéè]))+)?|\d+")


class RedactedDocument:
    """
    A document without the personal data that was found.

    Attributes:
        counts: How often each entry's placeholder stands in it.
    """

    def __init__(self, entries: Entries) -> None:
        self.document: Any = None
        self.entries = entries
        self.counts: Counter[int] = Counter()


def redact_document(
    document: Any, entries: Entries, layers: Sequence[Layer], language: str | None, policy: Policy = EVERY_TYPE
) -> RedactedDocument:
    """
    Redact every text of a document, in the language that is told, or that each is found to be in.

    The key that a value stands under says what it is: `{"account": 12345678}`. A number that is personal data becomes a
    text, its placeholder; restored, it is the number again.

    Raises:
        AttemptError: TOO_LARGE; BAD_INPUT for what is no JSON.
        PrivacyError: A text cannot be redacted, or a layer failed.
    """
    _check_size(document)
    redacted = RedactedDocument(entries)

    def take(done: Redacted) -> str:
        redacted.entries = done.entries
        redacted.counts += done.counts
        return done.text

    def scalar(given: str | float, key: str) -> str | float:
        context = _context(key)
        if isinstance(given, str):
            return take(redact(given, redacted.entries, layers, language=language, policy=policy, context=context))
        done = redact_number(given, redacted.entries, layers, policy=policy, context=context)
        return given if done is None else take(done)

    redacted.document = _mapped(document, "", scalar)
    return redacted


def _context(key: str) -> str:
    """The words of a key, as they would stand before its value in a text: `dateOfBirth`, `date_of_birth`."""
    words = " ".join(_KEY_WORDS.findall(key[:KEY_LENGTH_MAX]))
    return f"{words}: " if words else ""


def _check_size(document: Any) -> None:
    """Refuse what is too deep, or has too many texts or too long ones, before anything of it is looked at."""
    texts = length = 0
    waiting: list[tuple[Any, int]] = [(document, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth > DEPTH_MAX:
            raise AttemptError(FailureKind.TOO_LARGE, f"the document is nested deeper than {DEPTH_MAX}: flatten it")
        if isinstance(value, list):
            waiting += [(item, depth + 1) for item in cast("list[Any]", value)]
        elif isinstance(value, dict):
            table = cast("dict[str, Any]", value)
            waiting += [(item, depth + 1) for pair in table.items() for item in pair]
        else:
            texts += 1
            length += len(value) if isinstance(value, str) else 0
        if texts > TEXTS_MAX or length > LENGTH_MAX or len(waiting) > TEXTS_MAX:
            raise AttemptError(
                FailureKind.TOO_LARGE,
                f"the document has more than {TEXTS_MAX} values or {LENGTH_MAX} characters: send it in parts",
            )


def _mapped(value: Any, key: str, scalar: Callable[[str | float, str], str | float]) -> Any:
    """The document with every text, key and number handed over, with the key that it stands under."""
    match value:
        case bool() | None:
            return value
        case str() | int() | float():
            return scalar(value, key)
        case list():
            return [_mapped(item, key, scalar) for item in cast("list[Any]", value)]
        case dict():
            table = cast("dict[str, Any]", value)
            return {str(scalar(name, "")): _mapped(item, name, scalar) for name, item in table.items()}
        case _:
            raise AttemptError(FailureKind.BAD_INPUT, "$.document: expected JSON")
