"""A spaCy pipeline as a layer (extra `ner`); its model is installed on its own, by name or as a folder."""

import importlib
from collections.abc import Callable, Iterator
from typing import Any, Final

from flotilla.privacy.errors import LayerMissingError
from flotilla.privacy.spans import Span

# Labels of OntoNotes and of the smaller set that most other languages' models have.
TYPES_OF_LABELS: Final = {
    "PERSON": "PERSON",
    "PER": "PERSON",
    "GPE": "PLACE",
    "LOC": "PLACE",
    "FAC": "PLACE",
    "ORG": "ORG",
    "NORP": "GROUP",
    "DATE": "DATE",
    "TIME": "DATE",
}
# Not needed to recognise entities, and most of the time.
_EXCLUDED: Final = ("parser", "lemmatizer", "tagger", "morphologizer", "attribute_ruler", "senter")
_PIECE_LENGTH_MAX: Final = 100_000
_SCORE: Final = 0.85


class SpacyLayer:
    """
    The entities of a spaCy pipeline.

    Args:
        pipeline: Name or folder of an installed pipeline, or one that is loaded already.

    Raises:
        LayerMissingError: spaCy or the pipeline is not installed.
    """

    def __init__(self, pipeline: str | Callable[[str], Any], *, name: str = "spacy") -> None:
        self.name = name
        self._pipeline = _loaded(pipeline, name) if isinstance(pipeline, str) else pipeline

    def find(self, text: str, language: str) -> Iterator[Span]:  # noqa: ARG002 - a pipeline has its own
        """The spans of a text; one longer than the pipeline takes is read in pieces, cut at line ends."""
        start = 0
        while start < len(text):
            end = _cut(text, start)
            for entity in self._pipeline(text[start:end]).ents:
                kind = TYPES_OF_LABELS.get(entity.label_)
                if kind is not None:
                    yield Span(
                        start=start + entity.start_char,
                        end=start + entity.end_char,
                        type=kind,
                        layer=self.name,
                        score=_SCORE,
                    )
            start = end


def _cut(text: str, start: int) -> int:
    end = start + _PIECE_LENGTH_MAX
    if end >= len(text):
        return len(text)
    line_end = text.rfind("\n", start, end)
    return line_end + 1 if line_end > start else end


def _loaded(pipeline: str, name: str) -> Callable[[str], Any]:
    problem = ""
    try:
        spacy: Any = importlib.import_module("spacy")
    except ImportError:
        problem = "needs spaCy: install flotilla-privacy[ner]"
    else:
        try:
            return spacy.load(pipeline, exclude=_EXCLUDED)
        except OSError:
            problem = f"has no pipeline {pipeline!r}: install it, or give the folder where it is"
    raise LayerMissingError(name, problem)
