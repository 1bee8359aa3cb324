"""Texts made to be slow: every layer takes time that grows as the text does."""

import time

import pytest

from flotilla.privacy.layers import find_spans
from flotilla.testkit.redaction_layers import structured_and_listed

LENGTH = 20_000
# What linear patterns need is a tenth of a second, on a busy machine three; those that were not needed one and more.
WITHIN_CPU_S = 1.0
UNITS = [
    *(
        "a",
        "A",
        "1",
        "1\n",
        "(1",
        "a.",
        "A.",
        "Aa-",
        "d'A",
        "a@",
        "A1-",
        "| 1|",
        "O1l",
        "\u0130",
        "e\u0301",
        "::",
        "key=",
    ),
    *("-----BEGIN A-----", "DE89370400440532013000 ", "12345 Aa ", "1 May ", "Am A 1 ", "12 Main Street, ", "A and "),
    *("name: a ", "a: ", '"name":"', "name,tel\n", 'name;"', "<name>", "a\tb\n", "name  tel\n", "BIC ", "A/1", "mr a "),
    *("@", "a@a.", "a.a", "www.", "(at)", "1\n ", "Mr ", "Rue de la ", "Aaweg 1, "),
    *(
        "twenty one may ",
        "deux mars ",
        "y uno de mayo ",
        "1.0001, ",
        "1°1'",
        "A9a",
        "lives in Aa ",
        "Aa AA 12345 ",
        "in 12345 ",
    ),
    *(
        "login is ",
        "user a ",
        "password 1a",
        "plate A1 ",
        "exp 01/23 ",
        "Seidel, Jane, ",
        "12 Elm Street\nAa\n",
        "\n    53650",
    ),
    *("a.b.co/", "wohnt in Aa 1 ", "in der Aastraße ", "rue de a 1 ", "mil neuf cent ", "@a.bcd.", "mr a, ", "72F, "),
    *("GmbH ", "J. ", "Dear A ", "my name is jane ", "a at a dot b ", "[PERSON_1_", "Abteilungsleiterin"),
]


@pytest.mark.parametrize("unit", UNITS)
def test_no_text_takes_more_than_its_length(unit: str):
    text = (unit * (LENGTH // len(unit) + 1))[:LENGTH]
    began = time.thread_time()
    find_spans(text, structured_and_listed(), language="de")

    assert time.thread_time() - began < WITHIN_CPU_S
