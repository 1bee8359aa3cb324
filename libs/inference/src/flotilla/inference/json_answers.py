"""The JSON in a model's text, whatever else the model has written around it."""

import re
from collections.abc import Iterator
from typing import Any, Final

from flotilla.capabilities.json_schema import decode_json, refuse_output
from flotilla.contracts.decoding import UNDECODABLE
from flotilla.inference.lenient_json import loads_clean, whole_characters
from flotilla.inference.thoughts import without_thoughts

_FENCED: Final = re.compile(r"```[a-zA-Z]*\s*\n(.*?)\n?```", re.DOTALL)


def json_in(text: str) -> Any:  # noqa: RET503  (the last line raises)
    """
    The JSON value in a model's text.

    Models that cannot be held to a schema wrap JSON in a fence, or write thoughts or a sentence around it; what is
    tried, in this order: the text, the text after its thoughts, the first fenced block, from the first brace to the
    last; then all of them again as JSON that is not quite JSON.

    Raises:
        AttemptError: INVALID_OUTPUT: there is none.
    """
    for decode in (decode_json, loads_clean):
        for candidate in _candidates(text):
            try:
                return decode(candidate.encode())
            except UNDECODABLE:
                continue
    refuse_output("$", "expected one JSON object and nothing else")


def _candidates(text: str) -> Iterator[str]:
    text = whole_characters(text)
    yield text
    text = without_thoughts(text)
    yield text
    if fenced := _FENCED.search(text):
        yield fenced.group(1)
    start, end = text.find("{"), text.rfind("}")
    if 0 <= start < end:
        yield text[start : end + 1]
