"""
What a capability asks of a model. `embed` has no prompt, and neither has a user's own without a `[prompt]`.

Documents stand between tags that they cannot close, and the system message says that they are data.
"""

from collections.abc import Callable
from typing import Any, Final

from flotilla.capabilities.capability import Capability
from flotilla.capabilities.user_defined import UserCapability
from flotilla.inference.prompts.answering import chat, generate_code, reason
from flotilla.inference.prompts.prompt import Prompt, StructuredReading, TextReading
from flotilla.inference.prompts.reading_documents import classify, extract_entities
from flotilla.inference.prompts.user_templates import filled
from flotilla.inference.prompts.writing import summarize, synthesize, translate

__all__ = ["Prompt", "StructuredReading", "TextReading", "has_prompt", "prompt_of"]

_BUILT_IN: Final[dict[str, Callable[..., Prompt]]] = {
    "classify": classify,
    "extract-entities": extract_entities,
    "summarize": summarize,
    "synthesize": synthesize,
    "translate": translate,
    "generate-code": generate_code,
    "reason": reason,
    "chat": chat,
}
"""By capability: `(input, *, streaming: bool) -> Prompt`."""


def has_prompt(capability: Capability) -> bool:
    """Whether a chat model can serve a capability."""
    if isinstance(capability, UserCapability):
        return capability.template is not None
    return capability.name in _BUILT_IN


def prompt_of(capability: Capability, given: Any, *, streaming: bool) -> Prompt:
    """
    What to ask a model, for an input that the capability has decoded.

    Raises:
        LookupError: The capability has no prompt.
    """
    if isinstance(capability, UserCapability):
        if capability.template is None:
            raise LookupError(f"the capability {capability.name} has no prompt")
        return filled(capability, capability.template, given)
    return _BUILT_IN[capability.name](given, streaming=streaming)
