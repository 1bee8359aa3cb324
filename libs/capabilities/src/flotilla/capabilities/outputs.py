"""
What the built-in capabilities ask of an output beyond its type, and the small mends that are safe to make.

Each check takes the input and the output Struct and returns the output to send: mended where the intention is beyond
doubt (a label in other capitals, offsets of a text that does stand in the document), else it raises
AttemptError(INVALID_OUTPUT) with the path and what was expected. A check of the form alone does without the input: it is
for whoever gets a ready output from somebody else.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec

from flotilla.capabilities.entity_offsets import located
from flotilla.capabilities.inputs import label_name
from flotilla.capabilities.json_schema import refuse_output
from flotilla.contracts.capabilities import (
    ChatOutput,
    ClassifyInput,
    ClassifyOutput,
    EmbedInput,
    EmbedOutput,
    ExtractEntitiesInput,
    ExtractEntitiesOutput,
    GenerateCodeOutput,
    ReasonOutput,
    SummarizeOutput,
    SynthesizeOutput,
    TranslateOutput,
)

_NOT_BLANK = "expected text that is not blank"


def _not_blank(text: str, path: str) -> None:
    if not text or text.isspace():
        refuse_output(path, _NOT_BLANK)


def _label_of(names: list[str], given: str, path: str) -> str:
    if given in names:
        return given
    folded = given.strip().casefold()
    same = [name for name in names if name.strip().casefold() == folded]
    if len(same) != 1:
        refuse_output(path, "expected one of the labels of the input")
    return same[0]


def _classify(given: ClassifyInput, output: ClassifyOutput) -> ClassifyOutput:
    names = [label_name(label) for label in given.labels]
    found = output.labels if output.labels is not None else [] if output.label is None else [output.label]
    if given.multi:
        if output.labels is None and output.label is None:
            refuse_output("$.labels", "expected a list with every label that applies")
        chosen = dict.fromkeys(_label_of(names, name, f"$.labels[{index}]") for index, name in enumerate(found))
        return msgspec.structs.replace(output, label=None, labels=list(chosen))
    if output.label is not None:
        return msgspec.structs.replace(output, label=_label_of(names, output.label, "$.label"), labels=None)
    if len(found) != 1:
        refuse_output("$.label", "expected one of the labels of the input")
    return msgspec.structs.replace(output, label=_label_of(names, found[0], "$.label"), labels=None)


def _classify_form(output: ClassifyOutput) -> None:
    if (output.label is None) == (output.labels is None):
        refuse_output("$", "expected either `label` or `labels`")


def _extract_entities(given: ExtractEntitiesInput, output: ExtractEntitiesOutput) -> ExtractEntitiesOutput:
    return ExtractEntitiesOutput(entities=located(given.document, output.entities, given.types))


def _extract_entities_form(output: ExtractEntitiesOutput) -> None:
    for index, entity in enumerate(output.entities):
        if entity.end - entity.start != len(entity.text):
            refuse_output(f"$.entities[{index}]", "expected the offsets of its text")


def _summarize(_given: Any, output: SummarizeOutput) -> SummarizeOutput:
    _not_blank(output.summary, "$.summary")
    return output


def _synthesize(_given: Any, output: SynthesizeOutput) -> SynthesizeOutput:
    _not_blank(output.report, "$.report")
    return output


def _translate(_given: Any, output: TranslateOutput) -> TranslateOutput:
    _not_blank(output.text, "$.text")
    _not_blank(output.source, "$.source")
    return output


def _embed(given: EmbedInput, output: EmbedOutput) -> EmbedOutput:
    if len(output.vectors) != len(given.texts):
        refuse_output("$.vectors", f"expected {len(given.texts)} vectors, one per text, got {len(output.vectors)}")
    _embed_form(output)
    return output


def _embed_form(output: EmbedOutput) -> None:
    for index, vector in enumerate(output.vectors):
        if len(vector) != output.dimensions:
            refuse_output(f"$.vectors[{index}]", f"expected {output.dimensions} numbers, got {len(vector)}")
        if not math.isfinite(sum(vector)):
            refuse_output(f"$.vectors[{index}]", "expected finite numbers")


def _generate_code(_given: Any, output: GenerateCodeOutput) -> GenerateCodeOutput:
    _not_blank(output.code, "$.code")
    return output


def _reason(_given: Any, output: ReasonOutput) -> ReasonOutput:
    _not_blank(output.answer, "$.answer")
    return output


def _chat(_given: Any, output: ChatOutput) -> ChatOutput:
    if output.message.role != "assistant":
        refuse_output("$.message.role", "expected `assistant`")
    return output


def _as_it_is(_given: Any, output: Any) -> Any:
    return output


OUTPUT_CHECKS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "classify": _classify,
    "extract-entities": _extract_entities,
    "summarize": _summarize,
    "synthesize": _synthesize,
    "translate": _translate,
    "embed": _embed,
    "generate-code": _generate_code,
    "reason": _reason,
    "chat": _chat,
    "redact": _as_it_is,
    "restore": _as_it_is,
    "vault": _as_it_is,
}
"""By capability."""

FORM_CHECKS: Final[dict[str, Callable[[Any], object]]] = {
    **{name: partial(check, None) for name, check in OUTPUT_CHECKS.items()},
    "classify": _classify_form,
    "extract-entities": _extract_entities_form,
    "embed": _embed_form,
}
"""By capability; the checks above where they do not look at the input."""
