"""
Numbers: cards, bank accounts, telephones, and every long number that is no amount.

A checksum or the words before it decide the type. A long number without either is redacted all the same, as NUMBER:
a typing error is no permission to leak.
"""

import re
import string
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Final, cast

from flotilla.privacy.values.context import announcing, kind_before, kind_near, words_before
from flotilla.privacy.values.identity import type_of_digits
from flotilla.privacy.values.outline import Outline
from flotilla.privacy.values.phones import is_phone
from flotilla.privacy.values.regions import begins, matches, words

_IBAN: Final = re.compile(begins("A-Za-z", r"\w") + r"[A-Za-z][0-9]{2}(?:[ ._/-]?[A-Za-z0-9]){11,30}(?!\w)")
# In groups of four or in one: what counts where the checksum is wrong.
_IBAN_WRITTEN: Final = re.compile(r"[A-Z]{2}\d{2}(?: ?(?=[A-Z]{0,4}\d)[A-Z0-9]{4}){2,7}(?: ?\d[A-Z0-9]{0,2})?(?!\w)")
IBAN_LENGTHS: Final = {
    form[:2]: int(form[2:])
    for form in words(
        "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 ES24 "
        "FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 "
        "LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 "
        "RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30"
    )
}
"""By country, the characters of an account number of ISO 13616."""
_IBAN_VALUES: Final = {ord(letter): str(int(letter, 36)) for letter in string.ascii_uppercase}
# What a digit counts at every other place, from the right.
_LUHN_DOUBLED: Final = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)

# Digits in groups; the groups are apart by a space, a stop, a hyphen, a slash, or parentheses around an area code.
_DIGITS: Final = re.compile(
    begins("+(0-9", r"\w.") + r"(?:(?<=[0-9])(?!(?<=\d,\d)\d\d(?![\d /-]))"
    r"|(?<=\+)\s?(?:\(\s?\+?\d{1,5}\s?\)[ ./-]{0,2})?\d"
    r"|(?<=\()\s?\+?\d{1,5}\s?\)[ ./-]{0,2}\d)"
    r"(?:[ ./\t-]{0,3}\(?\d\)?){3,40}(?![\w]|[.,]\d)"
)
_EXTENSION: Final = re.compile(r"\s?(?:x|ext\.?|extension|durchwahl|poste|int\.?)\s?\d{1,6}(?!\w)", re.IGNORECASE)
_EXTENSION_GLUED: Final = re.compile(
    begins("+(0-9", r"\w.,") + r"(?:(?<=[+(])\d)?(?:[ ./()-]{0,3}\d){6,15}x\d{1,6}(?!\w)"
)
# With a letter and a digit at least.
_CODE: Final = re.compile(
    begins("A-Z0-9", r"\w./-") + r"(?:(?<=[0-9])(?=[0-9-]{0,38}[A-Z])|(?<=[A-Z])(?=[A-Z-]{0,38}[0-9]))"
    r"[A-Z0-9]{0,29}(?:-[A-Z0-9]{1,30}){0,6}(?![\w])"
)
_MORE_GROUPS: Final = re.compile(r"(?: \d{3,6}){1,3}(?![\w]|[.,]\d)")
_PLATE_TOLD: Final = re.compile(
    r"(?:plates?|registration|reg|kennzeichen|immatriculation|immatriculée?|plaque|matrícula)(?i:\.?(?:\s(?:no|number|nr|n°|mark)\.?)?"
    r"(?:\s?:|\s(?:is|was|ist|war|est|es|del coche era|era))?)\s{1,2}"
    r"(?=[A-ZÄÖÜ -]{0,8}\d)([A-ZÄÖÜ0-9]{1,4}(?:[ -][A-Z0-9]{1,4}){0,2})(?![\w-])"
)
_SHORT: Final = re.compile(begins("0-9", r"\w.,/:-") + r"\d{2,5}(?![\w]|[.,:/-]\d| \d)")
_IPV4: Final = re.compile(r"(?:\d{1,3}\.){3}\d{1,3}\Z")
_MONEY_BEFORE: Final = re.compile(r"(?:[$€£¥₹]|\b(?:USD|EUR|GBP|CHF|US\$|Rs|CA\$|JPY|MXN))\s?\Z")
_MONEY_ENDS: Final = frozenset("$€£¥₹DRPFsYN")
_UNIT_AFTER: Final = re.compile(
    r"\s?(?:[$€£¥%‰°]|(?:USD|EUR|GBP|CHF|Euros?|dollars?|pounds?|pesos|francs|cents|percent|Prozent|pour cent"
    r"|km|kg|mm|cm|m|g|mg|ml|l|kWh|MWh|GB|MB|kB|bytes|ms|Hz|W|people|users|years|Jahre|ans|años|units|items"
    r"|Stück|tokens|million|Millionen)\b)"
)
_GROUPED: Final = re.compile(r"\d{1,3}(?:[ .]\d{3})+\Z")
_DATES: Final = re.compile(
    r"(?:1[89]|20)\d\d\s?[-/]\s?(?:1[89]|20)?\d\d\Z"
    r"|(?:1[89]|20)\d\d[-/.]\d{1,2}[-/.]\d{1,2}(?:[ T]\d\d)?\Z"
    r"|\d{1,2}[-/.]\d{1,2}[-/.](?:\d\d|(?:1[89]|20)\d\d)(?:[ T]\d\d)?\Z"
)
# Bank codes after their word, extensions, and files of courts and registers.
_BIC: Final = re.compile(
    r"(?<!\w)(?:BIC|SWIFT)(?:[ /-](?:BIC|SWIFT|[Cc]ode))?(?:\s?:|\sis|\sist|\sest|\ses)?\s{0,2}"
    r"([A-Z]{6}[A-Z0-9]{2}(?:[A-Z0-9]{3})?)(?!\w)"
)
_INTERNAL: Final = re.compile(
    r"(?<!\w)(?:[Dd]urchwahl|DW|[Ee]xt(?:ension|\.)?|[Pp]oste|[Ee]xtensión)(?:\s?:)?\s?"
    r"(-?\s?\d{2,5}(?: \d{2,3})?)(?![\w]|[.,]\d)"
)
_COURT_FILE: Final = re.compile(begins("0-9", r"\w.,") + r"\d{0,2}\s[A-Z][A-Za-z]{0,3}\s\d{1,6}/\d{2,4}(?![\w/])")
_REGISTERED: Final = re.compile(
    begins("HVGRC", r"\w")
    + r"(?:(?<=H)R[AB]|(?<=V)R|(?<=G)nR|(?<=R)CS|(?<=C)RN)(?:\s[A-Z][a-zé]{2,20}|-Nr\.)?\s?[:]?\s?(\d[\d ]{2,12}\d)(?!\w)"
)
_REFERENCE: Final = re.compile(
    begins("A-Z", r"\w/.-") + r"[A-Z]{0,4}/(?:[A-Z0-9]{1,8}/){0,3}\d{2,8}(?:/\d{2,4})?(?![\w/])"
)
# With the shapes of which a text must have one (`Outline`).
_PLATES: Final = (
    (  # Germany
        re.compile(begins("A-ZÄÖÜ", r"\w-") + r"[A-ZÄÖÜ]{0,2}-[A-Z]{1,2}[ -]\d{1,4}[EH]?(?![\w-])"),
        ("A-A 9", "A-A-9", "A-AA 9", "A-AA-9"),
    ),
    (re.compile(begins("A-Z", r"\w-") + r"[A-Z]-\d{3}-[A-Z]{2}(?![\w-])"), ("AA-999-AA",)),  # France, Italy
    (  # Spain
        re.compile(begins("0-9", r"\w-") + r"\d{3}[ -][BCDFGHJKLMNPRSTVWXYZ]{3}(?![\w-])"),
        ("9999 AAA", "9999-AAA"),
    ),
    (  # United Kingdom
        re.compile(begins("A-HJ-PR-Y", r"\w-") + r"[A-HJ-PR-Y]\d{2} [A-HJ-PR-Z]{3}(?![\w-])"),
        ("AA99 AAA",),
    ),
)
_CARD_LENGTHS: Final = range(12, 20)
_CARD_FIRST: Final = "23456"
_LONG_MIN: Final = 7
_SHORT_DIGITS: Final = (3, 6)
# No shorter one counts by the word before it when it may be a date or a year.
_TOLD_MIN: Final = 5
_CODE_DIGITS_MIN: Final = 6
_CODE_LENGTHS: Final = range(4, 41)
_CODE_DIGITS_TOLD_MIN: Final = 3
_INTERNAL_WORDS: Final = ("durchwahl", "dw", "ext", "poste")
_BANK_WORDS: Final = ("bic", "swift")
_PLATE_WORDS: Final = ("plate", "reg", "kennzeichen", "immatricul", "plaque", "matrícula")
_TOLD: Final = (
    (_BIC, _BANK_WORDS, "ACCOUNT"),
    (_INTERNAL, _INTERNAL_WORDS, "PHONE"),
    (_PLATE_TOLD, _PLATE_WORDS, "PLATE"),
)
_REGISTERS: Final = ("HR", "VR", "GnR", "RCS", "CRN")
_IBAN_SHAPES: Final = ("AA99", "aa99", "Aa99", "aA99")
_PHONE_LENGTHS: Final = range(7, 16)
# Without gaps and without a word that says so, a shorter number is any number.
_PLAIN_PHONE_LENGTHS: Final = range(10, 16)


def find(outline: Outline) -> Iterator[tuple[int, int, str]]:
    """Cards, accounts, telephones, plates and long numbers of a text."""
    text = outline.text
    starts: list[int] = []
    ends: list[int] = []
    told_by = announcing(outline)
    for match in outline.at_shapes(_IBAN, *_IBAN_SHAPES):
        for start, end, name in _iban(text, match):
            yield start, end, name
            starts.append(start)
            ends.append(end)
    if outline.has_shape("9a9") and "x" in text:
        for match in outline.at_numbers(_EXTENSION_GLUED):
            yield *match.span(), "PHONE"
    for match in outline.at_numbers(_DIGITS):
        # The groups of an account number are no number of their own.
        before = bisect_right(starts, match.start())
        if not before or match.start() >= ends[before - 1]:
            yield from _digits(text, match, told_by)
    yield from _codes(outline, told_by)


def _codes(outline: Outline, told_by: Sequence[int]) -> Iterator[tuple[int, int, str]]:
    """Numbers with letters in them, short numbers after a word that says what they are, plates."""
    text = outline.text
    for match in matches(_CODE, text, outline.digits):
        shown = match[0]
        if len(shown) in _CODE_LENGTHS:
            count = sum(map(str.isdigit, shown))
            if count >= _CODE_DIGITS_TOLD_MIN:
                yield from _code(text, match, count, told_by)
    for match in outline.at_numbers(_SHORT, *_SHORT_DIGITS):
        kind = kind_before(words_before(text, match.start(), told_by))
        if kind is not None and not _UNIT_AFTER.match(text, match.end()) and (kind != "PHONE" or len(match[0]) > 4):  # noqa: PLR2004 - no year
            yield *match.span(), kind
    yield from _told(outline)
    yield from _plates(outline)


def _plates(outline: Outline) -> Iterator[tuple[int, int, str]]:
    for plate, shapes in _PLATES:
        if outline.has_shape(*shapes):
            for match in matches(plate, outline.text, outline.digits):
                yield *match.span(), "PLATE"


def _told(outline: Outline) -> Iterator[tuple[int, int, str]]:
    """Bank codes, extensions, numbers of registers and courts: short, and told by what stands before or in them."""
    text = outline.text
    for pattern, told_by, name in _TOLD:
        for match in outline.at_words(pattern, told_by):
            yield *match.span(1), name
    if any(register in text for register in _REGISTERS):
        for match in matches(_REGISTERED, text, outline.digits):
            yield *match.span(1), "ACCOUNT"
    if "/" in text:
        if outline.has_shape("9 A"):
            for match in outline.at_numbers(_COURT_FILE, 1, 3):
                yield *match.span(), "RECORD"
        if outline.has_shape("A/9", "A/A"):
            for match in matches(_REFERENCE, text, outline.digits):
                yield *match.span(), "RECORD"


def _iban(text: str, match: re.Match[str]) -> Iterator[tuple[int, int, str]]:
    start, end = match.span()
    # The pattern may have run on into the next word: a country's numbers have one length.
    length = IBAN_LENGTHS.get(match[0][:2].upper(), 0)
    plain = "".join(filter(str.isalnum, match[0]))
    if length and len(plain) >= length and _is_checked(plain[:length]):
        if end - start == len(plain):
            end = start + length
        else:
            end = [place for place in range(start, end) if text[place].isalnum()][length - 1] + 1
        if not text[end : end + 1].isalnum():
            yield start, end, "IBAN"
            return
    wrong = _IBAN_WRITTEN.match(text, start)
    if wrong is not None:
        yield *wrong.span(), "NUMBER"


def _is_checked(plain: str) -> bool:
    """Whether the check digits of ISO 13616 are right, of ASCII letters and digits alone."""
    return int((plain[4:] + plain[:4]).upper().translate(_IBAN_VALUES)) % 97 == 1


def _digits(text: str, match: re.Match[str], told_by: Sequence[int]) -> Iterator[tuple[int, int, str]]:
    start, end = match.span()
    shown = match[0].rstrip("( ")
    end = start + len(shown)
    if "." in shown and _IPV4.match(shown):
        return  # `internet` gives it
    digits = "".join(filter(str.isdigit, shown))
    dated = _DATES.match(shown) is not None
    if dated or (len(digits) < _LONG_MIN and not shown.startswith("+")):
        # A sort code may look like a date; a word before it says what it is.
        kind = kind_before(words_before(text, start, told_by)) if len(digits) >= _TOLD_MIN else None
        if kind is not None and (kind in {"PHONE", "ACCOUNT"} or not dated):
            yield start, end, kind
        return
    before = words_before(text, start, told_by)
    kind = kind_before(before)
    if kind is None and not shown.startswith("+"):
        if (
            text[max(0, start - 2) : start].strip()[-1:] in _MONEY_ENDS
            and _MONEY_BEFORE.search(text[max(0, start - 5) : start])
        ) or (_UNIT_AFTER.match(text, end) and (_GROUPED.match(shown) or shown.isdigit())):
            return
        kind = kind_near(before)
    extension = _EXTENSION.match(text, end)
    if extension is not None:
        end = extension.end()
    yield start, end, "PHONE" if extension is not None else _type_of(shown, digits, kind)


def _is_luhn(digits: str) -> bool:
    """Whether the check digit of ISO/IEC 7812 is right."""
    doubled = map(_LUHN_DOUBLED.__getitem__, map(int, digits[-2::-2]))
    return (sum(map(int, digits[::-2])) + sum(doubled)) % 10 == 0


def _type_of(shown: str, digits: str, kind: str | None) -> str:
    if len(digits) in _CARD_LENGTHS and digits[0] in _CARD_FIRST and _is_luhn(digits):
        return "CARD"
    if kind == "CARD" and len(digits) in _CARD_LENGTHS:
        return "NUMBER"
    if kind not in {None, "CARD"}:
        return cast("str", kind)
    in_groups = not shown.isdigit()
    if in_groups and len(digits) in _PHONE_LENGTHS and is_phone(shown):
        return "PHONE"
    # Behind a plus stands a country's code, and no number of a person.
    checked = None if shown[0] == "+" else type_of_digits(digits)
    if checked is not None:
        return checked
    return "PHONE" if not in_groups and len(digits) in _PLAIN_PHONE_LENGTHS and is_phone(shown) else "NUMBER"


def _code(text: str, match: re.Match[str], digits: int, told_by: Sequence[int]) -> Iterator[tuple[int, int, str]]:
    kind = kind_before(words_before(text, match.start(), told_by))
    if kind is not None and kind != "PHONE":
        more = _MORE_GROUPS.match(text, match.end())
        yield match.start(), match.end() if more is None else more.end(), kind
    elif digits >= _CODE_DIGITS_MIN:
        yield *match.span(), "NUMBER"
