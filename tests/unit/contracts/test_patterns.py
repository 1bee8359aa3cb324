"""What people are told about a text that is not in its form: words, and no regular expression."""

import datetime as dt
import importlib
import typing

import msgspec
import pytest

from flotilla.contracts.decoding import safe_text
from flotilla.contracts.fields import INSTANCE, NAME, PRINTABLE, Name, Sha256, TaskId, Text
from flotilla.contracts.patterns import in_words, pattern
from flotilla.contracts.redaction import Handle, Language
from flotilla.testkit.manifests import REPOSITORY


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        (Name, "A b", "Expected 1 to 63 of a-z, 0-9 and hyphens, no hyphen at either end"),
        (TaskId, "a b", "Expected 1 to 64 of A-Z, a-z, 0-9, _ and -"),
        (Sha256, "x", "Expected 64 hexadecimal digits, in lower case"),
        (Text, "a\x1b[2J", "Expected printable characters on one line"),
        (Handle, "x", "Expected 26 of a-z and 2-7"),
        (Language, "!", "Expected a language: 2 to 35 of A-Z, a-z, 0-9 and hyphens"),
    ],
)
def test_a_text_that_does_not_match_is_told_of_in_words(kind: typing.Any, text: str, expected: str):
    """
    Whatever the pattern is.
    """
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.convert(text, kind)

    assert expected == safe_text(refused.value)


def test_the_place_stays_and_an_unknown_pattern_is_not_shown_either():
    """
    Quotes within a pattern end nothing.
    """
    known = pattern(r"""^'"\\z$""", "two quotes")

    assert "Expected two quotes - at `$.key`" == in_words(f"Expected `str` matching regex {known!r} - at `$.key`")
    assert "Expected text of another form - at `$.a`" == in_words("Expected `str` matching regex '^\\\\d+$' - at `$.a`")


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        (int, "x", "a whole number, got text"),
        (int, 2.5, "a whole number, got a number with a fraction"),
        (float | None, True, "a number or null, got true or false"),
        (typing.Annotated[int, msgspec.Meta(ge=1)], 0, "a whole number of at least 1"),
        (typing.Annotated[int, msgspec.Meta(le=65_535)], 70_000, "a whole number of at most 65535"),
        (typing.Annotated[float, msgspec.Meta(ge=0.0)], -1.0, "a number of at least 0"),
        (typing.Annotated[float, msgspec.Meta(le=0.5)], 1.0, "a number of at most 0.5"),
        (typing.Annotated[float, msgspec.Meta(ge=1e-9)], 0.0, "a number of at least 1e-09"),
        (typing.Annotated[int, msgspec.Meta(multiple_of=2)], 1, "a whole number that's a multiple of 2"),
        (typing.Annotated[str, msgspec.Meta(min_length=1)], "", "text of at least 1 character"),
        (typing.Annotated[str, msgspec.Meta(max_length=2)], "abc", "text of at most 2 characters"),
        (typing.Annotated[list[int], msgspec.Meta(min_length=1)], [], "a list of at least 1 entry"),
        (typing.Annotated[dict[str, int], msgspec.Meta(max_length=0)], {"a": 1}, "an object of at most 0 entries"),
        (tuple[int, int], [1], "a list of 2 entries, got 1"),
        (dt.datetime, 1, "a time (RFC 3339), got a whole number"),
        (bytes, 1, "base64, got a whole number"),
        (dict[str, int], None, "an object, got null"),
    ],
)
def test_a_value_of_another_kind_is_told_of_without_the_names_of_types(kind: typing.Any, given: object, expected: str):
    """
    With its place behind it, wherever it stands.
    """
    with pytest.raises(msgspec.ValidationError) as alone:
        msgspec.convert(given, kind)
    with pytest.raises(msgspec.ValidationError) as within:
        msgspec.convert({"a": [given]}, msgspec.defstruct("Message", [("a", list[kind])]))

    assert f"Expected {expected}" == in_words(str(alone.value))
    assert f"Expected {expected} - at `$.a[0]`" == in_words(str(within.value))


@pytest.mark.parametrize(
    "complaint",
    [
        "Object missing required field `int`",
        "Object contains unknown field `Expected `int`, got `str``",
        "Expected something else",
    ],
)
def test_what_is_no_complaint_about_a_type_stays_as_it_is(complaint: str):
    """
    A field may have the name of a type, or any other.
    """
    assert complaint == in_words(complaint)


def _patterns(kind: typing.Any, seen: set[int]) -> typing.Iterator[str]:
    """Those of a type and of all that it is made of."""
    if id(kind) in seen:
        return
    seen.add(id(kind))
    for meta in getattr(kind, "__metadata__", ()):
        if isinstance(meta, msgspec.Meta) and meta.pattern is not None:
            yield meta.pattern
    for part in (getattr(kind, "__origin__", None), *typing.get_args(kind)):
        yield from _patterns(part, seen)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        for field in msgspec.structs.fields(kind):
            yield from _patterns(field.type, seen)


def test_every_pattern_of_a_field_has_words():
    """
    A field without them would show people an expression, or say nothing of what is expected.
    """
    roots = [path for folder in ("libs", "services") for path in (REPOSITORY / folder).glob("*/src")]
    files = [
        (root, path) for root in roots for path in root.rglob("*.py") if "Meta(" in path.read_text(encoding="utf-8")
    ]
    found: set[str] = set()
    for root, path in files:
        module = importlib.import_module(".".join(path.relative_to(root).with_suffix("").parts))
        seen: set[int] = set()
        for value in vars(module).values():
            found.update(_patterns(value, seen))

    assert {NAME, INSTANCE, PRINTABLE} <= found
    assert [] == sorted(each for each in found if "another form" in in_words(f"`str` matching regex {each!r}"))
