"""Dates, times and ages in English, German, French and Spanish."""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from flotilla.privacy.values import in_words
from flotilla.privacy.values.outline import Outline
from flotilla.privacy.values.regions import begins, matches, places_of_words, words

MONTHS: Final = words(
    "january february march april may june july august september october november december jan feb mar apr jun jul "
    "aug sep sept oct nov dec jänner januar februar märz mai juni juli oktober dezember okt dez mrz janvier février "
    "fevrier mars avril juin juillet août aout septembre octobre novembre décembre decembre janv févr avr juil déc "
    "enero febrero marzo abril mayo junio julio agosto septiembre setiembre octubre noviembre diciembre ene abr ago "
    "dic"
)
_YEAR: Final = r"(?:1[89]|20)\d\d"
_TIME: Final = (
    r"(?:[01]?\d|2[0-3])[:.h][0-5]\d(?:[:.][0-5]\d(?:[.,]\d{1,6})?)?(?:\s?[ap]\.?m\b\.?)?"
    r"(?:\s?(?:Uhr|Z|UTC|GMT|CES?T|[+-]\d\d:?\d\d))?"
)
_ISO: Final = re.compile(
    begins("12", r"\w/.-")
    + rf"(?:(?<=1)[89]|(?<=2)0)\d\d([-/.])(?:0?[1-9]|1[0-2])\1(?:0?[1-9]|[12]\d|3[01])(?:[T ]{_TIME})?(?![\d/-])"
)
_NUMERIC: Final = re.compile(
    begins("0-9", r"\w/.-")
    + rf"(?:(?<=0)[1-9]|(?<=[12])\d|(?<=3)[01]|(?<=[1-9]))([-/.])\s?(?:0?[1-9]|[12]\d|3[01])\1\s?(?:{_YEAR}|\d\d)"
    rf"(?:[T ,]{{1,2}}{_TIME})?(?![\d/-])"
)
_CARD_DATE: Final = re.compile(
    r"(?:exp(?:iry|ires|iration)?(?: date)?|valid (?:until|thru|to)|gültig bis|ablauf(?:datum)?|expire(?: le)?"
    r"|caduca|caducidad|vence)"
    r"\.?\s?:?\s?((?:0[1-9]|1[0-2])\s?[/-]\s?\d\d)(?![\w/-])",
    re.IGNORECASE,
)
_CARD_DATE_WORDS: Final = ("exp", "valid", "gültig", "ablauf", "caduc", "vence")
_MONTH_YEAR: Final = re.compile(begins("01", r"\w/.-") + rf"(?:(?<=0)[1-9]|(?<=1)[0-2])/{_YEAR}(?![\d/])")
_DAY_BEFORE_MONTH: Final = re.compile(
    r"(?<![\w.-])(?:(?:lundi|mardi|mercredi|jeudi|vendredi|samedi|dimanche|lunes|martes|miércoles|jueves"
    r"|viernes|sábado|domingo)\s)?(?:0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th|er|\.|º)?"
    r"(?:\s|-|\s(?:day\s)?of\s|\sdel?\s|\s?\.\s?|)\Z",
    re.IGNORECASE,
)
_DAY_LENGTH_MAX: Final = 24
_AFTER_MONTH: Final = re.compile(
    rf"\.?(?:(?P<day>\s(?:the\s)?(?:0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th)?\b(?![.,]?\d))?"
    rf"(?P<year>(?:(?:,?\s|-|\sof\s|\sdel?\s){_YEAR}|\s'\d\d)(?!\d))?)"
    rf"(?P<time>\s?,?\s(?:at|um|à|a las)?\s?{_TIME})?",
    re.IGNORECASE,
)
_BEFORE_DAY: Final = re.compile(r"\b(?:a[mb]|zum|vom|bis|de[nr]) \Z")
_DAY_MONTH: Final = re.compile(r"(?<= )(?:0?[1-9]|[12]\d|3[01])\.\s?(?:0?[1-9]|1[0-2])\.(?![\d\w])")
_CLOCK: Final = re.compile(
    begins("0-9", r"\w:.,/-")
    + r"(?:(?:(?<=[01])\d|(?<=2)[0-3])?:[0-5]\d(?::[0-5]\d)?(?:\s?[ap]\.?m\b\.?)?(?:\s?Uhr\b)?"
    r"|(?:(?<=1)[0-2]|(?<=0)[1-9]|(?<=[1-9]))\s?[ap]\.?m\b\.?"
    r"|(?:(?<=[01])\d|(?<=2)[0-3])?\.[0-5]\d(?:\s?Uhr\b|\s?[ap]\.?m\b\.?)|(?:(?<=[01])\d|(?<=2)[0-3])?\sheures?\b(?:\s[0-5]\d\b)?"
    r"|(?:(?<=[01])\d|(?<=2)[0-3])?\s?(?:Uhr|h)\s?(?:[0-5]\d)?\b)(?![:\d])",
    re.IGNORECASE,
)
# Before hours that say how long, not when: "toutes les 12 heures".
_LASTS: Final = re.compile(r"\b(?:dans|pendant|durant|dur\w{1,5}|les|sous|plus de|moins de|il y a)\s\Z", re.IGNORECASE)
_LASTS_LENGTH_MAX: Final = 12
_DAYS: Final = words(
    "Monday Tuesday Wednesday Thursday Friday Saturday Sunday Mondays Tuesdays Wednesdays Thursdays Fridays Saturdays "
    "Sundays Montag Dienstag Mittwoch Donnerstag Freitag Samstag Sonnabend Sonntag Lundi Mardi Mercredi Jeudi "
    "Vendredi Samedi Dimanche Lunes Martes Miércoles Jueves Viernes Sábado Domingo"
)
# In French and Spanish days have no capitals, in English often none.
_DAYS_SMALL: Final = words(
    "monday tuesday wednesday thursday friday saturday sunday lundi mardi mercredi jeudi vendredi samedi dimanche "
    "lunes martes miércoles jueves viernes sábado domingo"
)
# Without those that are words or names as well: March, May, April, August, Juni, Mai.
_MONTHS_ALONE: Final = words(
    "January February June July September October November December Januar Februar Juli Oktober Dezember"
)
_ALONE_WRITTEN: Final = _DAYS | _DAYS_SMALL | _MONTHS_ALONE
_ALONE: Final = frozenset(map(str.lower, _ALONE_WRITTEN))
_YEAR_ALONE: Final = re.compile(
    begins("12", r"\w.,/:#+@$€£-")
    + rf"(?:(?<=1)[89]|(?<=2)0)\d\d(?:s|\s?[-/]\s?(?:{_YEAR}|\d\d))?(?![\w/@:-]|[.,]\d|\s?(?:%|€|\$|EUR|USD|km|kg))"
)
_SMALL: Final = re.compile(begins("0-9", r"\w.,/:-") + r"\d{0,2}(?!\d|[.,:/]\d)")
_AFTER_AGE: Final = re.compile(
    r"(?:\s|-)?(?:years?|yrs?|months?|weeks?)(?:\s|-)(?:old|of age)\b|\s?y\.?/?o\b|-?jährig|\s(?:Jahre|Monate|Wochen)\salt\b",
    re.IGNORECASE,
)
# "72F presents with": as doctors write it.
_SEX_AFTER: Final = re.compile(
    r"[ -]?(?:yo )?[FM](?=[,.;:)]|\s(?:with|presents?|who|seen|admitted|c/o|pt|patient|here)\b)"
)
_BEFORE_AGE: Final = re.compile(
    r"\b(?:aged?|Alter|alt|âge|âgée?|edad)(?:\s(?:of|von|de|is|was|bei))?\s?:?\s{0,2}\Z|\bâgée?s?\sde\s\Z",
    re.IGNORECASE,
)
# Only an age where years follow, or where no unit does.
_BEFORE_YEARS: Final = re.compile(
    r"(?:\b(?:elle|il|de|tiene|tengo|tenía|cumple|cumplió)|\bj')(?:\s?a(?:i|vait)?)?\s\Z", re.IGNORECASE
)
_YEARS: Final = re.compile(r"\s(?:ans|años|mois|meses)\b")
# Between commas, or in brackets: "Ousmane, 58 ans,".
_SET_APART: Final = re.compile(r"[,(]\s?\Z")
_YEARS_APART: Final = re.compile(r"\s(?:ans|años|Jahre|years|yrs|J\.)\s?(?:[,.;)]|\Z)")
_BEFORE_BARE: Final = re.compile(
    r"\b(?:I am|I'm|he is|she is|he's|she's|turn(?:s|ed|ing)|ich bin|er ist|sie ist|wurde)\s\Z", re.IGNORECASE
)
_NO_UNIT: Final = re.compile(r"\s?(?:[.,;!?)]|\Z|and\b|und\b|now\b|today\b|years?[.,;!?\s]?\Z)")
# Without one of these no number is an age.
_AGE_WORDS: Final = words(
    "year years yr yrs month months week weeks yo jahre jahren monate monaten wochen age aged alter alt âge âgé âgée "
    "âgés âgées edad ans años mois meses turn turns turned turning wurde"
)
_SEX_SHAPES: Final = ("99A,", "99A ", "99 A,", "99 A ")
_AGE_PHRASES: Final = (
    "jährig",
    "y/o",
    "y.o",
    "i am",
    "i'm",
    "he is",
    "she is",
    "he's",
    "ich bin",
    "er ist",
    "sie ist",
    " j.",
)
# With how many digits each begins, and the shapes of which a text must have one (`Outline`).
_NUMBERS: Final = (
    (_ISO, (4, 4), ("9999-9", "9999/9", "9999.9")),
    (_NUMERIC, (1, 2), ("9-9", "9/9", "9.9", "9- 9", "9/ 9", "9. 9")),
    (_MONTH_YEAR, (2, 2), ("99/9999",)),
    (_CLOCK, (1, 2), ("9:9", "9a", "9A", "9 a", "9 A", "9.99 A")),
    (_YEAR_ALONE, (4, 4), ("9999",)),
)
_AGE_CONTEXT: Final = 24
_AGE_MAX: Final = 130


def find(outline: Outline) -> Iterator[tuple[int, int, str]]:
    """Dates, times and ages of a text; of an age only its number."""
    text, digits = outline.text, outline.digits
    words_in = outline.words
    yield from _days(outline, words_in)
    yield from _of_cards(outline)
    for pattern, count, shapes in _NUMBERS:
        if outline.has_shape(*shapes):
            for start, end in _told(text, outline.at_numbers(pattern, *count)):
                yield start, end, "DATE"
    if outline.has_shape("9.9", "9. 9"):
        for match in matches(_DAY_MONTH, text, digits):
            if _BEFORE_DAY.search(text, max(0, match.start() - 5), match.start()):
                yield *match.span(), "DATE"
    if digits:
        for start, end in places_of_words(outline.lower, MONTHS & words_in):
            yield from _by_month(text, start, end)
    yield from in_words.find(text, outline.lower, words_in)
    if not words_in.isdisjoint(_AGE_WORDS) or _has_age(outline):
        yield from _ages(outline)


def _told(text: str, found: Iterable[re.Match[str]]) -> Iterator[tuple[int, int]]:
    """What says when, without hours that say how long."""
    for match in found:
        before = text[max(0, match.start() - _LASTS_LENGTH_MAX) : match.start()]
        if not (match[0].lower().endswith(("heure", "heures")) and _LASTS.search(before)):
            yield match.span()


def _days(outline: Outline, words_in: frozenset[str]) -> Iterator[tuple[int, int, str]]:
    text = outline.text
    for start, end in places_of_words(outline.lower, _ALONE & words_in):
        if text[start:end] in _ALONE_WRITTEN:
            yield start, end, "DATE"


def _has_age(outline: Outline) -> bool:
    return outline.has_word(*_AGE_PHRASES) or outline.has_shape(*_SEX_SHAPES)


def _of_cards(outline: Outline) -> Iterator[tuple[int, int, str]]:
    """Until when a card is good: told by the word before it."""
    if outline.has_shape("99/99", "99-99", "99 / 99"):
        for match in outline.at_words(_CARD_DATE, _CARD_DATE_WORDS):
            yield *match.span(1), "DATE"


def _ages(outline: Outline) -> Iterator[tuple[int, int, str]]:
    text = outline.text
    for number in outline.at_numbers(_SMALL, 1, 3):
        if int(number[0]) <= _AGE_MAX and _is_age(text, number):
            yield *number.span(), "AGE"


def _by_month(text: str, month: int, month_end: int) -> Iterator[tuple[int, int, str]]:
    start = max(0, month - _DAY_LENGTH_MAX)
    day = _DAY_BEFORE_MONTH.search(text[start:month])
    after = _AFTER_MONTH.match(text, month_end)
    if after is None:
        return
    if day is not None:
        # "3 May 12 people": the day stands before, so what follows is none.
        end = after.end() if after["day"] is None else month_end
        yield start + day.start(), end, "DATE"
    elif after["day"] is not None or after["year"] is not None:
        yield month, after.end(), "DATE"


def _is_age(text: str, number: re.Match[str]) -> bool:
    before = text[max(0, number.start() - _AGE_CONTEXT) : number.start()]
    return bool(
        _AFTER_AGE.match(text, number.end())
        or _SEX_AFTER.match(text, number.end())
        or _BEFORE_AGE.search(before)
        or (_YEARS.match(text, number.end()) and _BEFORE_YEARS.search(before))
        or (_YEARS_APART.match(text, number.end()) and _SET_APART.search(before))
        or (_BEFORE_BARE.search(before) and _NO_UNIT.match(text, number.end()))
    )
