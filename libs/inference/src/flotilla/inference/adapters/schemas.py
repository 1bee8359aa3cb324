"""
Which JSON Schemas a provider can be held to. Pure.

Constrained decoding takes a subset of JSON Schema. What a provider cannot enforce is left out rather than refused: the
kit validates every output against the whole schema anyway.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, cast

REPEATS_MAX: Final = 500
"""How often a grammar may be told to repeat something; llama.cpp gives up at 2,000, and is slow long before."""
BOUND_MAX: Final = 10**9
"""Of a number in a grammar; a minimum of sixteen digits takes llama.cpp all the memory there is."""
DEPTH_MAX: Final = 10
ENUM_VALUES_MAX: Final = 1000

Schema = dict[str, Any]

_DEFS: Final = ("$defs", "definitions")
_KEPT: Final = frozenset(
    {
        *("type", "enum", "const", "description", "pattern", "format"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minItems", "maxItems"),
    }
)
_DROPPED: Final = frozenset(
    {
        *("$schema", "$id", "$comment", "title", "default", "examples", "deprecated", "readOnly", "writeOnly"),
        *("minLength", "maxLength", "uniqueItems", "minProperties", "maxProperties"),
    }
)
_STRUCTURE: Final = frozenset({"properties", "required", "additionalProperties", "items", "anyOf", "oneOf", "$ref"})

_LITERAL: Final = r"[A-Za-z0-9 _:/,@-]"
_CLASS: Final = r"\[(?:a-z|A-Z|0-9|[A-Za-z0-9 _.:/,@])+-?\]"
_GROUP: Final = rf"\((?:{_LITERAL}|{_CLASS})+(?:\|(?:{_LITERAL}|{_CLASS})+)*\)"
_TIMES: Final = r"[*+?]|\{\d{1,2}(?:,(?:\d{1,2})?)?\}"
_PLAIN_PATTERN: Final = re.compile(rf"\^(?:(?:{_LITERAL}|{_CLASS}|{_GROUP})(?:{_TIMES})?)+\$")
"""Patterns that llama.cpp makes a grammar of: whole, and without escapes, look-arounds and groups within groups."""
_FROM_TO: Final = re.compile(r"\{(\d+),(\d+)\}")
_REPEATS: Final = frozenset({"minLength", "maxLength", "minItems", "maxItems"})
_BOUNDS: Final = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
_RANGES: Final = (
    (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")),
    (("minLength",), ("maxLength",)),
    (("minItems",), ("maxItems",)),
)
_OF_SCHEMAS: Final = frozenset({"properties", "patternProperties", *_DEFS})
_OF_VALUES: Final = frozenset({"enum", "const", "default", "examples", "required"})


class _InexpressibleError(Exception):
    """The schema has no strict version."""


def rooted(schema: Schema) -> Schema:
    """The schema with a reference at its root replaced by what it points to, for servers that want an object there."""
    if "$ref" not in schema:
        return schema
    target = schema_target(schema, schema["$ref"])
    return schema if target is None else {**target, **{key: schema[key] for key in _DEFS if key in schema}}


def grammar_schema(schema: Schema) -> Schema:
    """
    The schema without what llama.cpp, which Ollama contains, is known to die of when it makes a grammar of it.

    A pattern with a look-around ends Ollama's server, one with an escape or a `maxLength` of 5,000 the
    process that runs the model, with whatever else it was about; so these are no mere refusals.
    """
    root = rooted(schema)
    return cast("Schema", _without_traps(root))


def _without_traps(node: object) -> object:
    if isinstance(node, list):
        return [_without_traps(item) for item in cast("list[object]", node)]
    if not isinstance(node, dict):
        return node
    part = cast("dict[str, Any]", node)
    kept: Schema = {}
    for key, value in part.items():
        if key in _OF_VALUES:
            kept[key] = value
        elif key in _OF_SCHEMAS and isinstance(value, dict):
            kept[key] = {name: _without_traps(inner) for name, inner in cast("Schema", value).items()}
        elif not _is_trap(key, value):
            kept[key] = _without_traps(value)
    for leasts, mosts in _RANGES:
        least, most = ([kept[key] for key in keys if key in kept] for keys in (leasts, mosts))
        # Between two exclusive bounds a whole number lies only if they are two apart.
        apart = sum(key in kept for key in leasts + mosts if key.startswith("exclusive"))
        if least and most and max(least) + apart > min(most):
            kept = {key: value for key, value in kept.items() if key not in leasts + mosts}
    return kept


def _is_trap(key: str, value: object) -> bool:
    if key == "pattern":
        return not (isinstance(value, str) and _is_plain(value))
    if key in _REPEATS:
        return not (isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= REPEATS_MAX)
    if key in _BOUNDS:
        return not (isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= BOUND_MAX)
    return False


def _is_plain(pattern: str) -> bool:
    backwards = any(int(least) > int(most) for least, most in _FROM_TO.findall(pattern))
    return _PLAIN_PATTERN.fullmatch(pattern) is not None and not backwards


def strict_schema(schema: Schema) -> Schema | None:
    """
    A version of the schema that OpenAI's strict mode accepts, or None when there is none.

    Strict mode (OpenAI's guide to structured outputs) wants an object at the root, `additionalProperties: false` in
    every object and every property required. An optional property becomes required when it may be null; when it may
    not, a model could not leave it out, and there is no strict version. Bounds on lengths are left out. Whatever
    satisfies the strict version satisfies the original but for those bounds.
    """
    root = rooted(schema)
    try:
        strict = _strict(root, root, 0)
        defs = {
            key: {name: _strict(part, root, 0) for name, part in _mapping(root[key]).items()}
            for key in _DEFS
            if key in root
        }
    except _InexpressibleError:
        return None
    if strict.get("type") != "object" or _enum_values(root) > ENUM_VALUES_MAX:
        return None
    return {**strict, **defs}


def has_open_object(schema: object) -> bool:
    """
    Whether some object in it may hold keys that the schema does not name.

    A provider that closes every object would turn such a map into one that is always empty.
    """
    if isinstance(schema, list):
        return any(has_open_object(item) for item in cast("list[object]", schema))
    if not isinstance(schema, dict):
        return False
    node = cast("dict[str, Any]", schema)
    if node.get("type") == "object":
        more = node.get("additionalProperties")
        if isinstance(more, dict) or "patternProperties" in node or (not node.get("properties") and more is not False):
            return True
    return any(has_open_object(value) for value in node.values())


def is_recursive(schema: Schema) -> bool:
    """Whether a definition refers to itself, directly or through others."""
    edges: dict[str, set[str]] = {}
    for key in _DEFS:
        definitions = schema.get(key)
        for name, part in cast("Schema", definitions).items() if isinstance(definitions, dict) else ():
            edges[f"#/{key}/{name}"] = _references(part)
    for start, first in edges.items():
        seen: set[str] = set()
        ahead = list(first)
        while ahead:
            at = ahead.pop()
            if at == start:
                return True
            if at not in seen:
                seen.add(at)
                ahead.extend(edges.get(at, ()))
    return False


def _strict(node: object, root: Schema, depth: int) -> Schema:
    if depth > DEPTH_MAX or not isinstance(node, dict):
        raise _InexpressibleError
    part = cast("dict[str, Any]", node)
    unknown = part.keys() - _KEPT - _DROPPED - _STRUCTURE - set(_DEFS)
    if unknown:
        raise _InexpressibleError
    if "$ref" in part:
        # Strict mode takes nothing beside a reference.
        return {"$ref": part["$ref"]}
    strict: Schema = {key: value for key, value in part.items() if key in _KEPT}
    for key in ("anyOf", "oneOf"):
        if key in part:
            strict["anyOf"] = [_strict(variant, root, depth + 1) for variant in _sequence(part[key])]
    if "items" in part:
        strict["items"] = _strict(part["items"], root, depth + 1)
    if part.get("type") == "object" or "properties" in part:
        strict |= _strict_object(part, root, depth)
    if not strict.keys() & {"type", "anyOf", "enum", "const"}:
        raise _InexpressibleError
    return strict


def _strict_object(part: Schema, root: Schema, depth: int) -> Schema:
    properties = _mapping(part.get("properties", {}))
    if not properties or part.get("additionalProperties") not in {None, False}:
        raise _InexpressibleError
    required = set(_sequence(part.get("required", [])))
    if required - properties.keys():
        raise _InexpressibleError
    if any(not _nullable(properties[name], root, 0) for name in properties.keys() - required):
        raise _InexpressibleError
    return {
        "type": "object",
        "properties": {name: _strict(value, root, depth + 1) for name, value in properties.items()},
        "required": list(properties),
        "additionalProperties": False,
    }


def _nullable(node: object, root: Schema, depth: int) -> bool:
    if depth > DEPTH_MAX or not isinstance(node, dict):
        return False
    part = cast("dict[str, Any]", node)
    if "$ref" in part:
        return _nullable(schema_target(root, part["$ref"]), root, depth + 1)
    kind = part.get("type")
    if kind == "null" or (isinstance(kind, list) and "null" in kind):
        return "enum" not in part or None in part["enum"]
    if "enum" in part:
        return None in part["enum"]
    variants = _sequence(part.get("anyOf", part.get("oneOf", [])))
    return any(_nullable(variant, root, depth + 1) for variant in variants)


def schema_target(root: Schema, reference: object) -> Schema | None:
    """The definition that `reference` (`#/$defs/Name`) means; None when it is none of `root`."""
    parts = str(reference).split("/")
    match parts:
        case ["#", "$defs" | "definitions" as key, name]:
            definitions = root.get(key)
            found = cast("Schema", definitions).get(name) if isinstance(definitions, dict) else None
            return cast("Schema", found) if isinstance(found, dict) else None
        case _:
            return None


def _references(node: object) -> set[str]:
    if isinstance(node, list):
        return set[str]().union(*(_references(item) for item in cast("list[object]", node)))
    if not isinstance(node, dict):
        return set()
    part = cast("dict[str, Any]", node)
    own = {str(part["$ref"])} if "$ref" in part else set[str]()
    return own.union(*(_references(value) for value in part.values()))


def _enum_values(node: object) -> int:
    if isinstance(node, list):
        return sum(_enum_values(item) for item in cast("list[object]", node))
    if not isinstance(node, dict):
        return 0
    part = cast("dict[str, Any]", node)
    own = len(_sequence(part["enum"])) if isinstance(part.get("enum"), list) else 0
    return own + sum(_enum_values(value) for value in part.values())


def _mapping(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _InexpressibleError
    return cast("dict[str, Any]", value)


def _sequence(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise _InexpressibleError
    return cast("list[Any]", value)
