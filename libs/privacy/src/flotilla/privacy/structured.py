"""The layer of values that have a form or a checksum. Needs no language."""

from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

from flotilla.privacy.normalise import COMPLETE, Reading, read_closely
from flotilla.privacy.spans import Span, covered
from flotilla.privacy.values import credentials, dates, identity, internet, numbers, places_and_wallets
from flotilla.privacy.values.outline import Find, Outline, outline_of, shared_outline_of
from flotilla.privacy.values.regions import around

_KINDS: Final[tuple[Find, ...]] = (
    internet.find,
    credentials.find,
    dates.find,
    identity.find,
    numbers.find,
    places_and_wallets.find,
)
_AROUND_CHANGES: Final = 120
"""More than a value and the words that tell what it is; values without spaces are read whole."""
_WORD_LENGTH_MAX: Final = 4_000
# Their checksum held, or they have a day, a month and a year: they do not go on in the next line.
_COMPLETE: Final = frozenset({"CARD", "IBAN"})
_DATE_LENGTH_MIN: Final = 8


class Structured:
    """E-mail addresses, numbers, dates, keys and the like; reads a second time what may hide or break a value."""

    name = "structured"

    def find(self, text: str, language: str) -> Iterator[Span]:  # noqa: ARG002 - its forms belong to no language
        """The spans of a text."""
        first = [*self._found(shared_outline_of(text), 0)]
        yield from first
        found = covered(first, len(text))
        for span in first:
            if span.type in _COMPLETE or (span.type == "DATE" and span.end - span.start >= _DATE_LENGTH_MIN):
                found[span.start : span.end] = bytes((COMPLETE,)) * (span.end - span.start)
        closely = read_closely(Reading(text), found)
        if closely is None or closely.starts is None:
            return
        places = (
            (bisect_left(closely.starts, start), bisect_left(closely.starts, end))
            for start, end in sorted(closely.changed)
        )
        for start, end in around(
            closely.text, places, before=_AROUND_CHANGES, after=_AROUND_CHANGES, word_length_max=_WORD_LENGTH_MAX
        ):
            for span in self._found(outline_of(closely.text[start:end]), start):
                yield closely.original(span)

    def _found(self, outline: Outline, offset: int) -> Iterator[Span]:
        for kind in _KINDS:
            for start, end, name in kind(outline):
                if start < end:
                    yield Span(start + offset, end + offset, name, self.name)
