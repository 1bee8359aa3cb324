"""The prompt of a user's own capability: the template of its file, filled with the input."""

from typing import Any

from flotilla.capabilities.json_schema import encode_json
from flotilla.capabilities.templates import fill
from flotilla.capabilities.user_defined import Template, UserCapability
from flotilla.inference.backend import Turn
from flotilla.inference.prompts.answer_bounds import OWN_TOKENS
from flotilla.inference.prompts.prompt import JSON_RULE, Prompt, StructuredReading, TextReading
from flotilla.inference.prompts.text_filters import TextFilter, Trimmed


def filled(capability: UserCapability, template: Template, given: dict[str, Any]) -> Prompt:
    """Fill the template. The output's schema is appended for models that are not held to it by their server."""
    system = fill(template.system, given)
    reading: StructuredReading | TextReading
    field = capability.text_field
    if field is None:
        reading = StructuredReading(schema=capability.output_schema)
        form = f"{JSON_RULE} It follows this JSON Schema: {encode_json(capability.output_schema).decode()}"
        system = f"{system}\n\n{form}".strip()
    else:

        def wrap(text: str, _filter: TextFilter) -> dict[str, str]:
            return {field: text}

        reading = TextReading(make_filter=Trimmed, wrap=wrap)
    return Prompt(
        system=system,
        turns=(Turn(role="user", content=fill(template.user, given)),),
        reading=reading,
        temperature=template.temperature,
        max_output_tokens=template.max_output_tokens or OWN_TOKENS,
    )
