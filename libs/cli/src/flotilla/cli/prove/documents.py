"""The inputs that are sent: letters about a made-up person, for each capability that takes a text. Pure."""

from collections.abc import Callable
from typing import Any, Final

from flotilla.cli.prove.canaries import Person

Input = dict[str, Any]

SUMMARY_WORDS_MAX: Final = 20
"""A model that is paid for writes little."""

_INPUTS: Final[dict[str, Callable[[str], Input]]] = {
    "classify": lambda text: {"document": text, "labels": ["billing", "technical"]},
    "extract-entities": lambda text: {"document": text},
    "summarize": lambda text: {"document": text, "max_words": SUMMARY_WORDS_MAX},
    "synthesize": lambda text: {"sources": [text]},
    "translate": lambda text: {"text": text, "target": "de"},
    "embed": lambda text: {"texts": [text]},
    "generate-code": lambda text: {"instruction": text, "language": "python"},
    "reason": lambda text: {"question": text},
    "chat": lambda text: {"messages": [{"role": "user", "content": text}], "max_tokens": 4 * SUMMARY_WORDS_MAX},
}
TEXT_CAPABILITIES: Final = tuple(_INPUTS)


def letter(person: Person) -> str:
    """A letter with a canary in it, in forms that redaction knows."""
    return (
        f"Dear Mr {person.name},\n\n"
        f"Thank you for your letter. We have your address {person.email}, and the refund of 12 euros goes to the "
        f"account {person.iban} by Friday.\n\nYours sincerely,\nThe billing department\n"
    )


def plain_letter(decoy: str) -> str:
    """The same without personal data: only a word by which it is known again."""
    return f"The word of the day is {decoy}. The invoice was charged twice, and the refund is on its way."


def input_of(capability: str, text: str) -> Input:
    """The input of a built-in capability for a text; of any other one, `document` alone."""
    made = _INPUTS.get(capability)
    return {"document": text} if made is None else made(text)


def wrong_input(text: str) -> Input:
    """What intake refuses, with the text where a refusal might repeat it."""
    return {"document": {text: text}, "labels": text, text: text}
