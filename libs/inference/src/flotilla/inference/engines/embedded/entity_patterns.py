"""
What entities look like. Every repetition in a pattern is bounded, so no text makes one slow.

A pattern's group `it` is the entity where there is one, else the whole match.
"""

import re
from collections.abc import Callable
from datetime import date
from typing import Final, NamedTuple

_MONTHS = (
    "january|february|march|april|may|june|july|august|september|october|november|december|"
    "jan|feb|mar|apr|jun|jul|aug|sept|sep|oct|nov|dec|"
    "januar|jänner|februar|märz|mai|juni|juli|oktober|dezember|"
    "janvier|février|mars|avril|juin|juillet|août|septembre|octobre|novembre|décembre|"
    "enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|noviembre|diciembre|"
    "gennaio|febbraio|aprile|maggio|giugno|luglio|settembre|ottobre|dicembre"
)
_MONTHS_MAX = 12
_DAYS_MAX = 31
_MONTH = rf"(?:{_MONTHS})\b\.?"
_AMOUNT = r"\d{1,3}(?:[.,'’\u00a0\u202f ]\d{3}){1,5}(?:[.,]\d{1,2})?(?!\d)|\d{1,15}(?:[.,]\d{1,2})?(?!\d)"  # noqa: RUF001
_SCALE = r"(?:\s?(?:thousand|million|billion|trillion|mio|mrd|mn|bn|k|m|tsd)\b\.?)?"
_SIGN = r"[$€£¥₹₽₩₺₫]"
_CODE = r"(?:US\$|A\$|C\$|USD|EUR|GBP|CHF|JPY|CNY|INR|AUD|CAD|NZD|SEK|NOK|DKK|PLN|CZK|HUF|BRL|MXN|ZAR|SGD|HKD)"
_UNIT = r"(?:euros?|dollars?|pounds?(?:\s+sterling)?|francs?|yen|franken|pesos?|rupees?|cents?)\b"
_STREET = r"street|st|road|rd|avenue|ave|lane|ln|drive|dr|boulevard|blvd|square|court|ct|way|place|pl"
_REFERENCE = (
    r"invoice|order|contract|case|ticket|customer|client|account|reference|ref|policy|claim|booking|tracking|serial|"
    r"rechnungs?|kunden|auftrags?|vertrags?|bestell|akten|vorgangs?|policen|facture|commande|contrat|dossier|factura|pedido"
)


class Pattern(NamedTuple):
    """A type of entity, how it looks, and what else must hold of a match."""

    type: str
    regex: re.Pattern[str]
    holds: Callable[[str], bool]


def _always(_text: str) -> bool:
    return True


def is_iban(text: str) -> bool:
    """Whether the check digits hold (ISO 13616, modulo 97)."""
    plain = text.replace(" ", "").upper()
    if not 15 <= len(plain) <= 34 or not plain.isascii():  # noqa: PLR2004  # the shortest and longest there are
        return False
    digits = "".join(str(int(character, 36)) for character in plain[4:] + plain[:4])
    return int(digits) % 97 == 1


def _is_date(text: str) -> bool:
    """Whether day, month and year can be told from three numbers, in either of the two common orders."""
    first, second, _year = (int(part) for part in re.findall(r"\d+", text))
    return min(first, second) <= _MONTHS_MAX and max(first, second) <= _DAYS_MAX and min(first, second) > 0


def _is_iso_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_month_name(text: str) -> bool:
    """Whether it is a month: in "they may 3 times" and "the 3 may" it is none."""
    return not re.search(r"(?<![^\W_])(?:may|mar|march)(?!\w)", text) and not text[0].islower()


def _is_phone(text: str) -> bool:
    digits = sum(character.isdigit() for character in text)
    marked = text.startswith(("+", "00", "0", "(")) or re.fullmatch(r"\d{3}[-. ]\d{3}[-. ]\d{4}", text) is not None
    return 7 <= digits <= 15 and marked  # noqa: PLR2004  # E.164


def _has_digits(text: str) -> bool:
    return sum(character.isdigit() for character in text) >= 3  # noqa: PLR2004  # "A4" and "B2" name nothing


def _pattern(kind: str, regex: str, holds: Callable[[str], bool] = _always, flags: int = re.IGNORECASE) -> Pattern:
    return Pattern(kind, re.compile(regex, flags), holds)


PATTERNS: Final = (
    _pattern("email", r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,6}[^\W\d_]{2,24}(?![\w@-])"),
    _pattern("url", r"(?<!\w)(?:https?://|www\.)[^\s<>\"'«»“”]{2,2000}(?<![.,;:!?)\]}'])"),
    _pattern("iban", r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)", is_iban, 0),
    _pattern(
        "identifier",
        rf"(?<!\w)(?:{_REFERENCE})[- ]{{0,2}}(?:numbers?|nummer|numéro|número|no|nr|n°|id|code)?\b[.:]{{0,2}}\s?"
        r"(?:[#:]\s?|n° ?)?(?P<it>(?=[A-Z/-]{0,12}\d)[A-Z0-9][A-Z0-9/-]{2,40}(?<![/-]))(?![\w.,]\d)",
        _has_digits,
    ),
    _pattern(
        "identifier",
        r"(?<![\w/-])(?P<it>[A-Z]{1,6}[-/]\d{1,12}[A-Z]{0,3}(?:[-/][A-Z0-9]{1,12}){0,4}|[A-Z]{2,5}\d{4,12})(?![\w/-])",
        _has_digits,
        0,
    ),
    _pattern("identifier", r"(?<![\w#&])#(?P<it>\d{3,12})(?!\w)"),
    _pattern("date", r"(?<![\w-])\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])(?![\d-])", _is_iso_date),
    _pattern(
        "date", r"(?<![\w./-])\d{1,2}(?P<s>[./-])\s?\d{1,2}(?P=s)\s?(?:\d{4}|\d{2})(?![\w/-])(?![.,]\d)", _is_date
    ),
    _pattern(
        "date",
        rf"(?<!\w)\d{{1,2}}(?:st|nd|rd|th|er|\.)?\s(?:of\s|de\s)?{_MONTH}(?:,?\s(?:de\s)?\d{{4}}(?!\d))?",
        _is_month_name,
    ),
    _pattern("date", rf"(?<!\w){_MONTH}\s\d{{1,2}}(?:st|nd|rd|th)?(?!\w)(?:,?\s\d{{4}}(?!\d))?", _is_month_name),
    _pattern("date", rf"(?<!\w){_MONTH}\s\d{{4}}(?!\w)", _is_month_name),
    _pattern("date", r"(?<!\w)Q[1-4]\s?(?:/\s?)?\d{4}(?!\w)", flags=0),
    _pattern("money", rf"(?<![\w])(?:{_CODE}|{_SIGN})\s?(?:{_AMOUNT}){_SCALE}(?:\s?{_CODE}(?!\w))?"),
    _pattern("money", rf"(?<![\w.,])(?:{_AMOUNT}){_SCALE}\s?(?:{_CODE}(?!\w)|{_SIGN}|{_UNIT})"),
    _pattern(
        "percentage",
        r"(?<![\w.,])[+-]?\d{1,6}(?:[.,]\d{1,4})?\s?(?:%|(?:percent|per cent|prozent|pour cent|por ciento)(?!\w))",
    ),
    _pattern("time", r"(?<![\w:.])(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d)?(?:\s?[ap]\.?m\b\.?|\s?uhr\b)?(?![\w:])"),
    _pattern("time", r"(?<![\w:.])(?:0?[1-9]|1[0-2])\s?[ap]\.?m\b\.?|(?<![\w:.])(?:[01]?\d|2[0-3])\suhr\b"),
    _pattern(
        "phone",
        r"(?<![\w.,/+-])(?:\+|00)?(?:\(\d{1,5}\)[ ]?)?\d(?:[ ./()-]{0,2}\d){5,15}(?![\w])(?![.,/-]\d)",
        _is_phone,
    ),
    _pattern(
        "address",
        rf"(?<!\w)\d{{1,5}}[A-Z]?\s(?:[A-Z][\w'’.-]{{1,30}}\s){{1,4}}(?:{_STREET})\b\.?",  # noqa: RUF001
        flags=re.IGNORECASE,
    ),
    _pattern(
        "address",
        r"(?<!\w)[A-ZÄÖÜ][\w-]{0,40}(?:straße|strasse|str\.|weg|platz|allee|gasse|ring|damm)\s\d{1,4}\s?[a-z]?(?!\w)"
        r"(?:,?\s\d{5}\s[A-ZÄÖÜ][\w-]{1,40})?",
        flags=0,
    ),
)
"""The first that matches a stretch of text keeps it."""
