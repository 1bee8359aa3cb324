"""On which lines the keys of a TOML file stand."""

import time
from typing import Final

import pytest

from flotilla.contracts.toml_lines import KeyLines, located_all
from flotilla.contracts.toml_text import read_toml

FILE: Final = '''\
name = "one"  # [steps.none]

[input]
type = "object"
properties.document.type = "string"
description = \'\'\'
[steps.fake]
x = 1
\'\'\'

[steps.report]
capability = "synthesize"
needs = [
  "a",  # ] = [
  "b=[",
]
input = { document = "${a} = {", "odd key" = """
[steps.other]
more""" }

[ steps . "last" ]
approval.when = "x == '='"
[output]
text = "${steps.last}"
'''


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("name", 1),
        ("input", 3),
        ("input.properties", 5),
        ("input.properties.document.type", 5),
        ("input.description", 6),
        ("steps", 11),
        ("steps.report", 11),
        ("steps.report.needs[1]", 13),
        ("steps.report.input.document", 17),
        ("steps.report.nothing.at.all", 11),
        ("steps.fake", 11),
        ("steps.last.approval.when", 22),
        ("output.text", 24),
        ("neither", None),
    ],
)
def test_a_key_is_found_on_its_line_or_that_of_what_is_around_it(key: str, line: int | None):
    """
    Texts, comments and brackets that look like keys are none.
    """
    read_toml(FILE)
    assert line == KeyLines(FILE).of(key)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a = 1\nb = \n", "f:2:5"),
        ("a = 1\n\n[b\n", "f:3:3"),
        ("a = 1\nb = [\n", "f:2"),
        ('a = 1\nb = """\n', "f:2"),
    ],
)
def test_what_is_no_toml_says_where(text: str, place: str):
    """
    With the column, where the parser says it.
    """
    with pytest.raises(ValueError) as raised:  # noqa: PT011  (that is what it raises)
        read_toml(text)
    (fault,) = located_all("f", (f"expected TOML: {raised.value}",), text)
    assert fault.startswith(f"{place}: expected TOML: "), fault


def test_what_has_no_place_has_none():
    """
    Faults of the whole file.
    """
    assert ("f: at most 3 bytes", "f: x: odd") == located_all("f", ("at most 3 bytes", "x: odd"), "name = 1")


DEEP: Final = "a." * 30_000


@pytest.mark.parametrize(
    "text",
    [
        "[" * 60_000,
        '"' * 60_000,
        '"""' + "x'''" * 20_000,
        DEEP,
        f"{DEEP}a = 1",
        f"[{DEEP}a]",
        f"[{DEEP}a]\n" + "b = 1\n" * 20_000,
        "a={" * 20_000,
    ],
)
@pytest.mark.parametrize("fault", ["a: wrong", f"{DEEP}: unknown"])
def test_a_hostile_file_takes_no_longer_than_it_is(text: str, fault: str):
    """
    It is looked at when it is wrong, and a fault may name a key that is as long as the file.
    """
    began = time.process_time()
    located_all("f", (fault,), text)
    assert time.process_time() - began < 1.0
