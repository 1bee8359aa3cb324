"""Users' own capabilities: JSON Schemas, a prompt template and defaults, or nothing but a name."""

from typing import Any, Final

import msgspec

from flotilla.capabilities.agreement import WHOLE, Comparison
from flotilla.capabilities.capability import Capability
from flotilla.capabilities.json_schema import (
    JsonSchema,
    canonical,
    decode_json,
    flaw_of,
    refuse_input,
    refuse_output,
)
from flotilla.contracts.decoding import UNDECODABLE
from flotilla.contracts.fields import is_bounded

ANY_OBJECT: Final[dict[str, Any]] = {"type": "object"}


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """The `[prompt]` table of a capability's file."""

    user: str
    system: str = ""
    temperature: float | None = None
    max_output_tokens: int | None = None


class UserCapability(Capability):
    """
    A capability that a file describes.

    Inputs are JSON objects: `defaults` are put in where the caller left a field out, then the schema decides.

    Attributes:
        template: What to ask a model; None when only a handler of one's own can serve it.
    """

    __slots__ = ("_defaults", "_input", "_output", "template")

    def __init__(
        self,
        *,
        name: str,
        description: str = "",
        input_schema: JsonSchema,
        output_schema: JsonSchema,
        template: Template | None,
        defaults: dict[str, Any] | None = None,
        text_field: str | None = None,
        comparison: Comparison = WHOLE,
    ) -> None:
        super().__init__(
            name=name,
            description=description,
            input_schema=input_schema.document,
            output_schema=output_schema.document,
            text_field=text_field,
            built_in=False,
            comparison=comparison,
        )
        self._input = input_schema
        self._output = output_schema
        self.template = template
        self._defaults = defaults or {}

    def decode_input(self, raw: bytes | msgspec.Raw) -> Any:
        """JSON, defaults, schema."""
        try:
            data = decode_json(raw)
        except UNDECODABLE as error:
            flaw = flaw_of(error)
            refuse_input(flaw.path, flaw.expected)
        if not isinstance(data, dict):
            refuse_input("$", "expected an object")
        if not is_bounded(data):
            refuse_input("$", "expected integers of 64 bits")
        given: dict[str, Any] = {**self._defaults, **data}
        if found := self._input.flaw(given, len(bytes(raw))):
            refuse_input(found.path, found.expected)
        return given

    def check_output(self, given: Any, output: Any) -> msgspec.Raw:
        """Encode, decode, schema: what is checked is what goes out."""
        del given
        if isinstance(output, msgspec.Raw):
            return output
        encoded = canonical(output)
        if found := self._output.flaw(decode_json(encoded), len(encoded)):
            refuse_output(found.path, found.expected)
        return msgspec.Raw(encoded)

    def check_form(self, output: msgspec.Raw) -> None:
        """Refuse what is no JSON, or does not fit the output's schema."""
        try:
            data = decode_json(output)
        except UNDECODABLE as error:
            flaw = flaw_of(error)
            refuse_output(flaw.path, flaw.expected)
        if found := self._output.flaw(data, len(bytes(output))):
            refuse_output(found.path, found.expected)


def open_capability(name: str) -> UserCapability:
    """A capability known by nothing but its name: any JSON object goes in and out, and only a handler can serve it."""
    schema = JsonSchema(ANY_OBJECT)
    return UserCapability(name=name, input_schema=schema, output_schema=schema, template=None)
