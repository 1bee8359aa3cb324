"""
Templates of JSON values: `${path}` stands for a value of the run.

A text that is nothing but one `${path}` becomes the value, whatever its type. In a longer text a value is put in: a text
as it is, null as nothing, anything else as JSON. `$${` stands for the characters `${`. Keys of objects are never filled.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, Final, cast

import msgspec

from flotilla.contracts.decoding import checked
from flotilla.contracts.fields import is_bounded
from flotilla.pipelines.references import NotAReferenceError, Reference, reference

DEPTH_MAX: Final = 64
"""Of the arrays and tables of a template."""
REFERENCES_MAX: Final = 1_000
"""Of one template."""
RENDERED_BYTES_MAX: Final = 8 * 1024 * 1024
"""Of what a template gives, as JSON: the message that a fleet takes at most."""

Resolve = Callable[[Reference], Any]
"""The value of a path."""

_HOLE: Final = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")
_encode: Final = msgspec.json.Encoder(order="sorted").encode


class Text(msgspec.Struct, frozen=True):
    """Literal text and values in turn."""

    parts: tuple[str | Reference, ...]


class Template:
    """A JSON value in which references stand; does not change once it is made."""

    __slots__ = ("node", "references")

    def __init__(self, node: Any, references: tuple[Reference, ...]) -> None:
        self.node = node
        """What it was made of: JSON with a Reference or a Text where a value goes."""
        self.references = references
        """Each once, in the order of the file."""

    def render(self, resolve: Resolve) -> Any:
        """Put the values in. What `resolve` raises passes."""
        return _render(self.node, resolve)


class OutOfBoundsError(ValueError):
    """A value is too large or too deep; says which bound."""


def encoded(value: Any) -> msgspec.Raw:
    """
    JSON with sorted keys, so that equal values have equal bytes.

    Raises:
        OutOfBoundsError: It is larger than RENDERED_BYTES_MAX, or nested deeper than any message may be.
    """
    try:
        text = checked(_encode(value))
    except RecursionError:
        raise OutOfBoundsError("the value is nested too deeply for a task") from None
    except (OverflowError, ValueError):
        raise OutOfBoundsError("the value has a number or a text that JSON cannot hold") from None
    if len(text) > RENDERED_BYTES_MAX:
        raise OutOfBoundsError(f"the value has {len(text)} bytes as JSON, expected at most {RENDERED_BYTES_MAX}")
    return msgspec.Raw(text)


def template(value: Any, key: str, faults: list[str]) -> Template:
    """Read a template; `faults` gets what is wrong, each with its key."""
    found: dict[Reference, None] = {}
    node = _compile(value, key, faults, found, 0)
    if len(found) > REFERENCES_MAX:
        faults.append(f"{key}: {len(found)} paths, expected at most {REFERENCES_MAX}")
    return Template(node, tuple(found))


def _compile(value: Any, key: str, faults: list[str], found: dict[Reference, None], depth: int) -> Any:
    if depth > DEPTH_MAX:
        faults.append(f"{key[:80]}: nested deeper than {DEPTH_MAX}")
        return None
    if isinstance(value, str):
        return _compile_text(value, key, faults, found)
    if isinstance(value, dict):
        table = cast("dict[str, Any]", value)
        return {name: _compile(item, f"{key}.{name}", faults, found, depth + 1) for name, item in table.items()}
    if isinstance(value, list):
        items = cast("list[Any]", value)
        return [_compile(item, f"{key}[{index}]", faults, found, depth + 1) for index, item in enumerate(items)]
    if isinstance(value, float) and value - value != 0.0:
        faults.append(f"{key}: expected a finite number")
    elif not (value is None or isinstance(value, bool | int | float)) or not is_bounded(value):
        faults.append(f"{key}: expected JSON: text, a number of 64 bits, true, false, an array or a table")
    return value


def _compile_text(text: str, key: str, faults: list[str], found: dict[Reference, None]) -> Any:
    parts: list[str | Reference] = []
    at = 0
    for hole in _HOLE.finditer(text):
        parts.append(text[at : hole.start()])
        at = hole.end()
        if hole.group() == "$${":
            parts.append("${")
            continue
        if hole.group(1) is None:
            faults.append(f"{key}: ${{ without its }}; write $${{ for the characters themselves")
            continue
        try:
            read = reference(hole.group(1).strip())
        except NotAReferenceError as error:
            faults.append(f"{key}: {error}")
            continue
        found[read] = None
        parts.append(read)
    parts.append(text[at:])
    filled = tuple(part for part in parts if part != "")
    if len(filled) == 1 and isinstance(filled[0], Reference):
        return filled[0]
    if all(isinstance(part, str) for part in filled):
        return "".join(cast("tuple[str, ...]", filled))
    return Text(filled)


def _render(node: Any, resolve: Resolve) -> Any:
    if isinstance(node, Reference):
        return resolve(node)
    if isinstance(node, Text):
        return "".join(_pieces(node, resolve))
    if isinstance(node, dict):
        return {name: _render(item, resolve) for name, item in cast("dict[str, Any]", node).items()}
    if isinstance(node, list):
        return [_render(item, resolve) for item in cast("list[Any]", node)]
    return node


def _pieces(text: Text, resolve: Resolve) -> Iterator[str]:
    left = RENDERED_BYTES_MAX
    for part in text.parts:
        piece = part if isinstance(part, str) else _as_text(resolve(part))
        left -= len(piece)
        if left < 0:
            raise OutOfBoundsError(f"a text is longer than {RENDERED_BYTES_MAX}")
        yield piece


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else bytes(encoded(value)).decode()
