"""The capabilities that Flotilla brings: typed by the wire's Structs."""

from typing import Any, Final

import msgspec

from flotilla.capabilities.agreement import BUILT_IN_COMPARISONS, WHOLE
from flotilla.capabilities.capability import Capability
from flotilla.capabilities.inputs import INPUT_CHECKS
from flotilla.capabilities.json_schema import canonical, decode_json, encode_json, flaw_of, refuse_input, refuse_output
from flotilla.capabilities.outputs import FORM_CHECKS, OUTPUT_CHECKS
from flotilla.contracts.capabilities import BUILT_IN, TEXT_FIELDS, EmbedOutput
from flotilla.contracts.decoding import UNDECODABLE, with_readable_numbers
from flotilla.contracts.redaction import LOCAL_CAPABILITIES

TYPES: Final = {**BUILT_IN, **LOCAL_CAPABILITIES}
"""The input's and the output's type by capability; no user's own may take one of these names."""

DESCRIPTIONS: Final[dict[str, str]] = {
    "classify": "Choose the label that fits a document, or with `multi` every one that applies.",
    "extract-entities": "Find persons, organizations, dates, amounts and the like, with their offsets.",
    "summarize": "Say what a document says, shorter.",
    "synthesize": "Write one report from several sources.",
    "translate": "Translate a text.",
    "embed": "Turn texts into vectors.",
    "generate-code": "Write code.",
    "reason": "Answer a question that needs thought.",
    "chat": "Write the next message of a conversation.",
    "redact": "Replace personal data by placeholders that a vault can undo; local zone only.",
    "restore": "Put a vault's values back in place of its placeholders; local zone only.",
    "vault": "List the vaults of the scope, or forget one; local zone only.",
}


class BuiltInCapability(Capability):
    """One of `TYPES`."""

    __slots__ = (
        "_check_form",
        "_check_input",
        "_check_output",
        "_decode_input",
        "_decode_output",
        "_output_type",
        "_takes_any",
    )

    def __init__(self, name: str) -> None:
        input_type, output_type = TYPES[name]
        super().__init__(
            name=name,
            description=DESCRIPTIONS[name],
            input_schema=msgspec.json.schema(input_type),
            output_schema=msgspec.json.schema(output_type),
            text_field=TEXT_FIELDS.get(name),
            built_in=True,
            comparison=BUILT_IN_COMPARISONS.get(name, WHOLE),
        )
        self._decode_input = msgspec.json.Decoder(input_type).decode
        self._decode_output = msgspec.json.Decoder(output_type).decode
        self._check_input = INPUT_CHECKS[name]
        self._check_output = OUTPUT_CHECKS[name]
        self._check_form = FORM_CHECKS[name]
        self._output_type = output_type
        # The others' inputs are texts.
        self._takes_any = name in LOCAL_CAPABILITIES

    def decode_input(self, raw: bytes | msgspec.Raw) -> Any:
        """One decode into the input's Struct, then what a type cannot say."""
        try:
            given = self._decode_input(with_readable_numbers(bytes(raw)) if self._takes_any else raw)
        except UNDECODABLE as error:
            flaw = flaw_of(error)
            refuse_input(flaw.path, flaw.expected)
        self._check_input(given)
        return given

    def check_output(self, given: Any, output: Any) -> msgspec.Raw:
        """Encode, decode as the output's Struct, check against the input, mend what is safe to mend."""
        if isinstance(output, msgspec.Raw):
            return output
        if isinstance(output, EmbedOutput) and self._output_type is EmbedOutput:
            # Millions of numbers are not encoded and decoded again only to see that they are numbers.
            return msgspec.Raw(canonical(self._check_output(given, output)))
        try:
            decoded = self._decode_output(canonical(output))
        except UNDECODABLE as error:
            flaw = flaw_of(error)
            refuse_output(flaw.path, flaw.expected)
        return msgspec.Raw(canonical(self._check_output(given, decoded)))

    def check_form(self, output: msgspec.Raw) -> None:
        """One decode as the output's Struct, then what a type cannot say."""
        try:
            encoded = with_readable_numbers(bytes(output))
            decoded = self._decode_output(encoded)
            if encode_json(decoded) != encoded:
                # Written in another way, or with fields of a later version, which are passed over above.
                decode_json(encoded)
        except UNDECODABLE as error:
            flaw = flaw_of(error)
            refuse_output(flaw.path, flaw.expected)
        self._check_form(decoded)
