"""
What the built-in capabilities ask of a model. `embed` is missing: embeddings have no prompt.

Documents stand between tags that they cannot close, and the system message says that they are data.
"""

from collections.abc import Callable
from typing import Final

from flotilla.inference.prompts.answering import chat, generate_code, reason
from flotilla.inference.prompts.prompt import Prompt, StructuredReading, TextReading
from flotilla.inference.prompts.reading_documents import classify, extract_entities
from flotilla.inference.prompts.writing import summarize, synthesize, translate

__all__ = ["PROMPTS", "Prompt", "StructuredReading", "TextReading"]

PROMPTS: Final[dict[str, Callable[..., Prompt]]] = {
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
