"""Spans of a text, and the union of what several layers found."""

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import NamedTuple

from flotilla.privacy.types import strength


class Span(NamedTuple):
    """
    A piece of a text that is personal data.

    A page has hundreds, and a named tuple is made in a third of the time of a dataclass.

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
    weight, begin, end = (0, 0), 0, 0
    for span in in_order(spans):
        start, last, name, _, _ = span
        if start < end:
            own = strength(name), last - start
            if own > weight:
                named_by, weight = span, own
            end = max(end, last)
            continue
        if named_by is not None:
            merged.append(_over(named_by, begin, end))
        named_by, weight, begin, end = span, (strength(name), last - start), start, last
    if named_by is not None:
        merged.append(_over(named_by, begin, end))
    return merged


def in_order(spans: Iterable[Span]) -> list[Span]:
    """By their beginning, the longer one first of those that begin together."""
    # Each sort keeps the order of the one before; a key of two numbers takes twice as long.
    return sorted(sorted(spans, key=itemgetter(1), reverse=True), key=itemgetter(0))


def _over(span: Span, start: int, end: int) -> Span:
    """A span from another place to another one."""
    return span if span[0] == start and span[1] == end else Span(start, end, span.type, span.layer, span.score)


def covered(spans: Sequence[Span], length: int) -> bytearray:
    """One byte per character of a text of that length: 1 where a span covers it."""
    cover = bytearray(length)
    for span in spans:
        cover[span.start : span.end] = b"\1" * (span.end - span.start)
    return cover
