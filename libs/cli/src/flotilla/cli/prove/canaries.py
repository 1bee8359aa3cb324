"""
Made-up personal data that nobody can guess, and whether a message holds any of it. Pure.

Every value has a tag of its run in it, so finding a tag is finding a part of some canary: whether one of ten thousand is in
a message costs as much as whether one of one is.
"""

import base64
import random
import secrets
from typing import Final

from msgspec import Struct

CANARIES_MAX: Final = 1_000_000
"""So many numbers fit into an IBAN behind the tag."""
SYLLABLES: Final = 5
TAG_DIGITS: Final = 12
NUMBER_DIGITS: Final = 6
BASE64_GROUP: Final = 3
_CONSONANTS: Final = "bdfgklmnprstvz"
_VOWELS: Final = "aeiou"
_IBAN_COUNTRY: Final = "131400"
"""`DE00` in the digits of ISO 13616."""


class Person(Struct, frozen=True, kw_only=True):
    """One canary: a name, an e-mail address and an IBAN with a right checksum, all of nobody."""

    name: str
    email: str
    iban: str


class Canaries:
    """
    The made-up persons of one run.

    Attributes:
        decoy: A word that stands in documents without personal data: where these are heard, the others would be too.
        part_bytes_max: The length of the longest part of a canary that is looked for.
    """

    def __init__(self, luck: random.Random | None = None) -> None:
        """Draw the tags; from the system's randomness unless told otherwise."""
        luck = luck or secrets.SystemRandom()
        self._first: Final = _word(luck)
        self._last: Final = _word(luck)
        self._digits: Final = "".join(luck.choice("123456789") for _ in range(TAG_DIGITS))
        self.decoy: Final = _word(luck)
        tags = (self._first, self._last, self._digits)
        self._tags: Final = tuple(tag.encode() for tag in tags)
        self._encoded: Final = tuple(
            form for tag in tags for written in {tag, tag.capitalize()} for form in _base64_forms(written.encode())
        )
        self.part_bytes_max: Final = max(map(len, (*self._tags, *self._encoded)))

    def person(self, number: int) -> Person:
        """The canary of a number, 0 to CANARIES_MAX - 1."""
        first, last = self._first.capitalize(), self._last.capitalize()
        account = f"{self._digits}{number:0{NUMBER_DIGITS}}"
        check = 98 - int(account + _IBAN_COUNTRY) % 97
        return Person(
            name=f"{first} {last}",
            email=f"{self._first}.{self._last}{number}@example.com",
            iban=f"DE{check:02}{account}",
        )

    def are_in(self, data: bytes) -> bool:
        """Whether there is any part of a canary in the bytes, in any case, or in base64."""
        lower = data.lower()
        return any(tag in lower for tag in self._tags) or any(form in data for form in self._encoded)

    def decoy_is_in(self, data: bytes) -> bool:
        """Whether the bytes have the decoy in them."""
        return self.decoy.encode() in data.lower()


def _word(luck: random.Random) -> str:
    """Like a name in small letters; 49 random bits."""
    letters = (_CONSONANTS, _VOWELS, _CONSONANTS)
    return "".join(luck.choice(choice) for _ in range(SYLLABLES) for choice in letters)


def _base64_forms(tag: bytes) -> list[bytes]:
    """What stands in base64 wherever the tag stands in what was encoded, at each of the three offsets that it can have."""
    forms: list[bytes] = []
    for offset in range(BASE64_GROUP):
        whole = tag[(BASE64_GROUP - offset) % BASE64_GROUP :]
        forms.append(base64.b64encode(whole[: len(whole) - len(whole) % BASE64_GROUP]))
    return forms
