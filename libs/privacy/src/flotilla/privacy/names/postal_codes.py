"""Postal codes: by the form that a country gives them, by the word or the town beside them."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from flotilla.privacy.names.spellings import matches_at
from flotilla.privacy.values.outline import Outline, WordPlaces
from flotilla.privacy.values.regions import Region, begins, matches, near_hints, words

CAPITALISED: Final = r"[^\W\d_a-zß-öø-ÿ][\w'.-]{0,40}"
"""A word with a capital, as a part of a pattern."""
# With the shapes of which a text must have one (`Outline`).
_CODES: Final = (
    (  # United Kingdom
        re.compile(
            begins("A-PR-UWYZ", r"\w-") + r"(?:[A-HK-Y]?\d[\dA-HJKSTUW]? \d[ABD-HJLNP-UW-Z]{2}|(?<=G)IR ?0AA)(?![\w-])"
        ),
        ("9 9AA", "A 9AA", "A9AA"),
    ),
    (  # Canada
        re.compile(begins("ABCEGHJ-NPRSTVXY", r"\w-") + r"\d[ABCEGHJ-NPRSTV-Z][ -]?\d[ABCEGHJ-NPRSTV-Z]\d(?![\w-])"),
        ("A9A 9A9", "A9A9A9", "A9A-9A9"),
    ),
    (  # the Netherlands
        re.compile(begins("1-9", r"\w-") + r"\d{3} [A-EGHJ-NPRTVWXZ][A-EGHJ-NPRSTVWXZ](?![\w-])"),
        ("9999 AA",),
    ),
    (  # Australia
        re.compile(
            begins("NVQSWAT", r"\w-")
            + r"(?:(?<=N)(?:SW|T)|(?<=V)IC|(?<=Q)LD|(?<=S)A|(?<=W)A|(?<=A)CT|(?<=T)AS),? \d{4}(?!\w)"
        ),
        ("AAA 9999", "AA 9999", "AAA, 9999", "AA, 9999"),
    ),
    (  # the United States
        re.compile(begins("ACDFGHIKLMNOPRSTUVW", r"\w-") + r"[A-Z],? \d{5}(?:-\d{4})?(?![\w-]|[.,]\d)"),
        ("AA 99999", "AA, 99999"),
    ),
)
# "London SW1A 1AA", "Springfield, IL 62704": what stands in the line before such a code.
_TOWN_BEFORE: Final = re.compile(rf"(?<!\w)(?:{CAPITALISED},?[^\S\n]){{1,3}}\Z")
_TOWN_LENGTH_MAX: Final = 64
_CODE_BEFORE_TOWN: Final = re.compile(
    begins("A-Z0-9", r"\w.,/$€£-")
    + r"(?:(?<=[A-Z])[A-Z]?-\s?\d|(?<=[0-9]))(?:\d{4}|\d{3}|\d{2} \d{2}|\d-\d{3}|\d{4}-\d{3})"
    r"(?=,?[^\S\n][^\W\d_a-zß-öø-ÿ][\w'-]{2,40})"
)
_CODE_AFTER_STATE: Final = re.compile(
    begins("A-Z", r"\w") + r"(?:[A-Z]{1,2}\.?|[a-z]{1,40}),?\s{1,2}\d{5}(?:-\d{4})?(?![\w-]|[.,]\d)"
)
# It has a match of the hint in it, but for so many characters before and after.
_CODE_STATE_HINT: Final = re.compile(r"\s\d{5}(?!\w)")
_AROUND_CODE_STATE: Final = (44, 7)
_CODE_TOLD: Final = re.compile(
    r"(?i:zip(?: ?code)?|post(?:al)? ?code|postcode|plz|postleitzahl|code postal|código postal|codigo "
    r"postal|c\.?p\.?)(?: (?:is|ist|est|es|for|of|at"
    r"|[a-z]{1,10}){1,3})?\s?[:#]?\s{0,2}([A-Z0-9]{2,5}[ -][A-Z0-9]{2,5}|[A-Z0-9]{3,10})(?!\w)"
)
_FIVE_DIGITS: Final = re.compile(
    r"\d{5}(?:-\d{4})?(?=[.,;!?)]{0,2}(?:\s*\Z|\n)|[.;!?)]\s|,\s[a-z]|\s(?:now|today|and|or|but|since|for|with|to|from|area|zip|und|seit|et|y)\b)"
)
_BEFORE_CODE: Final = re.compile(
    r"(?<!\w)(?:in|near|around|outside|moved (?:to|from)|from \d{5} to|wohne in|nach|aus|à|en)\s\Z", re.IGNORECASE
)
_BEFORE_CODE_MAX: Final = 16
_STATES: Final = re.compile(
    r"(?<=,\s)(?:A[KLRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|P[AR]"
    r"|RI|S[CD]|T[NX]|UT|V[AT]|W[AIVY])(?![\w'])"
)
_CODE_WORDS: Final = frozenset(
    written
    for word in words("zip zipcode post postal postcode postalcode plz postleitzahl code código codigo cp c")
    for written in (word, word.upper(), word.capitalize())
) | words("PostCode ZipCode PostalCode")


def find(outline: Outline, places: WordPlaces) -> Iterator[tuple[int, int, str]]:
    """Postal codes that need no list of towns, and the states before them."""
    text = outline.text
    yield from _of_countries(outline)
    if outline.has_shape("99999"):
        yield from _alone(outline)
    for match in matches_at(_CODE_TOLD, text, _CODE_WORDS, places) if outline.digits else ():
        if any(sign.isdigit() for sign in match[1]):
            yield *match.span(1), "ADDRESS"
    if "," in text:
        for match in _STATES.finditer(text):
            yield *match.span(), "PLACE"


def after_states(text: str) -> Iterator[re.Match[str]]:
    """What is a postal code after a state or a town, with that; five digits."""
    return near_hints(_CODE_AFTER_STATE, _CODE_STATE_HINT, text, *_AROUND_CODE_STATE)


def before_towns(text: str, digits: Sequence[Region]) -> Iterator[tuple[int, int]]:
    """What is a postal code if the word after it is a place."""
    return (match.span() for match in matches(_CODE_BEFORE_TOWN, text, digits))


def _of_countries(outline: Outline) -> Iterator[tuple[int, int, str]]:
    """Postal codes of a country's form, with the town before those of the United Kingdom."""
    text = outline.text
    for pattern, shapes in _CODES:
        for match in matches(pattern, text, outline.digits) if outline.has_shape(*shapes) else ():
            start = match.start()
            town = _TOWN_BEFORE.search(text, max(0, start - _TOWN_LENGTH_MAX), start) if " " in match[0] else None
            yield town.start() if town is not None else start, match.end(), "ADDRESS"


def _alone(outline: Outline) -> Iterator[tuple[int, int, str]]:
    """What can only be a postal code where it stands: five digits after "in", with no noun after them."""
    text = outline.text
    for match in outline.at_numbers(_FIVE_DIGITS, 5, 5):
        if not match[0].endswith("000") and _BEFORE_CODE.search(
            text, max(0, match.start() - _BEFORE_CODE_MAX), match.start()
        ):
            yield *match.span(), "ADDRESS"
