"""
Where entities stand in their document.

Models find entities well and count characters badly, so an entity's offsets are taken as a hint: they stay when the
document says the same there, and are looked up otherwise.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, NoReturn

from flotilla.capabilities.json_schema import refuse_output
from flotilla.contracts.capabilities import Entity

INVENTED_FRACTION_MAX: Final = 0.5
"""More entities than this that stand nowhere in the document fail the output; fewer are left out of it."""

_SPACES = re.compile(r"\s+")


class _Span(NamedTuple):
    start: int
    end: int


def located(document: str, entities: Sequence[Entity], types: Sequence[str] | None) -> list[Entity]:
    """
    The entities with offsets that hold, in the order of the document, none twice.

    Looked for exactly first, then with any run of white space for another (models join broken lines), then in other
    capitals; the text is then the document's own. An entity named n times gets the first n occurrences. One of a type
    that was not asked for is left out, and so is one that does not occur.

    Raises:
        AttemptError: INVALID_OUTPUT: more than INVENTED_FRACTION_MAX of them do not occur in the document.
    """
    asked = {name.strip().casefold(): name for name in types} if types else None
    wanted = [entity for entity in entities if asked is None or entity.type.strip().casefold() in asked]
    found: dict[tuple[str, int, int], Entity] = {}
    invented: list[int] = []
    searches: dict[tuple[str, str], Iterator[_Span]] = {}
    for index, entity in enumerate(wanted):
        name = entity.type if asked is None else asked[entity.type.strip().casefold()]
        span = _hinted(document, entity)
        if span is None:
            key = (name, entity.text)
            if key not in searches:
                searches[key] = _occurrences(document, entity.text)
                span = next(searches[key], None)
                if span is None:
                    invented.append(index)
            else:
                span = next(searches[key], None)
        if span is not None:
            text = document[span.start : span.end]
            found[name, span.start, span.end] = Entity(type=name, text=text, start=span.start, end=span.end)
    if len(invented) > INVENTED_FRACTION_MAX * len(wanted):
        _refuse_invented(invented[0])
    return sorted(found.values(), key=lambda entity: (entity.start, entity.end, entity.type))


def _refuse_invented(index: int) -> NoReturn:
    refuse_output(f"$.entities[{index}].text", "expected text copied exactly from the document")


def _hinted(document: str, entity: Entity) -> _Span | None:
    if entity.start < entity.end <= len(document) and document[entity.start : entity.end] == entity.text:
        return _Span(entity.start, entity.end)
    return None


def _occurrences(document: str, text: str) -> Iterator[_Span]:
    words = _SPACES.split(text.strip())
    if not words[0]:
        return
    exact = r"\s+".join(re.escape(word) for word in words)
    edged = (r"(?<!\w)" if words[0][0].isalnum() else "") + exact + (r"(?!\w)" if words[-1][-1].isalnum() else "")
    # A whole word is meant before a part of one: "Ann" is not the beginning of "Annual".
    for pattern in (re.compile(edged), re.compile(exact), re.compile(exact, re.IGNORECASE)):
        if pattern.search(document):
            for match in pattern.finditer(document):
                yield _Span(match.start(), match.end())
            return
