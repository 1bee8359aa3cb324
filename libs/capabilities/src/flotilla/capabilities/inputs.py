"""What the built-in capabilities ask of an input beyond its type: nothing blank, nothing twice, something to answer."""

from collections.abc import Callable
from typing import Any, Final

from flotilla.capabilities.json_schema import refuse_input
from flotilla.contracts.capabilities import (
    ChatInput,
    ClassifyInput,
    EmbedInput,
    ExtractEntitiesInput,
    GenerateCodeInput,
    NamedLabel,
    ReasonInput,
    Source,
    SummarizeInput,
    SynthesizeInput,
    TranslateInput,
)
from flotilla.contracts.fields import is_bounded
from flotilla.contracts.redaction import RedactInput, RestoreInput, VaultInput

_NOT_BLANK = "expected text that is not blank"


def label_name(label: str | NamedLabel) -> str:
    """The name of a label, with or without a description."""
    return label if isinstance(label, str) else label.name


def source_text(source: str | Source) -> str:
    """The text of a source, titled or not."""
    return source if isinstance(source, str) else source.text


def _not_blank(text: str, path: str) -> None:
    if not text or text.isspace():
        refuse_input(path, _NOT_BLANK)


def _classify(given: ClassifyInput) -> None:
    _not_blank(given.document, "$.document")
    seen: set[str] = set()
    for index, label in enumerate(given.labels):
        name = label_name(label)
        _not_blank(name, f"$.labels[{index}]")
        if name in seen:
            refuse_input(f"$.labels[{index}]", "expected every label once")
        seen.add(name)


def _extract_entities(given: ExtractEntitiesInput) -> None:
    _not_blank(given.document, "$.document")
    for index, name in enumerate(given.types or ()):
        _not_blank(name, f"$.types[{index}]")


def _summarize(given: SummarizeInput) -> None:
    _not_blank(given.document, "$.document")


def _synthesize(given: SynthesizeInput) -> None:
    for index, source in enumerate(given.sources):
        _not_blank(source_text(source), f"$.sources[{index}]" + ("" if isinstance(source, str) else ".text"))


def _translate(given: TranslateInput) -> None:
    _not_blank(given.text, "$.text")
    _not_blank(given.target, "$.target")


def _embed(given: EmbedInput) -> None:
    for index, text in enumerate(given.texts):
        _not_blank(text, f"$.texts[{index}]")


def _generate_code(given: GenerateCodeInput) -> None:
    _not_blank(given.instruction, "$.instruction")
    _not_blank(given.language, "$.language")


def _reason(given: ReasonInput) -> None:
    _not_blank(given.question, "$.question")


def _chat(given: ChatInput) -> None:
    if all(message.role == "system" for message in given.messages):
        refuse_input("$.messages", "expected at least one message of the user or the assistant")


def _redact(given: RedactInput) -> None:
    if given.vault is not None and given.case is not None:
        refuse_input("$.case", "expected either `vault` or `case`")
    _bounded(given.document)


def _restore(given: RestoreInput) -> None:
    """Whether the vault is there, only a worker can say."""
    _bounded(given.document)


def _bounded(document: Any) -> None:
    """It is written again, which an integer of more digits cannot be."""
    if not is_bounded(document):
        refuse_input("$.document", "expected integers of 64 bits")


def _vault(given: VaultInput) -> None:
    if given.action == "forget" and (given.vault is None) == (given.case is None):
        refuse_input("$", "expected either `vault` or `case` to forget")


INPUT_CHECKS: Final[dict[str, Callable[[Any], None]]] = {
    "classify": _classify,
    "extract-entities": _extract_entities,
    "summarize": _summarize,
    "synthesize": _synthesize,
    "translate": _translate,
    "embed": _embed,
    "generate-code": _generate_code,
    "reason": _reason,
    "chat": _chat,
    "redact": _redact,
    "restore": _restore,
    "vault": _vault,
}
"""By capability; each takes the input Struct and raises BadRequestError with the path and what was expected."""
