"""Prompts of the capabilities that read a document and answer with data: classify and extract-entities."""

from typing import Any, Final, cast

from flotilla.capabilities.inputs import label_name
from flotilla.contracts.capabilities import ClassifyInput, ExtractEntitiesInput, NamedLabel
from flotilla.inference.prompts.answer_bounds import of_classification, of_entities
from flotilla.inference.prompts.prompt import DATA_RULE, JSON_RULE, Prompt, StructuredReading, ask, tagged

ENUM_LABELS_MAX: Final = 200
"""Providers bound the size of an enum; with more labels than this the check of the output alone holds the model."""

COMMON_TYPES: Final = (
    "person, organization, location, date, time, money, percentage, email, phone, url, address, identifier "
    "(numbers of invoices, orders, contracts, accounts), product"
)


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _choice(names: list[str], description: str) -> dict[str, Any]:
    choice: dict[str, Any] = {"type": "string", "description": description}
    if len(names) <= ENUM_LABELS_MAX:
        choice["enum"] = names
    return choice


def _label_line(label: str | NamedLabel) -> str:
    if isinstance(label, str) or not label.description:
        return f"- {label_name(label)}"
    return f"- {label.name}: {label.description}"


def classify(given: ClassifyInput, *, streaming: bool) -> Prompt:
    """
    Choose among the labels.

    The rationale stands first in the schema: a model that writes it first chooses better than one that defends a
    choice already made.
    """
    del streaming
    names = [label_name(label) for label in given.labels]
    task = (
        "Decide which of the labels apply to the document. Choose every label that clearly applies; none may apply."
        if given.multi
        else "Decide which one of the labels fits the document best. Choose exactly one, even when none fits well."
    )
    choice = (
        {"type": "array", "items": _choice(names, "a label that applies, spelt as given")}
        if given.multi
        else _choice(names, "the label that fits best, spelt as given")
    )
    field = "labels" if given.multi else "label"
    schema = _object(
        {
            "rationale": {"type": "string", "description": "one sentence: what in the document decides it"},
            field: choice,
            "confidence": {
                "type": "number",
                "minimum": 0,
                "maximum": 1,
                "description": "how sure you are, from 0 to 1",
            },
        }
    )
    return Prompt(
        **ask(
            [
                "You classify documents.",
                task,
                "Go by what the document is about and what its writer wants, not by single words.",
                "Give a confidence from 0 to 1 as you would bet on it: 0.5 when two labels fit equally well.",
                DATA_RULE,
                f"{JSON_RULE} Its properties: rationale (one sentence), {field}, confidence.",
            ],
            "Labels:\n" + "\n".join(_label_line(label) for label in given.labels),
            tagged("document", given.document),
        ),
        reading=StructuredReading(schema=schema),
        max_output_tokens=of_classification(given),
        temperature=0.0,
    )


def extract_entities(given: ExtractEntitiesInput, *, streaming: bool) -> Prompt:
    """Find entities; the model copies their text, the kit finds where it stands."""
    del streaming
    types = given.types or []
    kind: dict[str, Any] = _choice(types, "its type") if types else {"type": "string", "description": "its type"}
    entity = _object({"type": kind, "text": {"type": "string", "description": "copied exactly from the document"}})
    schema = _object({"entities": {"type": "array", "items": entity}})
    looked_for = (
        "Look for these types only:\n" + "\n".join(f"- {name}" for name in types)
        if types
        else f"Common types: {COMMON_TYPES}. Use another short lower-case name where none of them fits."
    )
    return Prompt(
        **ask(
            [
                "You extract entities from documents.",
                "List every mention in the order of the document, a repeated one each time that it is mentioned.",
                "Copy the text of an entity character by character: no corrections, no translation, no ellipsis.",
                "List nothing that is not in the document; an empty list is a good answer.",
                DATA_RULE,
                f'{JSON_RULE} Its form: {{"entities": [{{"type": "...", "text": "..."}}]}}',
            ],
            looked_for,
            tagged("document", given.document),
        ),
        reading=StructuredReading(schema=schema, shape=_with_offsets),
        max_output_tokens=of_entities(given),
        temperature=0.0,
    )


def _with_offsets(data: Any) -> Any:
    """Give every entity the offsets that the output's type asks for; the check puts the true ones in their place."""
    if not isinstance(data, dict):
        return data
    found: Any = cast("dict[str, Any]", data).get("entities")
    if not isinstance(found, list):
        return data  # pyright: ignore[reportUnknownVariableType]  # JSON of any shape
    return {"entities": [_placed(entity) for entity in cast("list[Any]", found)]}


def _placed(entity: Any) -> Any:
    if not isinstance(entity, dict):
        return entity
    known = cast("dict[str, Any]", entity)
    return {"start": 0, "end": 0, **known}
