"""The layer of values that have a form or a checksum. Needs no language."""

from collections.abc import Iterator
from typing import Final

from flotilla.privacy.normalise import Reading, read_closely
from flotilla.privacy.spans import Span
from flotilla.privacy.values import credentials, dates, identity, internet, numbers
from flotilla.privacy.values.regions import Find, near_digits

_KINDS: Final[tuple[Find, ...]] = (internet.find, credentials.find, dates.find, identity.find, numbers.find)


class Structured:
    """E-mail addresses, numbers, dates, keys and the like; reads a second time what may hide or break a value."""

    name = "structured"

    def find(self, text: str, language: str) -> Iterator[Span]:  # noqa: ARG002 - its forms belong to no language
        """The spans of a text."""
        plain = Reading(text)
        for reading in (plain, read_closely(plain)):
            if reading is None:
                continue
            digits = near_digits(reading.text)
            for kind in _KINDS:
                for start, end, name in kind(reading.text, digits):
                    if start < end:
                        yield reading.original(Span(start=start, end=end, type=name, layer=self.name))
