"""
What a field takes, in words for people: a complaint says what is expected, without a regular expression or Python's types.

msgspec quotes the pattern that a text does not match, and names types as Python does; `in_words` puts words in their place.
"""

import re
from typing import Final

_WORDS: Final[dict[str, str]] = {}
"""By the pattern as msgspec quotes it."""
_TYPES: Final = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "bytes": "base64",
    "datetime": "a time (RFC 3339)",
}
"""By the name that msgspec has for it; any other stands as it is."""
_GOT: Final = {**_TYPES, "float": "a number with a fraction"}
_COUNTED: Final = {"str": "character", "array": "entry", "object": "entry", "bytes": "byte"}
"""What a length counts."""
_BOUNDS: Final = {">=": "at least ", "<=": "at most "}
_EXPECTED: Final = re.compile(
    r"Expected `(?P<kinds>[a-z]+(?: \| [a-z]+)*)`"
    r"(?: (?P<bound>>=|<=) (?P<number>[-+.e\d]+)"
    r"| of (?P<least>at least )?length (?:(?P<side>>=|<=) )?(?P<length>\d+)"
    r"| matching regex (?P<pattern>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"))?"
    r"(?P<rest>[^`]*?)(?:, got `(?P<got>[a-z]+)`)?(?= - at `|\Z)"
)


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
    """The text of a `msgspec.ValidationError`, with words in the place of its pattern and of its types."""
    match = _EXPECTED.match(complaint)
    if match is None:
        return complaint
    named = match["kinds"].split(" | ")
    expected = " or ".join(_TYPES.get(kind, kind) for kind in named)
    if match["pattern"]:
        expected = _WORDS.get(match["pattern"], "text of another form")
    elif match["bound"]:
        expected += f" of {_BOUNDS[match['bound']]}{match['number'].removesuffix('.0')}"
    elif match["length"]:
        bound = match["least"] or _BOUNDS.get(match["side"], "")
        expected += f" of {bound}{_count(match['length'], _COUNTED.get(named[0], 'entry'))}"
    got = f", got {_GOT.get(match['got'], match['got'])}" if match["got"] else ""
    return f"Expected {expected}{match['rest']}{got}{complaint[match.end() :]}"


def _count(length: str, noun: str) -> str:
    return f"{length} {noun if length == '1' else noun.replace('entry', 'entrie') + 's'}"
