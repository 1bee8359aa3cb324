"""
Paths to values of a run: `input.document`, `steps.redact.vault`, `item.text`, `index`.

Parts are names of fields, or numbers that count a list's elements from 0. `steps.NAME.*.FIELD` is the list of that field
of all outputs of a step that runs once for each item.
"""

import re
from typing import Any, Final, Literal, cast

import msgspec

PARTS_MAX: Final = 32
PATH_LENGTH_MAX: Final = 500
STEP_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
"""A step's name: CEL reads a hyphen as minus, and the id of its task begins with the run's."""
EACH: Final = "*"

Root = Literal["input", "steps", "item", "index"]
ROOTS: Final[tuple[Root, ...]] = ("input", "steps", "item", "index")

_PART: Final = re.compile(r"[A-Za-z0-9_-]+|\*")


class Reference(msgspec.Struct, frozen=True):
    """
    Where a value is taken from.

    Attributes:
        step: Of `steps`; empty for the other roots.
        path: From the input, the item, or the step's output (its list of outputs, if it runs for each item).
    """

    root: Root
    step: str
    path: tuple[str, ...]

    def __str__(self) -> str:
        return ".".join((self.root, *((self.step,) if self.step else ()), *self.path))


class NotAReferenceError(ValueError):
    """A text is no path; says what was expected."""


def reference(text: str) -> Reference:
    """
    Read a path.

    Raises:
        NotAReferenceError: It is none.
    """
    parts = text.split(".")
    if len(text) > PATH_LENGTH_MAX or len(parts) > PARTS_MAX:
        raise NotAReferenceError(f"expected at most {PATH_LENGTH_MAX} characters and {PARTS_MAX} parts in a path")
    root: Root | None = next((known for known in ROOTS if known == parts[0]), None)
    if root is None or not all(_PART.fullmatch(part) for part in parts):
        raise NotAReferenceError(
            f"{text!r} is no path: expected input.FIELD, steps.NAME, steps.NAME.FIELD, item or index"
        )
    step, path = "", tuple(parts[1:])
    if root == "steps":
        if not path or not STEP_NAME.fullmatch(path[0]):
            raise NotAReferenceError(f"{text!r} names no step: expected steps.NAME")
        step, path = path[0], path[1:]
    if root == "index" and path:
        raise NotAReferenceError("index is a number and has no fields")
    if EACH in path[1:] or (EACH in path and (root != "steps" or len(path) == 1)):
        raise NotAReferenceError(f"{text!r}: * stands only in steps.NAME.*.FIELD")
    return Reference(root, step, path)


class AbsentError(Exception):
    """A path leads to nothing."""


def reach(value: Any, path: tuple[str, ...]) -> Any:
    """
    Follow a path through JSON. What is reached through null is null: a step that was left out has no fields.

    Raises:
        AbsentError: There is no such field or element.
    """
    if path and path[0] == EACH:
        if value is None:
            return None
        if not isinstance(value, list):
            raise AbsentError
        return [reach(item, path[1:]) for item in cast("list[Any]", value)]
    for part in path:
        if value is None:
            return None
        value = _enter(value, part)
    return value


def _enter(value: Any, part: str) -> Any:
    if isinstance(value, dict):
        table = cast("dict[str, Any]", value)
        if part in table:
            return table[part]
    elif isinstance(value, list) and part.isdecimal() and len(part) <= len(str(PATH_LENGTH_MAX)):
        items = cast("list[Any]", value)
        if int(part) < len(items):
            return items[int(part)]
    raise AbsentError
