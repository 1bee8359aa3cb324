"""
The form of placeholders: `[PERSON_12_KQXRT]`, type, number and the vault's tag.

- The number counts through the whole vault, so number and tag name one entry, whatever becomes of the rest.
- The tag binds it to its vault. Five consonants make no word, keep no digit that could be read as a letter, and end
  the placeholder, so that `[PERSON_1_KQXRT]` is no beginning of `[PERSON_12_KQXRT]`.
- Square brackets and capitals are what models and tokenizers see around fields in templates, and copy; angle
  brackets vanish where a text is shown as HTML, and asterisks in Markdown.

Models change placeholders, so restore reads more than redact writes: any case, brackets lost, spaces or line breaks
beside them, underscores lost, escaped for Markdown or turned into spaces, hyphens. Number and tag must be whole.
The tag occurs nowhere else in a redacted text: where the input has it, it is replaced itself, as LITERAL.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

TAG_LETTERS: Final = "BCDFGHJKLMNPQRSTVWXZ"
TAG_LENGTH: Final = 5
NUMBER_MAX: Final = 999_999
_NUMBER_LENGTH_MAX: Final = 6
_SEPARATORS_MAX: Final = 4
_SPACES_MAX: Final = 3
_TYPE_LENGTH_MAX: Final = 16
# What one placeholder can be after a model had it: no stream holds back more.
PLACEHOLDER_LENGTH_MAX: Final = (
    2 + 2 * _SPACES_MAX + _TYPE_LENGTH_MAX + 2 * _SEPARATORS_MAX + _NUMBER_LENGTH_MAX + TAG_LENGTH
)

_SPACES: Final = rf"\s{{0,{_SPACES_MAX}}}"
# A no-break space or hyphen as well: models that typeset put them in.
_SEPARATOR: Final = rf"[\s\u00a0\u202f\u2010\u2011\\\\_-]{{0,{_SEPARATORS_MAX}}}"
_NUMBER: Final = rf"[0-9]{{1,{_NUMBER_LENGTH_MAX}}}"


def tag_of(vault_id: str) -> str:
    """The tag of a vault, from its id: the same for the same id, without saying anything of it."""
    number = int.from_bytes(hashlib.blake2b(vault_id.encode(), digest_size=8, person=b"flotilla-tag").digest())
    letters: list[str] = []
    for _ in range(TAG_LENGTH):
        number, place = divmod(number, len(TAG_LETTERS))
        letters.append(TAG_LETTERS[place])
    return "".join(letters)


def is_tag(text: str) -> bool:
    """Whether a text is a vault's tag."""
    return len(text) == TAG_LENGTH and all(letter in TAG_LETTERS for letter in text)


def placeholder(type_name: str, number: int, tag: str) -> str:
    """The placeholder as redact writes it."""
    return f"[{type_name}_{number}_{tag}]"


@dataclass(frozen=True, slots=True)
class Forms:
    """
    What a vault's placeholders look like in a text that a model wrote.

    Attributes:
        whole: A placeholder, with or without its brackets. Groups: type and number with brackets, type and number
            without.
        begun: What may become one when more of the text arrives: from its beginning to the end of what is there.
        tag: The tag alone.
    """

    whole: re.Pattern[str]
    begun: re.Pattern[str]
    tag: re.Pattern[str]


@lru_cache(maxsize=64)
def forms_of(tag: str, types: tuple[str, ...]) -> Forms:
    """The forms of the placeholders with that tag and these types."""
    longest_first = sorted(types, key=len, reverse=True)
    names = "|".join(longest_first)
    core = rf"({names}){_SEPARATOR}({_NUMBER}){_SEPARATOR}{tag}"
    beginnings = sorted({name[:length] for name in types for length in range(1, len(name) + 1)}, key=len, reverse=True)
    begun_tag = "|".join(tag[:length] for length in range(TAG_LENGTH - 1, 0, -1))
    begun_core = (
        rf"(?:{'|'.join(beginnings)})\Z"
        rf"|(?:{names}){_SEPARATOR}(?:{_NUMBER}{_SEPARATOR}(?:{begun_tag})?)?\Z"
    )
    flags = re.IGNORECASE | re.ASCII
    return Forms(
        whole=re.compile(rf"\[{_SPACES}{core}{_SPACES}\]|{core}", flags),
        begun=re.compile(rf"\[{_SPACES}(?:\Z|{begun_core}|{core}{_SPACES}\Z)|{begun_core}", flags),
        tag=re.compile(tag, flags),
    )
