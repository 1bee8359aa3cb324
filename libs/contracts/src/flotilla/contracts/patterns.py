"""
The patterns of fields, each with the words for people: a complaint says what is expected, never a regular expression.

msgspec quotes the pattern that a text does not match; `in_words` puts the words in its place.
"""

import re
from typing import Final

_WORDS: Final[dict[str, str]] = {}
"""By the pattern as msgspec quotes it."""
_QUOTED: Final = re.compile(r"`str` matching regex ('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")")


def pattern(expression: str, words: str) -> str:
    """
    Give a pattern its words.

    Args:
        expression: The regular expression, for `Meta(pattern=...)`.
        words: What it takes, as it stands behind "expected".

    Returns:
        The expression.
    """
    _WORDS[repr(expression)] = words
    return expression


def in_words(complaint: str) -> str:
    """The text of a `msgspec.ValidationError`, with words in the place of its pattern."""
    return _QUOTED.sub(lambda match: _WORDS.get(match[1], "text of another form"), complaint)
