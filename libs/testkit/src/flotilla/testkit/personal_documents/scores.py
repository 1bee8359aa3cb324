"""How well layers find labelled personal data: by character, whatever the type, and by document."""

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from flotilla.privacy.layers import Layer, find_spans
from flotilla.privacy.spans import covered
from flotilla.testkit.personal_documents.generator import Document


@dataclass(slots=True)
class Score:
    """
    Counts of characters and documents.

    Attributes:
        found: Labelled characters that a span covers.
        missed: Labelled characters that none covers.
        extra: Characters without a label that a span covers.
        documents: How many were read.
        leaking: How many of them kept a value, or a part of one.
        by_type: Found and all characters of each label.
        length: Characters read.
        spent_s: CPU time.
    """

    found: int = 0
    missed: int = 0
    extra: int = 0
    documents: int = 0
    leaking: int = 0
    by_type: dict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    length: int = 0
    spent_s: float = 0.0

    @property
    def precision(self) -> float:
        """What share of the covered characters is labelled."""
        return self.found / max(1, self.found + self.extra)

    @property
    def recall(self) -> float:
        """What share of the labelled characters is covered."""
        return self.found / max(1, self.found + self.missed)

    @property
    def f2(self) -> float:
        """The mean of both that counts recall four times."""
        return 5 * self.precision * self.recall / max(1e-9, 4 * self.precision + self.recall)

    @property
    def leak_rate(self) -> float:
        """What share of the documents kept a value."""
        return self.leaking / max(1, self.documents)

    @property
    def ms_per_kb(self) -> float:
        """CPU time for a thousand characters, in milliseconds."""
        return self.spent_s * 1e6 / max(1, self.length)

    def add(self, document: Document, layers: Sequence[Layer]) -> None:
        """Count one more document."""
        began = time.thread_time()
        spans = find_spans(document.text, layers, language=document.language)
        self.spent_s += time.thread_time() - began
        self.length += len(document.text)
        cover = covered(spans, len(document.text))
        labels = bytearray(len(document.text))
        leaks = False
        for start, end, name in document.spans:
            labels[start:end] = b"\1" * (end - start)
            found = sum(cover[start:end])
            counts = self.by_type[name]
            counts[0] += found
            counts[1] += end - start
            leaks = leaks or found < end - start
        both = sum(one & two for one, two in zip(cover, labels, strict=True))
        self.found += both
        self.missed += sum(labels) - both
        self.extra += sum(cover) - both
        self.documents += 1
        self.leaking += leaks


def scored(documents: Iterable[Document], layers: Sequence[Layer]) -> Score:
    """The score of layers on documents."""
    score = Score()
    for document in documents:
        score.add(document, layers)
    return score
