"""The layer of names, places, addresses, organisations and groups: lists and rules, no model."""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from flotilla.privacy import lexicon
from flotilla.privacy.lexicon import LAST
from flotilla.privacy.names import addresses, labelled, organisations, people, postal_codes
from flotilla.privacy.names.capitals import with_capitals
from flotilla.privacy.names.groups import GROUPS
from flotilla.privacy.names.marking import mark, places
from flotilla.privacy.names.small import FILE_ENDINGS, NOBODYS, said_again, small_names
from flotilla.privacy.names.tokens import Token, tokens_of
from flotilla.privacy.spans import Span, in_order
from flotilla.privacy.values.outline import Outline, WordPlaces, shared_outline_of
from flotilla.privacy.values.regions import Region, begins

# Between the parts of one address.
_GAP: Final = re.compile(r"(?:\s{0,2},\s{0,3}|\s{1,2}|\s?\n\s{0,8}|\s?-\s?)\Z")
# "8 Elm Crescent\nShrewsbury\nSY3 7QP": whatever stands between a street and a code is a town.
_TOWN_BETWEEN: Final = re.compile(
    r"(?:,\s{1,2}|\s?\n\s{0,8})[^\W\d_a-zß-öø-ÿ][\w'.-]{1,30}"
    r"(?: (?:[a-z]{2,5} )?[^\W\d_a-zß-öø-ÿ][\w'.-]{1,30}){0,2},?(?:\s?\n\s{0,8}|\s)\Z"
)
_TOWN_LENGTH_MAX: Final = 80
# A code at the end of a line, after the town or the state: whatever these are.
_CODE_AFTER: Final = re.compile(
    r"(?:,?[^\S\n]{1,2}|,?\s?\n[ \t>]{0,8})(?:[^\W\d_a-zß-öø-ÿ][\w'.-]{1,30}(?: [^\W\d_a-zß-öø-ÿ][\w'.-]{0,30}){0,2},?"
    r"(?:[^\S\n]|\s?\n[ \t>]{0,8}))?(?:[A-Z]{2,3},?(?:[^\S\n]|\s?\n[ \t>]{0,8}))?"
    r"\d{4,6}(?:-\d{4})?(?=[.,;]?[ \t]*(?:\r?\n|\Z))"
)
_NUMBER_BEFORE: Final = re.compile(r"(?<![\w.,$€£])\d{1,6},?\s{1,2}\Z")
# "Hyun-woo Seo, 29, of Daejeon", "Hyun-woo Seo (29)".
_AGE_AFTER: Final = re.compile(r"(?:, | ?\()(\d{1,3})(?=,(?!\d)|[;)]|\.(?:\s|\Z))")
# "Darnell Brooks, Jr.", "Ann Lee, MD": goes with the name.
_SUFFIX_AFTER: Final = re.compile(r",? (?:Jr|Sr|II|III|IV|Esq|M\.?D|Ph\.?D|R\.?N|D\.?D\.?S|CPA)(?![\w-])")
# "priya.wexham", "Priya_Wexham_cv.pdf": the rest of an account's or a file's name.
_JOINED_AFTER: Final = re.compile(r"[._]([^\W\d_]{2,40})")
_JOINED_MAX: Final = 3
# "P. W." where the text names Priya Wexham.
_INITIALS: Final = re.compile(begins(r"^\W\d_a-zß-öø-ÿ", r"\w.") + r"\. ?[^\W\d_a-zß-öø-ÿ]\.(?!\w)")
_INITIALS_SHAPES: Final = ("A.A.", "A. A.")
# From the @ of an e-mail address on, and backwards from it.
_DOMAIN: Final = re.compile(r"@[^\s@]{1,255}")
_LOCAL: Final = re.compile(r"[^\s@]{1,64}\Z")
_LOCAL_LENGTH_MAX: Final = 64
_NUMBER_LENGTH_MAX: Final = 10
_SURE, _RATHER, _PERHAPS = 0.95, 0.8, 0.6


class Listed:
    """Names, places, addresses, organisations and groups in English, German, French and Spanish."""

    name = "lists"

    def __init__(self) -> None:
        # Read when the layer is made, not while the first document waits.
        lexicon.names()
        lexicon.places()
        lexicon.ordinary_words()

    def find(self, text: str, language: str) -> Iterator[Span]:
        """The spans of a text."""
        for start, end, name in labelled.find(text):
            yield self._span(start, end, name, _SURE)
        text = with_capitals(text)
        tokens = tokens_of(text, language)
        outline = shared_outline_of(text)
        at = outline.word_places
        mark(text, tokens, language)
        people_found = [*self._people(text, tokens, language, at)]
        parts = [*self._address_parts(outline, tokens, language, at)]
        yield from people_found
        yield from self._after_people(text, people_found)
        addressed = [*_addresses(text)]
        named = [(text[span.start : span.end], span.score >= _SURE) for span in people_found if span.type == "PERSON"]
        # Parts of an e-mail address go with it, or stay with it where the policy says so.
        words = _outside(addressed, tokens) if addressed else tokens
        for start, end in (*small_names(text, words, language), *said_again(words, named)):
            yield self._span(start, _joined(text, end), "PERSON", _PERHAPS)
        if outline.has_shape(*_INITIALS_SHAPES):
            for start, end in _initials(text, (name for name, _ in named)):
                yield self._span(start, end, "PERSON", _PERHAPS)
        yield from parts
        yield from _chains(text, parts, people_found)
        for start, end, name in organisations.find(text, tokens):
            yield self._span(start, end, name, _RATHER)
        for token in tokens:
            if token.capital and token.lower in GROUPS:
                yield self._span(token.start, token.end, "GROUP", _RATHER)

    def _people(self, text: str, tokens: Sequence[Token], language: str, at: WordPlaces) -> Iterator[Span]:
        for start, end, name in people.announced(text, language, at):
            yield self._span(start, end, name, _SURE)
        for run in people.runs(text, tokens):
            listed = any(token.first for token in run)
            placed = all(token.place for token in run) and not listed
            score = (
                _SURE
                if listed and len(run) > 1
                else _RATHER
                if any(token.last for token in run) or listed
                else _PERHAPS
            )
            yield self._span(run[0].start, run[-1].end, "PLACE" if placed else "PERSON", score)

    def _after_people(self, text: str, people_found: Sequence[Span]) -> Iterator[Span]:
        """What stands after names and goes with them."""
        for span in people_found:
            age = _AGE_AFTER.match(text, span.end)
            if age is not None:
                yield self._span(*age.span(1), "AGE", _RATHER)
            if span.type != "PERSON":
                continue
            suffix = _SUFFIX_AFTER.match(text, span.end)
            if suffix is not None:
                yield self._span(span.start, suffix.end(), "PERSON", span.score)
            joined = _joined(text, span.end)
            if joined > span.end:
                yield self._span(span.start, joined, "PERSON", span.score)

    def _address_parts(
        self, outline: Outline, tokens: Sequence[Token], language: str, at: WordPlaces
    ) -> Iterator[Span]:
        text, digits = outline.text, outline.digits
        for start, end, name in addresses.find(outline, at):
            yield self._span(start, end, name, _SURE)
        for start, end in places(text, tokens, language):
            yield self._span(start, end, "PLACE", _RATHER)
        starts = [token.start for token in tokens]
        names = {token.start: token for token in tokens if token.name or (token.place and token.capital)}
        for start, end in postal_codes.before_towns(text, digits):
            after = bisect_left(starts, end)
            town = tokens[after] if after < len(tokens) else None
            if town is not None and (town.start in names or (town.capital and not town.common)):
                yield self._span(start, end, "ADDRESS", _RATHER)
        for start, after, end in addresses.names_with_houses(outline):
            token = names.get(start)
            if token is not None and not (token.first and " " not in text[start:after].strip()) and not token.upper:
                yield self._span(start, end, "ADDRESS", _RATHER)

    def _span(self, start: int, end: int, name: str, score: float) -> Span:
        return Span(start, end, name, self.name, score)


def _joined(text: str, end: int) -> int:
    """Where a name ends that goes on after a stop or an underscore, in words that are no ordinary ones."""
    for _ in range(_JOINED_MAX):
        after = _JOINED_AFTER.match(text, end)
        word = "" if after is None else after[1].lower()
        listed = lexicon.names().flags(word) & LAST and word not in NOBODYS
        if after is None or word in FILE_ENDINGS or (lexicon.ordinary_words().flags(word) and not listed):
            break
        end = after.end()
    return end


def _initials(text: str, named: Iterable[str]) -> Iterator[Region]:
    """Where the first letters of somebody stand whom the text names."""
    words = (name.split() for name in named)
    known = {(name[0][0], name[-1][0]) for name in words if len(name) > 1}
    for match in _INITIALS.finditer(text) if known else ():
        if (match[0][0], match[0][-2]) in known:
            yield match.span()


def _addresses(text: str) -> Iterator[Region]:
    """Where e-mail addresses stand, in any form."""
    done = 0
    for domain in _DOMAIN.finditer(text):
        at = domain.start()
        first = max(done, at - _LOCAL_LENGTH_MAX)
        local = _LOCAL.search(text, max(first, text.rfind(" ", first, at) + 1), at)
        if local is not None:
            done = domain.end()
            yield local.start(), done


def _outside(regions: Sequence[Region], tokens: Sequence[Token]) -> list[Token]:
    """The words without those that reach into a region; both in the order of the text."""
    outside: list[Token] = []
    ahead = iter((*regions, (tokens[-1].end, tokens[-1].end) if tokens else (0, 0)))
    start, end = next(ahead)
    for token in tokens:
        while end <= token.start:
            start, end = next(ahead)
        if token.end <= start:
            outside.append(token)
    return outside


def _chains(text: str, parts: Sequence[Span], people_found: Sequence[Span]) -> Iterator[Span]:
    """One span over the parts of one address, with what stands between them: street, town, code, country."""
    if not any(part.type == "ADDRESS" for part in parts):
        return
    chain: tuple[int, int] | None = None
    streets = 0
    for start, end, name, _, _ in in_order((*parts, *people_found)):
        if chain is not None and (
            start <= chain[1] or _goes_on(text, chain[1], start, name, with_street=bool(streets))
        ):
            streets += name == "ADDRESS"
            chain = chain[0], max(chain[1], end)
            continue
        if chain is not None and streets:
            yield _whole_address(text, *chain)
        chain, streets = ((start, end), int(name == "ADDRESS")) if name in {"ADDRESS", "PLACE"} else (None, 0)
    if chain is not None and streets:
        yield _whole_address(text, *chain)


def _goes_on(text: str, end: int, start: int, name: str, *, with_street: bool) -> bool:
    """Whether an address that ends goes on where a part begins: little stands between, or what must be its town."""
    if start - end > _TOWN_LENGTH_MAX:
        return False
    between = text[end:start]
    if _GAP.match(between):
        return True
    town = _TOWN_BETWEEN.match(between) if with_street else None
    return town is not None and (name == "ADDRESS" or "\n" in between[:2])


def _whole_address(text: str, start: int, end: int) -> Span:
    number = _NUMBER_BEFORE.search(text, max(0, start - _NUMBER_LENGTH_MAX), start)
    rest = _CODE_AFTER.match(text, end)
    return Span(
        number.start() if number else start, rest.end() if rest is not None else end, "ADDRESS", "lists", _RATHER
    )
