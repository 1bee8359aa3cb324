"""Which schemas a provider can be held to."""

from typing import Any

import msgspec
import pytest

from flotilla.contracts.capabilities import BUILT_IN
from flotilla.inference.adapters.schemas import ENUM_VALUES_MAX, has_open_object, is_recursive, rooted, strict_schema

TEXT = {"type": "string"}


def closed(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def test_a_reference_at_the_root_is_replaced():
    """
    As msgspec always writes one.
    """
    schema = {"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "properties": {"x": TEXT}}}}

    assert {"type": "object", "properties": {"x": TEXT}, "$defs": schema["$defs"]} == rooted(schema)
    assert {"$ref": "#/elsewhere"} == rooted({"$ref": "#/elsewhere"})


def test_objects_are_closed_and_bounds_on_lengths_left_out():
    """
    At every depth, without touching the original.
    """
    row = {"type": "object", "properties": {"n": TEXT}, "required": ["n"]}
    schema = {
        "type": "object",
        "title": "T",
        "properties": {
            "name": {"type": "string", "minLength": 1, "description": "d"},
            "rows": {"type": "array", "minItems": 1, "items": row},
        },
        "required": ["name", "rows"],
    }
    before = msgspec.json.encode(schema)

    rows = {"type": "array", "minItems": 1, "items": closed(n=TEXT)}
    assert closed(name={"type": "string", "description": "d"}, rows=rows) == strict_schema(schema)
    assert before == msgspec.json.encode(schema)


def test_an_optional_property_that_may_be_null_becomes_required():
    """
    Null says what leaving it out would say.
    """
    schema = {
        "type": "object",
        "properties": {
            "a": {"anyOf": [TEXT, {"type": "null"}], "default": None},
            "b": {"type": ["integer", "null"]},
            "c": {"enum": ["x", None]},
            "d": {"$ref": "#/$defs/D"},
        },
        "$defs": {"D": {"oneOf": [TEXT, {"type": "null"}]}},
    }

    strict = strict_schema(schema)

    assert strict is not None
    assert ["a", "b", "c", "d"] == strict["required"]
    assert {"anyOf": [TEXT, {"type": "null"}]} == strict["$defs"]["D"]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": TEXT}},
        {"type": "object"},
        {"type": "object", "additionalProperties": TEXT},
        {"type": "object", "properties": {"a": TEXT}, "required": ["a"], "additionalProperties": True},
        {"type": "object", "properties": {"a": TEXT}, "required": ["a", "b"]},
        {"type": "array", "items": TEXT},
        closed(a={"allOf": [TEXT]}),
        closed(a={}),
        closed(a={"not": TEXT}),
        closed(a={"type": "array", "prefixItems": [TEXT]}),
        closed(a={"enum": list(range(ENUM_VALUES_MAX + 1))}),
        closed(a=True),
    ],
    ids=str,
)
def test_some_schemas_have_no_strict_version(schema: dict[str, Any]):
    """
    Free keys, optional ones that may not be null, keywords outside the subset, no object at the root.
    """
    assert strict_schema(schema) is None


@pytest.mark.parametrize("capability", sorted(BUILT_IN))
def test_every_built_in_output_has_a_strict_version(capability: str):
    """
    Made of the very types that validate the output.
    """
    assert strict_schema(msgspec.json.schema(BUILT_IN[capability][1])) is not None


def test_a_strict_version_goes_only_so_deep():
    """
    The provider has a bound on nesting.
    """
    schema: dict[str, Any] = closed(a=TEXT)
    for _ in range(20):
        schema = closed(a=schema)

    assert strict_schema(schema) is None


def test_open_objects_are_found_at_any_depth():
    """
    Those that hold keys which the schema does not name.
    """
    assert has_open_object({"type": "object"})
    assert has_open_object(closed(a={"type": "array", "items": {"type": "object", "additionalProperties": TEXT}}))
    assert not has_open_object(closed(a=TEXT, type=TEXT))
    assert not has_open_object({"type": "object", "properties": {"a": TEXT}})


def test_recursion_is_found_through_other_definitions():
    """
    And not where there is none.
    """
    ring = {"$defs": {"A": closed(b={"$ref": "#/$defs/B"}), "B": closed(a={"$ref": "#/$defs/A"})}}
    line = {"$defs": {"A": closed(b={"$ref": "#/$defs/B"}), "B": closed(a=TEXT)}}

    assert is_recursive(ring)
    assert not is_recursive(line)
