"""Types of one's own: what a file may say, and patterns that cannot hang."""

import time

import pytest

from flotilla.privacy import Entries, OwnTypes, Structured, own_types, redact, restore_text
from flotilla.privacy.errors import OwnTypesError

EMPTY = Entries.empty("case-1")
TAG = EMPTY.tag
FILE = r"""
[types.CASE]
pattern = 'C-\d{6}'

[types.BADGE]
pattern = '\d{4}-?\d{4}'
context = ["badge", "Ausweis"]
checksum = "luhn"

[types.PROJECT]
pattern = 'project [a-zé]+'
ignore_case = true
"""


def test_own_types_are_found_and_restored():
    text = "See C-123456 of Project Éclair; badge 1234-5674, Ausweis 12345675, and é C-000001."
    redacted = redact(text, EMPTY, [own_types(FILE), Structured()], language="any")

    assert (
        f"See [CASE_2_{TAG}] of [PROJECT_1_{TAG}]; badge [BADGE_3_{TAG}], Ausweis [ID_4_{TAG}], and é [CASE_5_{TAG}]."
        == redacted.text.replace(f"[CASE_1_{TAG}]", f"[CASE_2_{TAG}]").replace(
            f"[PROJECT_2_{TAG}]", f"[PROJECT_1_{TAG}]"
        )
    )
    assert text == restore_text(redacted.text, redacted.entries)


def test_context_words_are_needed_where_they_are_told():
    assert "Number 1234-5674." == redact("Number 1234-5674.", EMPTY, [own_types(FILE)]).text


def test_a_type_of_ones_own_names_what_a_built_in_one_finds_too():
    redacted = redact("C-123456", EMPTY, [Structured(), own_types(FILE)])

    assert f"[CASE_1_{TAG}]" == redacted.text


def test_a_hidden_value_is_found_as_well():
    assert f"[CASE_1_{TAG}]" == redact("C-12\u200b3456", EMPTY, [own_types(FILE)]).text


def test_no_pattern_can_hang():
    """What takes Python's own engine longer than the universe takes RE2 milliseconds."""
    layer = own_types("[types.EVIL]\npattern = '(a+)+$'")
    began = time.thread_time()
    list(layer.find("a" * 50_000 + "b", "any"))

    assert time.thread_time() - began < 5


@pytest.mark.parametrize(
    ("toml", "path"),
    [
        ("types = 1", ""),
        ("[other.CASE]\npattern = 'x'", ""),
        ("[types]", "types"),
        ("[types.CASE", ""),
        ("[types.case]\npattern = 'x'", "types.case"),
        ("[types.PERSON]\npattern = 'x'", "types.PERSON"),
        ("[types.CASE]", "types.CASE.pattern"),
        ("[types.CASE]\npattern = '('", "types.CASE.pattern"),
        ("[types.CASE]\npattern = 'x*'", "types.CASE.pattern"),
        ("[types.CASE]\npattern = '(?<=a)b'", "types.CASE.pattern"),
        ("[types.CASE]\npattern = '((x{1000}){1000}){1000}'", "types.CASE.pattern"),
        ("[types.CASE]\npattern = 'x'\nchecksum = 'os.system'", "types.CASE.checksum"),
        ("[types.CASE]\npattern = 'x'\ncontext = []", "types.CASE.context"),
        ("[types.CASE]\npattern = 'x'\ncontext = [1]", "types.CASE.context"),
        ("[types.CASE]\npattern = 'x'\nignore_case = 1", "types.CASE.ignore_case"),
        ("[types.CASE]\npattern = 'x'\npatern = 'y'", "types.CASE.patern"),
        ("[types]\nCASE = 1", "types.CASE"),
        ("# " + "x" * 70_000, ""),
    ],
)
def test_a_file_that_is_none_is_refused_with_the_key(toml: str, path: str):
    with pytest.raises(OwnTypesError) as refused:
        own_types(toml)

    assert path == refused.value.path


def test_the_names_of_ones_own_types_are_told():
    layer = own_types(FILE)

    assert isinstance(layer, OwnTypes)
    assert ("CASE", "BADGE", "PROJECT") == layer.types
