"""
JSON against JSON Schema, and the two complaints that follow from it.

A complaint names the place and the rule, never what stood there: inputs and outputs hold documents, and complaints
travel to callers and into logs. That is why errors are raised `from None` here: the libraries' own texts quote values.
"""

import re
from collections.abc import Iterator
from typing import Any, Final, NoReturn

import jsonschema_rs
import msgspec

from flotilla.capabilities.errors import AttemptError
from flotilla.contracts.decoding import INPUT_DEPTH_MAX, UNDECODABLE, checked, safe_text, with_readable_numbers
from flotilla.contracts.errors import BadRequestError
from flotilla.contracts.failures import FailureKind

EXPECTED_LENGTH_MAX: Final = 240
SCHEMA_DEPTH_MAX: Final = 32
EXPLAINED_BYTES_MAX: Final = 64 * 1024
"""
Of JSON whose flaw is looked for where a schema has alternatives: the library makes an error, of 3 µs and more, of each value
that one of them does not take, so that of 8 MiB nothing else would be done for ten seconds.
"""

_decode: Final = msgspec.json.Decoder().decode
_any_json: Final = msgspec.json.Decoder(msgspec.Raw).decode
encode_json: Final = msgspec.json.Encoder().encode

_ALTERNATIVES: Final = ("anyOf", "oneOf")
_PLACE = re.compile(r" - at `([^`]*)`")


class Flaw(msgspec.Struct, frozen=True):
    """What is wrong with a piece of JSON: the path (`$` is the whole) and what was expected there."""

    path: str
    expected: str

    def __str__(self) -> str:
        return f"at {self.path}: {self.expected}"


def decode_json(raw: bytes | msgspec.Raw) -> Any:
    """
    JSON of any shape.

    Raises:
        ValueError: One of `UNDECODABLE`: it is none, or its numbers would take long to read.
    """
    return _decode(with_readable_numbers(bytes(raw)))


def refuse_input(path: str, expected: str) -> NoReturn:
    """Raise the BadRequestError for an input that has `path` wrong."""
    flaw = Flaw(path, expected[:EXPECTED_LENGTH_MAX])
    raise BadRequestError(f"the input is not valid {flaw}", path=flaw.path, expected=flaw.expected) from None


def check_transport(raw: bytes | msgspec.Raw, *, is_decoded: bool) -> None:
    """
    See that an input can travel: messages hold it as it is, and whoever reads them refuses what is no JSON, is not UTF-8 in a
    part that nobody looks at, or is nested too deeply. A worker that refuses it would look like one that is broken.

    Args:
        raw: The input.
        is_decoded: Whether it is decoded besides, so that its syntax is seen to.

    Raises:
        BadRequestError: It cannot.
    """
    try:
        checked(bytes(raw), INPUT_DEPTH_MAX)
        if not is_decoded:
            _any_json(raw)
    except UNDECODABLE as error:
        flaw = flaw_of(error)
        refuse_input(flaw.path, flaw.expected)


def refuse_output(path: str, expected: str) -> NoReturn:
    """Raise AttemptError(INVALID_OUTPUT) for an output that has `path` wrong; the text can go into a repair prompt."""
    flaw = Flaw(path, expected[:EXPECTED_LENGTH_MAX])
    raise AttemptError(FailureKind.INVALID_OUTPUT, f"the output is not valid {flaw}") from None


def flaw_of(error: BaseException) -> Flaw:
    """The place and the expectation in one of the errors that msgspec raises on bytes it cannot decode."""
    text = safe_text(error)
    if not isinstance(error, msgspec.ValidationError):
        return Flaw("$", f"expected JSON: {text}")
    place = _PLACE.search(text)
    expected = _PLACE.sub("", text)
    return Flaw(place.group(1) if place else "$", expected[:1].lower() + expected[1:])


class JsonSchema:
    """
    A compiled JSON Schema (2020-12 unless it says otherwise).

    References to other files and to the network are refused when it is made: `jsonschema_rs.ValidationError`,
    a ValueError.
    """

    __slots__ = ("_has_alternatives", "_names", "_validator", "document")

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self._validator = jsonschema_rs.validator_for(document, offline=True)
        self._names = frozenset(_declared_names(document, 0))
        self._has_alternatives = any(f'"{keyword}":' in encode_json(document).decode() for keyword in _ALTERNATIVES)

    def flaw(self, data: Any, size_bytes: int = 0) -> Flaw | None:
        """
        Say what is wrong with `data`, or None when it is valid; the first of its flaws, since there may be millions.

        Args:
            data: Decoded.
            size_bytes: Of the JSON that it was; small unless told.
        """
        if self._validator.is_valid(data):
            return None
        if self._has_alternatives and size_bytes > EXPLAINED_BYTES_MAX:
            return Flaw(
                "$", f"expected what the schema says; above {EXPLAINED_BYTES_MAX} bytes nothing is said of where"
            )
        try:
            self._validator.validate(data)
        except jsonschema_rs.ValidationError as error:
            return self._flaw_of(error)
        return None

    def _flaw_of(self, error: jsonschema_rs.ValidationError) -> Flaw:
        keyword = error.kind.name
        match keyword:
            case "required":
                expected = f"expected the property `{error.kind.value}`"
            case "additionalProperties" | "unevaluatedProperties":
                expected = "expected no properties beside those of the schema"
            case "falseSchema":
                expected = "expected nothing here"
            case _:
                expected = f"expected `{keyword}`{_rule_text(self.document, error.schema_path)}"
        return Flaw(self._path(error.instance_path), expected)

    def _path(self, parts: list[str | int]) -> str:
        path = "$"
        for part in parts:
            if isinstance(part, int):
                path += f"[{part}]"
            else:
                path += f".{part}" if part in self._names else "[...]"
        return path


def _declared_names(schema: Any, depth: int) -> Iterator[str]:
    if depth > SCHEMA_DEPTH_MAX:
        return
    if isinstance(schema, dict):
        for key, value in _items(schema):  # pyright: ignore[reportUnknownArgumentType]  # JSON of any shape
            if key == "properties" and isinstance(value, dict):
                yield from (name for name, _ in _items(value))  # pyright: ignore[reportUnknownArgumentType]
            yield from _declared_names(value, depth + 1)
    elif isinstance(schema, list):
        for value in schema:  # pyright: ignore[reportUnknownVariableType]
            yield from _declared_names(value, depth + 1)


def _items(mapping: dict[Any, Any]) -> list[tuple[str, Any]]:
    return [(str(key), value) for key, value in mapping.items()]


def _rule_text(schema: Any, path: list[str | int]) -> str:
    here = schema
    for part in path:
        try:
            here = here[part]
        except (KeyError, IndexError, TypeError):
            return ""
    return f" {encode_json(here).decode()}"


def canonical(output: Any) -> bytes:
    """
    Encode an output as JSON.

    Raises:
        AttemptError: INVALID_OUTPUT: it is not JSON data (an object of another kind, a lone surrogate, a huge nesting).
    """
    try:
        return encode_json(output)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        refuse_output("$", f"expected JSON data; {type(error).__name__} when it was encoded")
