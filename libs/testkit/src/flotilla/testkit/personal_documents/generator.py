"""Put made-up values into the documents, and say where they stand."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

from flotilla.testkit.personal_documents import english, french, german, spanish, values

DOCUMENTS: Final = {
    "en": english.DOCUMENTS,
    "de": german.DOCUMENTS,
    "fr": french.DOCUMENTS,
    "es": spanish.DOCUMENTS,
}
KINDS: Final = (*english.DOCUMENTS, "csv", "json")
_MARK: Final = re.compile(r"\{([^{}]+)\}")
_ROWS: Final = 6
_HEADINGS: Final = {
    "en": ("name", "street", "date of birth", "phone", "email", "iban"),
    "de": ("Name", "Anschrift", "Geburtsdatum", "Telefon", "E-Mail", "IBAN"),
    "fr": ("nom", "adresse", "date de naissance", "téléphone", "courriel", "IBAN"),
    "es": ("nombre", "dirección", "fecha de nacimiento", "teléfono", "correo", "IBAN"),
}
_ROW: Final = ("{p1}", "{address}", "{date}", "{phone}", "{email:p1}", "{iban}")


@dataclass(frozen=True, slots=True)
class Document:
    """
    A document with its labels.

    Attributes:
        text: The whole text.
        spans: Start, end and type of every value.
        language: "en", "de", "fr" or "es".
        kind: One of `KINDS`.
    """

    text: str
    spans: tuple[tuple[int, int, str], ...]
    language: str
    kind: str


def documents(*, seed: int, each: int) -> Iterator[Document]:
    """So many documents of each kind in each language; the same seed gives the same ones."""
    random = Random(seed)
    for language, templates in DOCUMENTS.items():
        for _ in range(each):
            for kind, template in templates.items():
                yield _filled(random, template, language, kind)
            yield _csv(random, language)
            yield _json(random, language)


def _filled(random: Random, template: str, language: str, kind: str, escape: Callable[[str], str] = str) -> Document:
    people = {f"p{number}": values.person(random, language) for number in range(1, 5)}
    pieces: list[str] = []
    spans: list[tuple[int, int, str]] = []
    length = done = 0
    for mark in _MARK.finditer(template):
        name, value = _value(random, mark[1], people, language)
        value = escape(value)
        before = template[done : mark.start()]
        start = length + len(before)
        pieces += (before, value)
        spans.append((start, start + len(value), name))
        length = start + len(value)
        done = mark.end()
    pieces.append(template[done:])
    return Document("".join(pieces), tuple(spans), language, kind)


def _value(random: Random, mark: str, people: dict[str, values.Person], language: str) -> tuple[str, str]:
    """Type and text of what stands for a mark."""
    if "|" in mark:
        name, _, text = mark.partition("|")
        return name, text
    kind, _, of = mark.partition(":")
    who, _, part = kind.partition(".")
    if who in people:
        return "PERSON", getattr(people[who], part or "full")
    makers: dict[str, tuple[str, Callable[[], str]]] = {
        "address": ("ADDRESS", lambda: values.address(random, language)),
        "town": ("PLACE", lambda: random.choice(values.TOWNS[language].split())),
        "date": ("DATE", lambda: values.date(random, language)),
        "phone": ("PHONE", lambda: values.phone(random, language)),
        "email": ("EMAIL", lambda: values.email(random, people[of])),
        "org": ("ORG", lambda: values.company(random, language)),
        "iban": ("IBAN", lambda: values.iban(random, language)),
        "card": ("CARD", lambda: values.card(random)),
        "id": ("ID", lambda: values.national_id(random, language)),
        "age": ("AGE", lambda: str(random.randint(18, 97))),
        "account": ("ACCOUNT", lambda: values.digits(random, "7######")),
        "record": ("RECORD", lambda: values.digits(random, "4#####")),
        "ip": ("IP", lambda: f"10.{random.randint(0, 255)}.{random.randint(0, 255)}.{random.randint(1, 254)}"),
        "url": ("URL", lambda: f"https://www.example.com/{random.randint(100, 999)}"),
        "secret": (
            "SECRET",
            lambda: f"{random.choice(('Winter', 'kaffee', 'blue'))}{random.randint(100, 9999)}{random.choice('!#%')}",
        ),
    }
    name, make = makers[kind]
    return name, make()


def _csv(random: Random, language: str) -> Document:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_HEADINGS[language])
    template = out.getvalue() + "".join(
        ",".join(f'"{mark}"' if mark == "{address}" else mark for mark in _ROW) + "\n" for _ in range(_ROWS)
    )
    return _by_rows(random, template, language, "csv")


def _json(random: Random, language: str) -> Document:
    rows = [dict(zip(_HEADINGS[language], _ROW, strict=True)) for _ in range(_ROWS)]
    template = json.dumps(rows, ensure_ascii=False, indent=1).replace("{\n", "\1\n").replace("\n }", "\n \2")
    document = _by_rows(random, template, language, "json")
    return Document(document.text.replace("\1", "{").replace("\2", "}"), document.spans, language, "json")


def _by_rows(random: Random, template: str, language: str, kind: str) -> Document:
    """Every line with people of its own, in JSON every object."""
    parts = re.split("(?<=\2)" if kind == "json" else "(?<=\n)", template)
    text = ""
    spans: list[tuple[int, int, str]] = []
    for part in parts:
        filled = _filled(random, part, language, kind)
        spans += ((start + len(text), end + len(text), name) for start, end, name in filled.spans)
        text += filled.text
    return Document(text, tuple(spans), language, kind)
