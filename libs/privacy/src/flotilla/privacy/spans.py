"""Spans of a text, and the union of what several layers found."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from flotilla.privacy.types import strength


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """
    A piece of a text that is personal data.

    Attributes:
        start: Of the first character; offsets count code points.
        end: After the last character.
        type: One of `types.TYPES`, or a type of one's own.
        layer: Name of the layer that found it.
        score: How sure the layer is, 0 to 1; what a policy's threshold is compared with.
    """

    start: int
    end: int
    type: str
    layer: str = ""
    score: float = 1.0


def union(spans: Iterable[Span]) -> list[Span]:
    """
    Merge overlapping spans: each merged span covers all of its parts, and has the type of the strongest one.

    Spans that only touch stay apart. Of equal strength, the longer one names the type, then the earlier one.

    Returns:
        Spans without overlaps, in the order of the text.
    """
    merged: list[Span] = []
    named_by: Span | None = None
    for span in sorted(spans, key=lambda each: (each.start, -each.end)):
        if merged and named_by is not None and span.start < merged[-1].end:
            last = merged[-1]
            named_by = max(named_by, span, key=_weight)
            merged[-1] = replace(named_by, start=last.start, end=max(last.end, span.end))
        else:
            named_by = span
            merged.append(span)
    return merged


def _weight(span: Span) -> tuple[int, int]:
    return strength(span.type), span.end - span.start


def covered(spans: Sequence[Span], length: int) -> bytearray:
    """One byte per character of a text of that length: 1 where a span covers it."""
    cover = bytearray(length)
    for span in spans:
        cover[span.start : span.end] = b"\1" * (span.end - span.start)
    return cover
