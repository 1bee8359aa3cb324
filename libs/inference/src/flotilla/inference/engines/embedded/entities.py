"""Entities by pattern, with exact offsets."""

import re
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from typing import Final

from flotilla.contracts.capabilities import Entity
from flotilla.inference.engines.embedded.entity_patterns import PATTERNS, Pattern
from flotilla.inference.engines.embedded.name_entities import organizations, persons
from flotilla.inference.engines.embedded.text import blocks

ENTITIES_MAX: Final = 10_000
"""Of one document, from its beginning; more would not fit into a message."""

TYPES: Final = tuple(dict.fromkeys([*(pattern.type for pattern in PATTERNS), "organization", "person"]))

_ALIASES: Final = {
    "email": "email e-mail mail emailaddress mailaddress",
    "url": "url link website web webaddress uri homepage",
    "iban": "iban bankaccount bankkonto",
    "identifier": "identifier id reference referencenumber invoicenumber ordernumber contractnumber casenumber number "
    "customernumber ticketnumber policynumber trackingnumber accountnumber rechnungsnummer kundennummer vertragsnummer",
    "date": "date deadline duedate datum day birthdate dateofbirth",
    "money": "money amount price cost currency total sum monetaryamount monetaryvalue value betrag geldbetrag",
    "percentage": "percentage percent rate prozent",
    "time": "time uhrzeit",
    "phone": "phone telephone tel phonenumber telephonenumber mobile fax telefon telefonnummer",
    "address": "address streetaddress street adresse",
    "organization": "organization organisation org company firm employer vendor supplier business institution firma "
    "unternehmen entreprise orgname companyname",
    "person": "person people per name personname fullname contact individual persons personne persona",
}
_KIND_OF: Final = {alias: kind for kind, aliases in _ALIASES.items() for alias in aliases.split()}
_NOT_LETTERS = re.compile(r"[\W_]+")


def kind_of(asked: str) -> str | None:
    """The type of this engine that a caller's word for one means; None for types that it does not know."""
    plain = _NOT_LETTERS.sub("", asked.casefold())
    singulars = [plain, plain.removesuffix("s"), plain.removesuffix("es")]
    if plain.endswith("ies"):
        singulars.append(f"{plain[:-3]}y")
    return next((_KIND_OF[name] for name in singulars if name in _KIND_OF), None)


def extract(document: str, types: Sequence[str] | None = None) -> list[Entity]:
    """
    The entities in the order of the document; none overlaps another.

    `types` narrows them; each is reported under the caller's own word for it, the first where several mean the same.
    """
    names: dict[str, str] = {}
    if types:
        for asked in types:
            if kind := kind_of(asked):
                names.setdefault(kind, asked)
    else:
        names = {kind: kind for kind in TYPES}
    found: list[Entity] = []
    for start, end in blocks(document):
        for kind, begin, stop in _found_in(document, start, end):
            if kind in names:
                found.append(Entity(type=names[kind], text=document[begin:stop], start=begin, end=stop))
        if len(found) >= ENTITIES_MAX:
            return found[:ENTITIES_MAX]
    return found


def _found_in(document: str, start: int, end: int) -> list[tuple[str, int, int]]:
    """Every kind is looked for, asked for or not: what an IBAN takes must not come out as a phone number."""
    taken: list[tuple[int, int, str]] = []
    for kind, begin, stop in _candidates(document, start, end):
        at = bisect_left(taken, (begin, stop, ""))
        free_before = at == 0 or taken[at - 1][1] <= begin
        if begin < stop and free_before and (at == len(taken) or stop <= taken[at][0]):
            insort(taken, (begin, stop, kind))
    return [(kind, begin, stop) for begin, stop, kind in taken]


def _candidates(document: str, start: int, end: int) -> Iterator[tuple[str, int, int]]:
    for pattern in PATTERNS:
        for match in pattern.regex.finditer(document, start, end):
            group = "it" if "it" in pattern.regex.groupindex else 0
            if stop := _stop(pattern, document, match.start(group), match.end(group)):
                yield pattern.type, match.start(group), stop
    for name in organizations(document, start, end):
        yield name
    for name in persons(document, start, end):
        yield name


def _stop(pattern: Pattern, document: str, start: int, end: int) -> int:
    """Where the entity ends; 0 when it does not hold. An IBAN may have swallowed the word after it."""
    if pattern.holds(document[start:end]):
        return end
    while pattern.type == "iban" and (cut := document.rfind(" ", start, end)) > 0:
        end = cut
        if pattern.holds(document[start:end]):
            return end
    return 0
