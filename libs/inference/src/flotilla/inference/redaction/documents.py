"""
Documents of any JSON shape: every text in them, keys included, is redacted and restored, the shape stays.

CPU-bound: run it in a thread.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from flotilla.capabilities.errors import AttemptError
from flotilla.contracts.failures import FailureKind
from flotilla.privacy import Entries, Layer, Policy, redact

DEPTH_MAX: Final = 64
TEXTS_MAX: Final = 20_000
LENGTH_MAX: Final = 2_000_000
"""Characters of all texts of a document together."""
EVERY_TYPE: Final = Policy()


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

    Raises:
        AttemptError: TOO_LARGE; BAD_INPUT for a number that looks like personal data: it could not be restored exactly.
        PrivacyError: A text cannot be redacted, or a layer failed.
    """
    _check_size(document)
    redacted = RedactedDocument(entries)

    def text(given: str) -> str:
        done = redact(given, redacted.entries, layers, language=language, policy=policy)
        redacted.entries = done.entries
        redacted.counts += done.counts
        return done.text

    def number(given: float) -> float:
        found = redact(repr(given), Entries(entries.tag), layers, language="any", policy=policy)
        if found.counts:
            raise AttemptError(
                FailureKind.BAD_INPUT,
                "a number of the document looks like personal data, and a placeholder would change its type: "
                "send it as a text",
            )
        return given

    redacted.document = _mapped(document, text, number)
    return redacted


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


def _mapped(value: Any, text: Callable[[str], str], number: Callable[[float], float]) -> Any:
    match value:
        case str():
            return text(value)
        case bool() | None:
            return value
        case int() | float():
            return number(value)
        case list():
            return [_mapped(item, text, number) for item in cast("list[Any]", value)]
        case dict():
            table = cast("dict[str, Any]", value)
            return {text(key): _mapped(item, text, number) for key, item in table.items()}
        case _:
            raise AttemptError(FailureKind.BAD_INPUT, "$.document: expected JSON")
