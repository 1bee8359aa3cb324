"""
National and tax numbers, by their form and their checksum (python-stdnum).

Countries: Austria, Australia, Belgium, Brazil, Canada, Denmark, Finland, France, Germany, India, Ireland, Italy,
the Netherlands, Norway, Poland, Portugal, Spain, Sweden, Switzerland, the United Kingdom, the United States; VAT
numbers of every country of the European Union.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, Final, cast

import stdnum.at.tin
import stdnum.at.vnr
import stdnum.au.tfn
import stdnum.be.nn
import stdnum.br.cpf
import stdnum.ca.sin
import stdnum.ch.ssn
import stdnum.de.idnr
import stdnum.de.stnr
import stdnum.dk.cpr
import stdnum.es.cif
import stdnum.es.dni
import stdnum.es.nie
import stdnum.eu.vat
import stdnum.fi.hetu
import stdnum.fr.nif
import stdnum.fr.nir
import stdnum.fr.siren
import stdnum.fr.siret
import stdnum.gb.nhs
import stdnum.gb.utr
import stdnum.ie.pps
import stdnum.in_.aadhaar
import stdnum.in_.pan
import stdnum.it.codicefiscale
import stdnum.nl.bsn
import stdnum.no.fodselsnummer
import stdnum.pl.nip
import stdnum.pl.pesel
import stdnum.pt.nif
import stdnum.se.personnummer
import stdnum.us.itin
import stdnum.us.ssn

from flotilla.privacy.values.outline import Outline
from flotilla.privacy.values.regions import begins, matches

Check = Callable[[str], bool]


def _valid(module: Any) -> Check:
    return cast("Check", module.is_valid)


# Numbers of digits alone, by their length; the first whose checksum holds names the type.
DIGITS: Final[dict[int, tuple[tuple[Check, str], ...]]] = {
    9: (
        (_valid(stdnum.us.itin), "TAX"),
        (_valid(stdnum.fr.siren), "TAX"),
        (_valid(stdnum.pt.nif), "TAX"),
        (_valid(stdnum.ca.sin), "ID"),
        (_valid(stdnum.nl.bsn), "ID"),
        (_valid(stdnum.au.tfn), "TAX"),
        (_valid(stdnum.at.tin), "TAX"),
    ),
    10: (
        (_valid(stdnum.gb.nhs), "ID"),
        (_valid(stdnum.at.vnr), "ID"),
        (_valid(stdnum.se.personnummer), "ID"),
        (_valid(stdnum.pl.nip), "TAX"),
        (_valid(stdnum.gb.utr), "TAX"),
    ),
    11: (
        (_valid(stdnum.de.idnr), "TAX"),
        (_valid(stdnum.be.nn), "ID"),
        (_valid(stdnum.no.fodselsnummer), "ID"),
        (_valid(stdnum.pl.pesel), "ID"),
        (_valid(stdnum.br.cpf), "ID"),
    ),
    12: ((_valid(stdnum.se.personnummer), "ID"), (_valid(stdnum.in_.aadhaar), "ID")),
    13: ((_valid(stdnum.ch.ssn), "ID"), (_valid(stdnum.fr.nif), "TAX"), (_valid(stdnum.de.stnr), "TAX")),
    14: ((_valid(stdnum.fr.siret), "TAX"),),
    15: ((_valid(stdnum.fr.nir), "ID"),),
}

# Numbers with letters or of a form of their own: form, checksum, type. Where the checksum is wrong: NUMBER.
_FORMS: Final[tuple[tuple[re.Pattern[str], Check | None, str], ...]] = (
    (re.compile(r"\d{3}-\d{2}-\d{4}"), _valid(stdnum.us.ssn), "ID"),
    (
        re.compile(r"(?:[XYZ]-?\d{7}|\d{8})-?[A-Z]"),
        lambda text: stdnum.es.dni.is_valid(text) or stdnum.es.nie.is_valid(text),
        "ID",
    ),
    (re.compile(r"[ABCDEFGHJNPQRSUVW]-?\d{7}-?[0-9A-J]"), _valid(stdnum.es.cif), "TAX"),
    (
        re.compile(
            r"[A-Z]{6}[\dLMNPQRSTUV]{2}[ABCDEHLMPRST][\dLMNPQRSTUV]{2}[A-Z][\dLMNPQRSTUV]{3}[A-Z]", re.IGNORECASE
        ),
        _valid(stdnum.it.codicefiscale),
        "ID",
    ),
    (re.compile(r"\d{7}[A-W][A-IW]?"), _valid(stdnum.ie.pps), "ID"),
    (re.compile(r"\d{6}[-+A]\d{3}[0-9A-Y]"), _valid(stdnum.fi.hetu), "ID"),
    (re.compile(r"[A-Z]{5}\d{4}[A-Z]"), _valid(stdnum.in_.pan), "TAX"),
    (
        re.compile(r"\d{6}-\d{4}"),
        lambda text: stdnum.dk.cpr.is_valid(text) or stdnum.se.personnummer.is_valid(text),
        "ID",
    ),
    (re.compile(r"756\.?\d{4}\.?\d{4}\.?\d{2}"), _valid(stdnum.ch.ssn), "ID"),
    (re.compile(r"[A-Z]\d{9}"), None, "ID"),  # German health insurance
    (re.compile(r"[A-Z]{4}\d{6}[HM][A-Z]{5}[0-9A-Z]\d"), None, "ID"),  # Mexican CURP
    (re.compile(r"[A-HJ-NPR-Z0-9]{14}\d{3}"), None, "PLATE"),  # vehicle identification number
)
# Most tokens have none of these forms.
_ANY_FORM: Final = re.compile(
    "|".join(f"(?{'i' if form.flags & re.IGNORECASE else ''}:{form.pattern})" for form, _, _ in _FORMS)
)
_NATIONAL_INSURANCE: Final = re.compile(r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]")
# Those with spaces in them, with the shapes of which a text must have one (`Outline`).
_SPACED: Final[tuple[tuple[re.Pattern[str], tuple[str, ...], Check | None, str], ...]] = (
    (
        # GB national insurance; some first letters are not given out.
        re.compile(begins("A-Z", r"\w") + r"[A-Z] ?(?:\d{2} ?){3}[A-D](?!\w)"),
        ("AA 99", "AA99"),
        lambda text: _NATIONAL_INSURANCE.match(text) is not None,
        "ID",
    ),
    (
        re.compile(begins("12", r"\w") + r"\s?\d\d\s?\d\d\s?(?:\d\d|2[AB])\s?\d{3}\s?\d{3}\s?\d\d(?!\w)"),
        ("99",),
        _valid(stdnum.fr.nir),
        "ID",
    ),
    (  # Spain, as it is often written
        re.compile(begins("0-9", r"\w") + r"\d?\.\d{3}\.\d{3}-?[A-Z](?!\w)"),
        ("9.999.999A", "9.999.999-A"),
        None,
        "ID",
    ),
    (  # German pension insurance
        re.compile(begins("0-9", r"\w") + r"\d ?[0-3]\d[01]\d\d{2} ?[A-Z] ?\d{3}(?!\w)"),
        ("99A9", "99 A9", "99A 9", "99 A 9"),
        None,
        "ID",
    ),
)
_TOKEN: Final = re.compile(
    begins("A-Za-z0-9", r"\w-") + r"(?=(?<=[0-9])[0-9]|[\w.+-]{0,11}\d\d)[A-Za-z0-9.+-]{6,18}[A-Za-z0-9](?![\w-])"
)
_VAT: Final = re.compile(
    begins("A-X", r"\w")
    + r"[A-Z](?:(?<=AT|BE|BG|CY|CZ|DE|DK|EE|EL|ES|FI|FR|GB|HR|HU|IE|IT|LT|LU|LV|MT|NL|PL|PT|RO|SE|SI"
    r"|SK|XI)|(?<=CH)E)"
    r"[ -]?(?:[A-Z]{0,2}\d(?:[ .-]?[0-9A-Z]){6,11})(?!\w)"
)
_VAT_DIGITS_MIN: Final = 8


def find(outline: Outline) -> Iterator[tuple[int, int, str]]:
    """National and tax numbers of a text that have letters or a form of their own."""
    text, digits = outline.text, outline.digits
    for token in matches(_TOKEN, text, digits):
        for form, check, name in _FORMS if _ANY_FORM.fullmatch(token[0]) else ():
            if form.fullmatch(token[0]):
                yield *token.span(), name if check is None or check(token[0]) else "NUMBER"
    for form, shapes, check, name in _SPACED:
        if not outline.has_shape(*shapes):
            continue
        for match in outline.at_shapes(form, *shapes) if shapes[0][0] == "A" else outline.at_numbers(form):
            yield *match.span(), name if check is None or check(match[0]) else "NUMBER"
    for match in matches(_VAT, text, digits):
        # Codes of products begin with two letters as well; without a checksum only a long one counts.
        if cast("Check", stdnum.eu.vat.is_valid)(match[0]):
            yield *match.span(), "TAX"
        elif sum(sign.isdigit() for sign in match[0]) >= _VAT_DIGITS_MIN:
            yield *match.span(), "NUMBER"


def type_of_digits(digits: str) -> str | None:
    """The type of a number of digits alone whose checksum holds."""
    return next((name for check, name in DIGITS.get(len(digits), ()) if check(digits)), None)
