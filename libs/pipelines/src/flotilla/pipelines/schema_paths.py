"""Whether a JSON Schema has a path: what it declares, as far as that can be told."""

from collections.abc import Iterator
from typing import Any, Final, cast

from flotilla.pipelines.references import EACH

DEPTH_MAX: Final = 32
"""Of references and alternatives that are followed; beyond it every path counts as there."""
_ALTERNATIVES: Final = ("anyOf", "oneOf", "allOf")

Schema = dict[str, Any]


def has_path(schema: Schema, path: tuple[str, ...]) -> bool:
    """Whether the path may lead to something; false only where properties are declared and this is none of them."""
    return _has(schema, path, schema, 0)


def _has(here: Any, path: tuple[str, ...], root: Schema, depth: int) -> bool:
    if not path or not isinstance(here, dict) or depth > DEPTH_MAX:
        return True
    schema = cast("Schema", here)
    if alternatives := list(_alternatives(schema, root)):
        if any(_has(each, path, root, depth + 1) for each in alternatives):
            return True
        return "properties" in schema and _declares(schema, path, root, depth)
    return _declares(schema, path, root, depth)


def _declares(schema: Schema, path: tuple[str, ...], root: Schema, depth: int) -> bool:
    part, *rest = path
    below = tuple(rest)
    if schema.get("type") in ("string", "number", "integer", "boolean", "null"):
        return False
    if schema.get("type") == "array":
        return (part.isdecimal() or part == EACH) and _has(schema.get("items"), below, root, depth + 1)
    properties: Any = schema.get("properties")
    if not isinstance(properties, dict):
        return True
    declared = cast("Schema", properties)
    if part in declared:
        return _has(declared[part], below, root, depth + 1)
    return bool(schema.get("additionalProperties")) or "patternProperties" in schema


def _alternatives(schema: Schema, root: Schema) -> Iterator[Any]:
    target: Any = schema.get("$ref")
    if isinstance(target, str):
        yield _target(target, root)
    for key in _ALTERNATIVES:
        listed: Any = schema.get(key)
        if isinstance(listed, list):
            yield from cast("list[Any]", listed)


def _target(target: str, root: Schema) -> Any:
    """What a reference within the schema stands for; True, which has every path, where it is not found."""
    here: Any = root
    for part in target.removeprefix("#/").split("/"):
        if not isinstance(here, dict) or part not in here:
            return True
        here = cast("Schema", here)[part]
    return here
