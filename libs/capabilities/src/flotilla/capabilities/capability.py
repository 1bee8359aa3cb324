"""A capability: what needs doing, as intake, backends and the worker's validation see it."""

from abc import ABC, abstractmethod
from typing import Any

import msgspec

from flotilla.capabilities.agreement import WHOLE, Comparison


class Capability(ABC):
    """
    One entry of the catalogue.

    Attributes:
        name: A subject token.
        input_schema: JSON Schema of the input; for people, forms and tools.
        output_schema: JSON Schema of the output.
        text_field: The field of the output that the pieces of a streamed answer concatenate to (a dotted path), or
            None when the output is streamed as one piece of JSON.
        comparison: What of two outputs is compared to see whether they agree.
        built_in: Whether inputs are the Structs of `flotilla.contracts.capabilities`; else they are JSON objects.
    """

    __slots__ = ("built_in", "comparison", "description", "input_schema", "name", "output_schema", "text_field")

    def __init__(
        self,
        *,
        name: str,
        description: str,
        input_schema: dict[str, Any],
        output_schema: dict[str, Any],
        text_field: str | None,
        built_in: bool,
        comparison: Comparison = WHOLE,
    ) -> None:
        self.name = name
        self.description = description
        self.input_schema = input_schema
        self.output_schema = output_schema
        self.text_field = text_field
        self.built_in = built_in
        self.comparison = comparison

    @abstractmethod
    def decode_input(self, raw: bytes | msgspec.Raw) -> Any:
        """
        The input that a caller sent, defaults filled in.

        Raises:
            BadRequestError: It is not valid; names the path and what was expected, never what stood there.
        """

    @abstractmethod
    def check_output(self, given: Any, output: Any) -> msgspec.Raw:
        """
        The output as JSON, valid for this capability and this input.

        Args:
            given: What `decode_input` returned.
            output: A Struct or JSON data. `msgspec.Raw` means JSON that a backend has already validated (by this
                method, or by making it so): it is passed through unread.

        Raises:
            AttemptError: INVALID_OUTPUT; names the path and what was expected, fit for a repair prompt.
        """

    @abstractmethod
    def check_form(self, output: msgspec.Raw) -> None:
        """
        See that somebody else's output is one of this capability, as far as that can be told without its input.

        Raises:
            AttemptError: INVALID_OUTPUT; as `check_output`.
        """
