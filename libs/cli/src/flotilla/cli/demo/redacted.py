"""A redacted text, as the demo shows it: its placeholders, and at home the values that they stand for."""

import re
from collections import Counter
from typing import Final

_PLACEHOLDER: Final = re.compile(r"\[([A-Z]{2,16})_\d+_[A-Z0-9]+\]")


def unseen(redacted: str) -> Counter[str]:
    """How many values of each type stand in a redacted text as placeholders, each counted once."""
    return Counter(kind for kind, _ in {(found[1], found[0]) for found in _PLACEHOLDER.finditer(redacted)})


def parts_of(redacted: str) -> list[tuple[str, bool]]:
    """A redacted text in parts, each with whether it is a placeholder."""
    parts: list[tuple[str, bool]] = []
    end = 0
    for found in _PLACEHOLDER.finditer(redacted):
        parts += [(redacted[end : found.start()], False), (found[0], True)]
        end = found.end()
    return [part for part in (*parts, (redacted[end:], False)) if part[0]]


def values_at_home(original: str, redacted: str) -> dict[str, str]:
    """
    What each placeholder stands for, by laying the redacted text over the original, in the order of the text.

    Ends where the two do not fit on each other; of two placeholders side by side neither is told.
    """
    found: dict[str, str] = {}
    at = 0
    open_: list[str] = []
    for part, is_placeholder in (*parts_of(redacted), ("", False)):
        if is_placeholder:
            open_.append(part)
            continue
        begin = original.find(part, at) if part else len(original)
        if begin < 0:
            break
        if len(open_) == 1:
            found.setdefault(open_[0], original[at:begin])
        at, open_ = begin + len(part), []
    return found
