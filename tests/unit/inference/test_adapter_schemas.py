"""Which schemas a provider can be held to."""

from typing import Any

import msgspec
import pytest

from flotilla.contracts.capabilities import BUILT_IN
from flotilla.inference.adapters.schemas import (
    BOUND_MAX,
    ENUM_VALUES_MAX,
    REPEATS_MAX,
    grammar_schema,
    has_open_object,
    is_recursive,
    rooted,
    strict_schema,
)

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


def holding(part: dict[str, Any]) -> dict[str, Any]:
    return {"$ref": "#/$defs/A", "$defs": {"A": closed(x={"type": "array", "items": {"anyOf": [part]}})}}


def kept(part: dict[str, Any]) -> dict[str, Any]:
    """What a grammar's schema has of a part that lies deep in it."""
    return grammar_schema(holding(part))["properties"]["x"]["items"]["anyOf"][0]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{4}$"},
        {"type": "string", "pattern": "^(system|user|assistant)$"},
        {"type": "string", "pattern": "^[a-z0-9_.-]{1,64}$"},
        {"type": "string", "minLength": 1, "maxLength": REPEATS_MAX},
        {"type": "integer", "minimum": -BOUND_MAX, "exclusiveMaximum": BOUND_MAX},
        {"type": "integer", "minimum": 3, "maximum": 3},
        {"type": "integer", "exclusiveMinimum": 0},
        {"type": "integer", "maximum": -5},
        {"enum": ["pattern", "maxLength"]},
        {"type": "object", "properties": {"pattern": TEXT, "maxLength": TEXT}, "required": ["pattern"]},
        {"const": {"pattern": "a", "maxLength": 5000}},
        {"$ref": "#/$defs/A"},
    ],
)
def test_a_grammar_is_made_of_the_schema_as_it_is(part: dict[str, Any]):
    """
    What constrains a model is worth having.
    """
    assert part == kept(part)


@pytest.mark.parametrize(
    "trap",
    [
        *(
            {"pattern": pattern}
            for pattern in ("a", "^a", "a$", "", "^", "^$", r"^\d$", r"^[\d]$", "^(?:a)$", "^(?=a).$")
        ),
        *({"pattern": pattern} for pattern in ("^[z-a]$", "^a{9,2}$", "^[a-z]{0,9999}$", "^[^a]$", "^*a$", "^(a$")),
        {"maxLength": REPEATS_MAX + 1},
        {"minItems": 3000},
        {"minLength": -1},
        {"maxLength": 2.5},
        {"minLength": 3, "maxLength": 2},
        {"minimum": BOUND_MAX + 1},
        {"maximum": float("nan")},
        {"minimum": 9, "maximum": 1},
        {"minimum": 5, "exclusiveMaximum": 5},
        {"exclusiveMinimum": 5, "exclusiveMaximum": 6},
    ],
)
def test_what_llama_cpp_dies_of_is_left_out_of_a_grammar(trap: dict[str, Any]):
    """
    At any depth; the original is as it was.
    """
    schema = holding({"description": "d"} | trap)
    before = msgspec.json.encode(schema)

    assert {"description": "d"} == kept({"description": "d"} | trap)
    assert before == msgspec.json.encode(schema)


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_built_in_capabilities_lose_nothing_to_a_grammar(name: str):
    """
    None of them has anything to fear.
    """
    schema = msgspec.json.schema(BUILT_IN[name][1])

    assert rooted(schema) == grammar_schema(schema)
