"""Layers that others wrote: a function named in the settings, and a model that names entities."""

import importlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, cast

from flotilla.privacy.errors import LayerMissingError
from flotilla.privacy.layers import Function, Guarded
from flotilla.privacy.spans import Span

_REFERENCE: Final = re.compile(r"[A-Za-z_][\w.]{0,200}:[A-Za-z_]\w{0,100}")
Find = Callable[[str], Iterable[Span | tuple[int, int, str]]]
ENTITIES_MAX: Final = 10_000
ENTITY_LENGTH_MIN: Final = 2
ENTITY_LENGTH_MAX: Final = 1_000
# What models call the kinds of entities; None for those that are not personal.
TYPES_OF_ENTITIES: Final[dict[str, str | None]] = {
    "person": "PERSON",
    "name": "PERSON",
    "organization": "ORG",
    "organisation": "ORG",
    "company": "ORG",
    "location": "PLACE",
    "place": "PLACE",
    "city": "PLACE",
    "country": "PLACE",
    "address": "ADDRESS",
    "date": "DATE",
    "time": "DATE",
    "age": "AGE",
    "email": "EMAIL",
    "url": "URL",
    "phone": "PHONE",
    "nationality": "GROUP",
    "religion": "GROUP",
    "id": "ID",
    "account": "ACCOUNT",
    "amount": None,
    "money": None,
    "quantity": None,
    "percent": None,
    "product": None,
    "event": None,
}


def plugin(reference: str, *, timeout_s: float) -> Guarded:
    """
    A function as a layer with a deadline, by "package.module:function".

    The function takes a text and gives spans, or tuples of start, end and type.

    Raises:
        LayerMissingError: there is no such module or function.
    """
    if not _REFERENCE.fullmatch(reference):
        raise LayerMissingError(reference[:100], "is to be named as package.module:function")
    module_name, _, name = reference.partition(":")
    problem = ""
    function: Any = None
    try:
        function = getattr(importlib.import_module(module_name), name, None)
    except Exception as error:  # noqa: BLE001 - a module may raise anything while it is imported
        problem = f"cannot be imported ({type(error).__name__}): install it beside the worker"
    if not problem and not callable(function):
        problem = f"is no function of {module_name}"
    if problem:
        raise LayerMissingError(reference, problem)
    return Guarded(Function(reference, cast("Find", function)), timeout_s=timeout_s)


@dataclass(frozen=True, slots=True)
class Entities:
    """
    A model that names the entities of a text as a layer; run it `Guarded`.

    Every place where an entity's text stands is a span; what the text does not contain is the model's invention and
    left out. A kind that is not in `TYPES_OF_ENTITIES` counts as a person: more is redacted, not less.

    Attributes:
        name: How errors and reports call it.
        ask: Gives kind and text of each entity.
        score: How sure its spans are.
    """

    name: str
    ask: Callable[[str], Iterable[tuple[str, str]]]
    score: float = 0.7

    def find(self, text: str, language: str) -> Iterator[Span]:  # noqa: ARG002 - the model sees it
        """The spans of a text."""
        for count, (kind, value) in enumerate(self.ask(text)):
            if count >= ENTITIES_MAX:
                raise ValueError("more entities than a document has")
            name = TYPES_OF_ENTITIES.get(kind.lower(), "PERSON")
            if name is None or not ENTITY_LENGTH_MIN <= len(value.strip()) <= ENTITY_LENGTH_MAX:
                continue
            for match in re.finditer(rf"(?<!\w){re.escape(value.strip())}(?!\w)", text):
                yield Span(start=match.start(), end=match.end(), type=name, layer=self.name, score=self.score)
