"""The smallest instance of a JSON Schema that a plain reading of it finds."""

import re
from typing import Any, Final, cast

from flotilla.capabilities.json_schema import JsonSchema

DEPTH_MAX: Final = 24
ITEMS_MAX: Final = 1000
CHARS_MAX: Final = 100_000

_FORMATS: Final = {
    "date": "2000-01-01",
    "date-time": "2000-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "email": "noop@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-0000-0000-000000000000",
    "ipv4": "192.0.2.1",
    "hostname": "example.com",
}
_LITERALS: Final[dict[str, Any]] = {"boolean": False, "null": None}
_PLAIN_PATTERN: Final = re.compile(r"\^?((?:[A-Za-z0-9 _-])*)\$?")
_PATTERN_GUESSES: Final = (
    "noop",
    "NOOP",
    "a",
    "A",
    "0",
    "00",
    "0000",
    "a0",
    "A0",
    "AA-0000",
    "en",
    "en-US",
    "0.0",
    "00:00",
)


def instance_of(schema: JsonSchema) -> Any:
    """
    Make JSON data that is valid against `schema`; checked, not assumed.

    Understands types, const, enum, default, examples, bounds, references inside the schema, allOf (of objects) and the
    first workable branch of anyOf and oneOf.

    Raises:
        ValueError: None was found: patterns, conditions or `not` ask for more than a plain reading. An `examples` entry
            in the schema is then what helps.
    """
    document = schema.document
    try:
        for candidate in (*_given(document), _build(document, document, 0)):
            if schema.flaw(candidate) is None:
                return candidate
        flaw = schema.flaw(_build(document, document, 0))
    except (RecursionError, LookupError, TypeError) as error:
        raise ValueError(f"no instance of the schema was found ({type(error).__name__})") from None
    raise ValueError(f"no instance of the schema was found; {flaw}; give the schema an entry in `examples`")


def _given(schema: dict[str, Any]) -> list[Any]:
    found: list[Any] = []
    if "const" in schema:
        found.append(schema["const"])
    if "default" in schema:
        found.append(schema["default"])
    found += [*schema.get("examples", []), *schema.get("enum", [])[:1]]
    return found


def _build(schema: Any, root: dict[str, Any], depth: int) -> Any:
    if depth > DEPTH_MAX:
        raise LookupError("nested too deeply")
    if not isinstance(schema, dict):
        return "noop"
    rules = _merged(cast("dict[str, Any]", schema), root, depth)
    if given := _given(rules):
        return given[0]
    kind = _type_of(rules)
    if kind == "object":
        return _object(rules, root, depth)
    if kind == "array":
        return _array(rules, root, depth)
    if kind in ("integer", "number"):
        return _number(rules, whole=kind == "integer")
    return _LITERALS[kind] if kind in _LITERALS else _string(rules)


def _merged(schema: dict[str, Any], root: dict[str, Any], depth: int) -> dict[str, Any]:
    if depth > DEPTH_MAX:
        raise LookupError("references without an end")
    rules = {key: value for key, value in schema.items() if key not in ("$ref", "allOf", "anyOf", "oneOf")}
    parts: list[Any] = []
    if "$ref" in schema:
        parts.append(_resolve(schema["$ref"], root))
    parts += schema.get("allOf", [])
    for choice in ("anyOf", "oneOf"):
        parts += [part for part in schema.get(choice, []) if isinstance(part, dict)][:1]
    for part in parts:
        for key, value in _merged(part, root, depth + 1).items():
            known = rules.get(key)
            if isinstance(known, dict) and isinstance(value, dict):
                rules[key] = {**cast("dict[str, Any]", value), **cast("dict[str, Any]", known)}
            elif key == "required" and isinstance(known, list):
                rules[key] = list(dict.fromkeys([*cast("list[str]", known), *value]))
            else:
                rules.setdefault(key, value)
    return rules


def _resolve(reference: str, root: dict[str, Any]) -> Any:
    if not reference.startswith("#"):
        raise LookupError(reference)
    here: Any = root
    for part in reference.removeprefix("#").split("/"):
        if part:
            here = here[part.replace("~1", "/").replace("~0", "~")]
    return here


def _type_of(rules: dict[str, Any]) -> str:
    named = rules.get("type")
    if isinstance(named, list):
        return str(cast("list[Any]", named)[0])
    if named is not None:
        return str(named)
    hints = {"properties": "object", "required": "object", "items": "array", "minItems": "array", "minimum": "number"}
    return next((kind for key, kind in hints.items() if key in rules), "string")


def _object(rules: dict[str, Any], root: dict[str, Any], depth: int) -> dict[str, Any]:
    properties: dict[str, Any] = rules.get("properties", {})
    names: list[str] = list(rules.get("required", []))
    names += [name for name in properties if name not in names][: max(0, rules.get("minProperties", 0) - len(names))]
    fallback: Any = rules.get("additionalProperties", {})
    made = {name: _build(properties.get(name, fallback), root, depth + 1) for name in names}
    while len(made) < min(rules.get("minProperties", 0), ITEMS_MAX):
        made[f"noop-{len(made)}"] = _build(fallback, root, depth + 1)
    return made


def _array(rules: dict[str, Any], root: dict[str, Any], depth: int) -> list[Any]:
    head: list[Any] = rules.get("prefixItems", [])
    count = min(max(rules.get("minItems", 0), 1 if "contains" in rules else 0), ITEMS_MAX)
    rest: Any = rules.get("contains", rules.get("items", {}))
    return [_build(head[index] if index < len(head) else rest, root, depth + 1) for index in range(count)]


def _number(rules: dict[str, Any], *, whole: bool) -> int | float:
    step: float = rules.get("multipleOf", 1)
    candidates: list[float] = [0]
    for bound in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"):
        if bound in rules:
            near = rules[bound] // step * step
            candidates += [near, near + step, near - step]
    if low := [rules[bound] for bound in ("minimum", "exclusiveMinimum") if bound in rules]:
        candidates += [(low[0] + rules[bound]) / 2 for bound in ("maximum", "exclusiveMaximum") if bound in rules]
    made = next((number for number in candidates if _within(number, rules)), 0)
    return int(made) if whole else made


def _within(number: float, rules: dict[str, Any]) -> bool:
    return (
        number >= rules.get("minimum", number)
        and number <= rules.get("maximum", number)
        and number > rules.get("exclusiveMinimum", number - 1)
        and number < rules.get("exclusiveMaximum", number + 1)
    )


def _string(rules: dict[str, Any]) -> str:
    if "format" in rules:
        return _FORMATS.get(rules["format"], "noop")
    least: int = min(rules.get("minLength", 0), CHARS_MAX)
    most: int = rules.get("maxLength", CHARS_MAX)
    if "pattern" in rules:
        return _matching(rules["pattern"], least, most)
    return "noop"[:most].ljust(least, ".")


def _matching(pattern: str, least: int, most: int) -> str:
    plain = _PLAIN_PATTERN.fullmatch(pattern)
    guesses = [plain.group(1)] if plain else []
    try:
        matcher = re.compile(pattern)
    except re.error:
        raise LookupError(pattern) from None
    for guess in [*guesses, *_PATTERN_GUESSES]:
        if matcher.search(guess) and least <= len(guess) <= most:
            return guess
    return ""
