"""Values whose labels say what they are: columns, keys, elements and fields, whatever the values look like."""

import pytest

from flotilla.privacy import Entries, redact, restore_text
from flotilla.privacy.layers import find_spans
from flotilla.privacy.names.labels import type_of_label
from flotilla.privacy.spans import covered
from flotilla.testkit.redaction_layers import structured_and_listed

# Values between brackets are to go whole; everything else is to stay.
MARKED = {
    "comma, small letters": (
        "id,first_name,surname,sex,date_of_birth,home_phone,town,notes\n"
        "1,[rain],[fields],[female],[1983],[5551234],[reading],prefers mornings\n"
        "2,[nguyen],[thi minh khai],[male],[03/79],[4711],[hue],late\n"
    ),
    "semicolons, names that are nouns": (
        "Name;Vorname;Straße;PLZ;Ort;Telefon;Bemerkung\n"
        "[Koch];[Sommer];[Dorfplatz];[01067];[Essen];[0815];zahlt bar\n"
        "[Vogel];[Ernst];[Am Bach 2];[99084];[Hof];[110];pünktlich\n"
    ),
    "tabs": "nom\tville\tmontant\n[boulanger]\t[nice]\t12,50\n[petit]\t[tours]\t7,20\n",
    "a table in Markdown": "| Kunde | Geburtsdatum | Stand |\n|---|---|---|\n| [Blume, Rose] | [1.1.70] | offen |\n",
    "columns of spaces": (
        "Employee        Office      Salary\n[hope summers]    [bath]        48\n[bill short]      [nice]        52\n"
    ),
    "quoted cells": 'apellidos,domicilio,plan\n"[de la cruz, ángel]","[camino viejo s/n]",básico\n',
    "a heading after some prose": "Hier die Liste:\n\nnachname;mobil\n[wolf];[4711]\n\nBitte prüfen.",
    "JSON": '{"vorname": "[rosa]", "children": ["[sky]", "[river]"], "city": "[halle]", "plan": "basic", "first": true}',
    "YAML": "customer:\n  full_name: [lars petersen-oduya]\n  address: [the old forge, mill lane]\n  plan: premium\n",
    "XML": "<ship><FirstName>[sky]</FirstName><City>[Reading]</City><item>lamp</item></ship>",
    "a form": "Surname: [rivers]    DOB: [1947]    plan: nine\nKundennummer: [K-44]\n",
}


@pytest.mark.parametrize("case", MARKED)
def test_what_a_label_says_is_replaced_whole(case: str):
    marked = MARKED[case]
    text = "".join(sign for sign in marked if sign not in "[]") if case != "JSON" else _plain_json(marked)
    cover = covered(find_spans(text, structured_and_listed(), language="any"), len(text))
    kept = "".join("_" if covers else sign for sign, covers in zip(text, cover, strict=True))
    for value in _values(marked):
        assert value not in kept, kept
    redacted = redact(text, Entries.empty("case"), structured_and_listed(), language="any")
    assert text == restore_text(redacted.text, redacted.entries)
    for stays in ("prefers mornings", "zahlt bar", "12,50", "offen", "básico", "plan", "lamp", "premium"):
        assert (stays in text) == (stays in kept), kept


def _plain_json(marked: str) -> str:
    for value in _values(marked):
        marked = marked.replace(f"[{value}]", value)
    return marked


def _values(marked: str) -> list[str]:
    """What stands between brackets; of brackets that hold brackets, the inner ones."""
    return [part.rpartition("[")[2] for part in marked.split("]")[:-1] if "[" in part]


ORDINARY = [
    "Address: see below. Name: to be decided. Contact: by phone.",
    '{"name": "chess club", "owner": "nobody", "open": true}',
    "name,price\nchair,12\nlamp,30\n",
    "Please send time, place, and a short note\nof the things that you need, want, and miss\n",
    "total: 12, age: unknown, status: open",
    "file name: report, host name: server, product name: lamp",
]


@pytest.mark.parametrize("text", ORDINARY)
def test_labels_that_say_nothing_leave_their_values(text: str):
    assert text == redact(text, Entries.empty("case"), structured_and_listed(), language="en").text


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("dateOfBirth", "DATE"),
        ("DATE-OF-BIRTH", "DATE"),
        ("Geburtsdatum des Patienten", "DATE"),
        ("customer's home phone", "PHONE"),
        ("N° de téléphone", "PHONE"),
        ("billingAddress", "ADDRESS"),
        ("FirstName", "PERSON"),
        ("file name", None),
        ("hostname", None),
        ("status", None),
        ("x" * 200, None),
        ("", None),
    ],
)
def test_a_label_is_read_however_it_is_written(label: str, name: str | None):
    kind = type_of_label(label)

    assert name == (kind and kind[0])
