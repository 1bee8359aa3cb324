"""Numbers that are right but for their form."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flotilla.inference.mended_numbers import mended

FRACTION: dict[str, Any] = {"type": "number", "minimum": 0, "maximum": 1}
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
    max_leaves=10,
)
NUMBERS: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [FRACTION, {"type": "number"}, {"type": "integer"}, {"type": "string"}, {}]
)


def containers(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Schemas of what holds numbers."""

    def array(items: dict[str, Any]) -> dict[str, Any]:
        return {"type": "array", "items": items}

    def thing(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
        return {"type": "object", "properties": {"a": a, "b": b}}

    def optional(one: dict[str, Any]) -> dict[str, Any]:
        return {"anyOf": [one, {"type": "null"}]}

    return st.builds(array, inner) | st.builds(thing, inner, inner) | st.builds(optional, inner)


SCHEMAS = st.recursive(NUMBERS, containers, max_leaves=5)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        *((1.2, 1.0), (1.5, 1.0), (-0.1, 0.0), (90, 0.9), (100, 1.0), (12.5, 0.125)),
        *(("0.9", 0.9), (" .9", " .9"), ("0,9", 0.9), ("90%", 0.9), ("90 %", 0.9), ("5%", 0.05), ("120 %", 1.0)),
        # In doubt: of ten, or percent? A hundred and fifty of what?
        *((5, 5), (10, 10), (150, 150), (-3, -3), ("high", "high"), ("", ""), (True, True), (None, None)),
        *(("1e3", "1e3"), ("0.9 or so", "0.9 or so"), ("9" * 40, "9" * 40), ("1.2.3", "1.2.3")),
    ],
)
def test_a_fraction(written: object, meant: object) -> None:
    """Mended where it is beyond doubt what was meant."""
    found = mended({"f": written}, {"type": "object", "properties": {"f": FRACTION}})["f"]

    assert (meant, type(meant)) == (found, type(found))


@pytest.mark.parametrize(
    ("schema", "written", "meant"),
    [
        ({"type": "integer"}, "3", 3),
        ({"type": "integer"}, 3.0, 3),
        ({"type": "integer"}, 3.5, 3.5),
        ({"type": "number"}, "-2.5", -2.5),
        ({"type": "number"}, "1,200", "1,200"),
        ({"type": "number"}, "90%", "90%"),
        ({"type": "integer", "minimum": 0, "maximum": 100}, "90%", 90),
        ({"type": "integer", "minimum": 1, "maximum": 5}, 6, 6),
        ({"type": ["number", "null"]}, "2", 2.0),
        ({"anyOf": [{"type": "number"}, {"type": "null"}]}, "2", 2.0),
        ({"anyOf": [{"type": "number"}, {"type": "string"}]}, "2", "2"),
        ({"type": ["number", "string"]}, "2", "2"),
        ({"type": "string"}, "2", "2"),
        ({"type": "array", "items": {"type": "integer"}}, ["1", 2], [1, 2]),
        ({"$ref": "#/$defs/N", "$defs": {"N": {"type": "integer"}}}, "1", 1),
        ({"$ref": "#/$defs/N", "$defs": {"N": {"$ref": "#/$defs/N"}}}, "1", "1"),
    ],
)
def test_a_number(schema: dict[str, Any], written: object, meant: object) -> None:
    """A text becomes one where nothing but a number is welcome; no bound but that of a fraction moves it."""
    found = mended(written, schema)

    assert (meant, type(meant)) == (found, type(found))


@given(JSON, SCHEMAS)
def test_mending_twice_is_mending_once(data: Any, schema: dict[str, Any]) -> None:
    """Whatever the data is, and whatever is asked for."""
    once = mended(data, schema)

    assert once == mended(once, schema)


@given(st.floats(min_value=0, max_value=1) | st.sampled_from([0, 1]))
def test_what_is_right_stays(number: float) -> None:
    """To the last digit."""
    found = mended(number, FRACTION)

    assert (number, type(number)) == (found, type(found))
