"""
Prompt templates of users' own capabilities: text with `{field}` where a field of the input goes.

Substitution is one pass over the template, so braces in a document stay what they are. `{customer.name}` reaches into
objects; `{{field}}` stands for the text `{field}`; braces around anything that is not a field's name are plain text, so
a template can show JSON.
"""

import re
from collections.abc import Iterator
from typing import Any, Final, cast

from flotilla.capabilities.json_schema import encode_json

_FIELD: Final = re.compile(r"\{\{([A-Za-z_][\w.-]*)\}\}|\{([A-Za-z_][\w.-]*)\}")


def fields_of(template: str) -> Iterator[str]:
    """The fields that a template names, in order, as dotted paths."""
    for match in _FIELD.finditer(template):
        if match.group(2):
            yield match.group(2)


def fill(template: str, data: dict[str, Any]) -> str:
    """Put the fields of `data` into `template`: text as it is, anything else as JSON, what is missing as nothing."""

    def value(match: re.Match[str]) -> str:
        if match.group(1):
            return f"{{{match.group(1)}}}"
        found = _reach(data, match.group(2))
        if found is None:
            return ""
        return found if isinstance(found, str) else encode_json(found).decode()

    return _FIELD.sub(value, template)


def _reach(data: Any, path: str) -> Any:
    for part in path.split("."):
        if not isinstance(data, dict):
            return None
        data = cast("dict[str, Any]", data).get(part)
    return data
