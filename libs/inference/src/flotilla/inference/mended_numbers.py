"""
Numbers that a model got right but for their form, put into the form that the schema asks for. Pure.

Small models write a fraction as "0.9", as 90 or "90 %", or a little beyond its bounds (1.2). Asking again costs another
call and often brings the same. Mended is what is beyond doubt; anything else stays as it is, for the check to refuse: 5
where a fraction is asked for may be five of ten or five percent.
"""

import math
import re
from typing import Any, Final, NamedTuple, cast

from flotilla.capabilities.json_schema import SCHEMA_DEPTH_MAX
from flotilla.inference.adapters.schemas import Schema, schema_target

FRACTION_EXCESS_MAX: Final = 0.5
"""A fraction that is beyond 0 or 1 by no more than this means 0 or 1."""
TENTHS: Final = 10
"""A bare number from here to 100 is a percentage where a fraction is asked for; below it may be a mark out of ten."""
PERCENT: Final = 100

_WRITTEN: Final = re.compile(r"\s*([+-]?\d{1,15}(?:\.\d{1,15})?)\s*(%?)\s*")
_NUMERIC: Final = frozenset({"number", "integer"})


class _Asked(NamedTuple):
    """What a schema says of a number."""

    whole: bool
    least: Any
    most: Any

    @property
    def fraction(self) -> bool:
        return not self.whole and self.least == 0 and self.most == 1


def mended(data: Any, schema: Schema) -> Any:
    """
    `data` with the numbers mended that `schema` asks for.

    Args:
        data: JSON data of any shape.
        schema: JSON Schema; what it says by other means than types, properties, items and references is not looked at.

    Returns:
        The same data where nothing was to be mended; `data` itself is not changed.
    """
    return _mended(data, schema, schema, 0)


def _mended(data: Any, node: object, root: Schema, depth: int) -> Any:
    if depth > SCHEMA_DEPTH_MAX or not isinstance(node, dict):
        return data
    part = cast("Schema", node)
    if "$ref" in part:
        return _mended(data, schema_target(root, part["$ref"]), root, depth + 1)
    if isinstance(data, dict):
        given, properties = cast("dict[str, Any]", data), part.get("properties")
        known = cast("Schema", properties) if isinstance(properties, dict) else {}
        return {key: _mended(value, known.get(key), root, depth + 1) for key, value in given.items()}
    if isinstance(data, list):
        return [_mended(item, part.get("items"), root, depth + 1) for item in cast("list[Any]", data)]
    asked = _asked(part)
    return data if asked is None else _number(data, asked)


def _asked(part: Schema) -> _Asked | None:
    """None where something else than a number is welcome, too."""
    variants = part.get("anyOf")
    if isinstance(variants, list):
        others = [variant for variant in cast("list[Any]", variants) if variant != {"type": "null"}]
        return _asked(cast("Schema", others[0])) if len(others) == 1 and isinstance(others[0], dict) else None
    kind = part.get("type")
    kinds = {kind} if isinstance(kind, str) else set(cast("list[str]", kind)) if isinstance(kind, list) else set[str]()
    kinds -= {"null"}
    if not kinds or kinds - _NUMERIC:
        return None
    return _Asked("number" not in kinds, part.get("minimum"), part.get("maximum"))


def _number(data: Any, asked: _Asked) -> Any:
    if isinstance(data, str):
        return _written(data, asked)
    if isinstance(data, bool) or not isinstance(data, int | float) or not math.isfinite(data):
        return data
    if asked.fraction:
        return _fraction(data)
    return int(data) if asked.whole and data == int(data) else data


def _written(text: str, asked: _Asked) -> Any:
    # A comma may part thousands; in a fraction it cannot.
    found = _WRITTEN.fullmatch(text.replace(",", ".", 1) if asked.fraction else text)
    if found is None:
        return text
    number = float(found.group(1))
    if found.group(2):
        if not asked.fraction:
            # Of a number without bounds nobody can say what its percentage is.
            return _plain(number, asked) if asked.most == PERCENT else text
        return _fraction(number / PERCENT)
    return _fraction(number) if asked.fraction else _plain(number, asked)


def _plain(number: float, asked: _Asked) -> float | int:
    return int(number) if asked.whole and number == int(number) else number


def _fraction(number: float) -> float:
    if 1 < number <= 1 + FRACTION_EXCESS_MAX:
        return 1.0
    if -FRACTION_EXCESS_MAX <= number < 0:
        return 0.0
    return number / PERCENT if TENTHS < number <= PERCENT else number
