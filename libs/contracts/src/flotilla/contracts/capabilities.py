"""
The built-in capabilities: a type for the input and the output of each.

The JSON Schemas that models are asked to follow are derived from these types, so there is one definition of each.
"""

from typing import Annotated, Final

from msgspec import Meta, Struct

from flotilla.contracts.patterns import pattern

Text = Annotated[str, Meta(min_length=1)]
Label = Annotated[str, Meta(min_length=1, max_length=200)]
Fraction = Annotated[float, Meta(ge=0.0, le=1.0)]


class NamedLabel(Struct, frozen=True, kw_only=True):
    """A class with a description that helps a model choose it."""

    name: Label
    description: str = ""


class ClassifyInput(Struct, frozen=True, kw_only=True):
    """`multi` asks for every label that applies instead of the best one."""

    document: Text
    labels: Annotated[list[Label | NamedLabel], Meta(min_length=1, max_length=500)]
    multi: bool = False


class ClassifyOutput(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`label`, or with `multi` `labels`; every one of them is among those of the input."""

    label: str | None = None
    labels: list[str] | None = None
    confidence: Fraction
    rationale: str | None = None


class ExtractEntitiesInput(Struct, frozen=True, kw_only=True):
    """`types` narrows what is looked for."""

    document: Text
    types: Annotated[list[Label], Meta(max_length=100)] | None = None


class Entity(Struct, frozen=True, kw_only=True):
    """`document[start:end] == text`, counted in characters (Unicode code points)."""

    type: Label
    text: Text
    start: Annotated[int, Meta(ge=0)]
    end: Annotated[int, Meta(ge=0)]


class ExtractEntitiesOutput(Struct, frozen=True, kw_only=True):
    """The entities in the order of the document."""

    entities: list[Entity]


class SummarizeInput(Struct, frozen=True, kw_only=True):
    """`max_words` is a bound that the summary is asked to keep."""

    document: Text
    max_words: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    style: Annotated[str, Meta(max_length=500)] | None = None


class SummarizeOutput(Struct, frozen=True, kw_only=True):
    """The summary as plain text."""

    summary: Text


class Source(Struct, frozen=True, kw_only=True):
    """A titled source of a synthesis."""

    title: str
    text: Text


class SynthesizeInput(Struct, frozen=True, kw_only=True):
    """`instruction` says what the report is for."""

    sources: Annotated[list[Text | Source], Meta(min_length=1, max_length=1000)]
    instruction: str | None = None


class SynthesizeOutput(Struct, frozen=True, kw_only=True):
    """The report as text."""

    report: Text


class TranslateInput(Struct, frozen=True, kw_only=True):
    """Languages as BCP 47 tags (`de`, `pt-BR`)."""

    text: Text
    target: Annotated[str, Meta(min_length=2, max_length=35)]
    source: Annotated[str, Meta(min_length=2, max_length=35)] | None = None


class TranslateOutput(Struct, frozen=True, kw_only=True):
    """The translation, and the language it was made from."""

    text: Text
    source: str


class EmbedInput(Struct, frozen=True, kw_only=True):
    """Texts to embed, in order."""

    texts: Annotated[list[Text], Meta(min_length=1, max_length=2048)]


class EmbedOutput(Struct, frozen=True, kw_only=True):
    """One vector per text, in the order of the input, each of `dimensions` numbers."""

    vectors: list[list[float]]
    dimensions: Annotated[int, Meta(ge=1)]


class GenerateCodeInput(Struct, frozen=True, kw_only=True):
    """`context` is code or notes that the answer builds on."""

    instruction: Text
    language: Annotated[str, Meta(min_length=1, max_length=50)]
    context: str | None = None


class GenerateCodeOutput(Struct, frozen=True, kw_only=True):
    """The code without fences around it."""

    code: Text
    language: str


class ReasonInput(Struct, frozen=True, kw_only=True):
    """A question, and what is known."""

    question: Text
    context: str | None = None


class ReasonOutput(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer, and why."""

    answer: Text
    rationale: str | None = None


class ChatMessage(Struct, frozen=True, kw_only=True):
    """`role` is `system`, `user` or `assistant`."""

    role: Annotated[str, Meta(pattern=pattern("^(system|user|assistant)$", "system, user or assistant"))]
    content: str


class ChatInput(Struct, frozen=True, kw_only=True):
    """A conversation and how to sample its next message."""

    messages: Annotated[list[ChatMessage], Meta(min_length=1, max_length=1000)]
    temperature: Annotated[float, Meta(ge=0.0, le=2.0)] | None = None
    top_p: Annotated[float, Meta(ge=0.0, le=1.0)] | None = None
    max_tokens: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    stop: Annotated[list[str], Meta(max_length=8)] | None = None


class ChatOutput(Struct, frozen=True, kw_only=True):
    """The next message of the conversation."""

    message: ChatMessage


BUILT_IN: Final[dict[str, tuple[type[Struct], type[Struct]]]] = {
    "classify": (ClassifyInput, ClassifyOutput),
    "extract-entities": (ExtractEntitiesInput, ExtractEntitiesOutput),
    "summarize": (SummarizeInput, SummarizeOutput),
    "synthesize": (SynthesizeInput, SynthesizeOutput),
    "translate": (TranslateInput, TranslateOutput),
    "embed": (EmbedInput, EmbedOutput),
    "generate-code": (GenerateCodeInput, GenerateCodeOutput),
    "reason": (ReasonInput, ReasonOutput),
    "chat": (ChatInput, ChatOutput),
}

TEXT_FIELDS: Final[dict[str, str]] = {
    "summarize": "summary",
    "synthesize": "report",
    "translate": "text",
    "generate-code": "code",
    "reason": "answer",
    "chat": "message.content",
    "restore": "document",
}
"""
Which field of the output the pieces of a streamed answer concatenate to.

A capability that is not listed streams its output as JSON text: one piece, once it has been validated.
"""
