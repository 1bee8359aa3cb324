"""
Filters between a model's text and the caller, piece by piece.

Whether a text came whole or in pieces, the same filter reads it, so a streamed answer concatenates to exactly the field
of the result. A filter withholds what it cannot judge yet (trailing white space, a line that may close a fence).
"""

import re
from typing import Protocol

_FENCE = re.compile(r"\s*(`{3,})([^`]*)\Z")
_TAG_LINE = re.compile(r"\s*(?:[A-Za-z ]{1,20}:)?\s*[\"'`]?([A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8}){0,3})[\"'`]?\s*\Z")
_TAG_LINE_LENGTH_MAX = 80


class TextFilter(Protocol):
    """Decides, while one answer arrives, what of it is passed on."""

    def feed(self, text: str) -> str:
        """Take the next piece; give what can be passed on now, possibly nothing."""
        ...

    def end(self) -> str:
        """Give what was withheld and belongs to the answer."""
        ...


class Verbatim:
    """Passes everything on as it is."""

    def feed(self, text: str) -> str:
        """Take the next piece."""
        return text

    def end(self) -> str:
        """Nothing is withheld."""
        return ""


class Trimmed:
    """Takes off white space at both ends."""

    def __init__(self) -> None:
        self._held = ""
        self._begun = False

    def feed(self, text: str) -> str:
        """Take the next piece."""
        held = self._held + text
        if not self._begun:
            held = held.lstrip()
            self._begun = bool(held)
        shown = held.rstrip()
        self._held = held[len(shown) :]
        return shown

    def end(self) -> str:
        """What is withheld is white space."""
        self._held = ""
        return ""


class Unfenced:
    """
    Takes off one code fence around the whole text, and whatever is written after it.

    Works line by line: a line that may be a fence is withheld until it is complete.
    """

    def __init__(self) -> None:
        self._inner = Trimmed()
        self._line = ""
        self._depth = 0
        self._first = True
        self._fenced = False
        self._closed = False
        self._break = ""

    def feed(self, text: str) -> str:
        """Take the next piece."""
        return self._lines(self._inner.feed(text))

    def end(self) -> str:
        """Give the last line, unless it closes the fence."""
        shown = self._lines(self._inner.end())
        line, self._line = self._line, ""
        return shown if self._closed else shown + self._complete(line)

    def _lines(self, text: str) -> str:
        shown: list[str] = []
        self._line += text
        while not self._closed and (cut := self._line.find("\n")) >= 0:
            line, self._line = self._line[:cut], self._line[cut + 1 :]
            shown.append(self._complete(line))
            # The break is shown with the next line: the one before a closing fence belongs to the fence.
            if not (self._first and self._fenced):
                self._break += "\n"
            self._first = False
        if self._closed:
            self._line = ""
        return "".join(shown)

    def _complete(self, line: str) -> str:
        fence = _FENCE.fullmatch(line)
        if fence and self._first:
            self._fenced = True
            self._depth = 1
            return ""
        if fence and self._fenced:
            self._depth += 1 if fence.group(2).strip() else -1
            if self._depth == 0:
                self._closed = True
                return ""
        shown, self._break = self._break + line, ""
        return shown


class Headed:
    """
    Takes off the first line when it is a language tag, and keeps the tag.

    Attributes:
        tag: The BCP 47 tag of the first line; `und` (undetermined) when the text has no such line.
    """

    def __init__(self) -> None:
        self._inner = Trimmed()
        self._body = Trimmed()
        self._held = ""
        self._judged = False
        self.tag = "und"

    def feed(self, text: str) -> str:
        """Take the next piece."""
        return self._judge(self._inner.feed(text), at_end=False)

    def end(self) -> str:
        """Give the rest."""
        return self._judge(self._inner.end(), at_end=True) + self._body.end()

    def _judge(self, text: str, *, at_end: bool) -> str:
        if self._judged:
            return self._body.feed(text)
        self._held += text
        line, newline, rest = self._held.partition("\n")
        if not newline and len(line) <= _TAG_LINE_LENGTH_MAX and not at_end:
            return ""
        self._judged = True
        held, self._held = self._held, ""
        # A line that is all there is, is the translation: of "no" into Spanish, it is "no".
        tag = _TAG_LINE.fullmatch(line) if newline else None
        if tag is None:
            return self._body.feed(held)
        self.tag = tag.group(1)
        return self._body.feed(rest)
