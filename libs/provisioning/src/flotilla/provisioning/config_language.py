"""The language of nats-server's configuration files, as far as `server_config.py` writes it."""

from collections.abc import Mapping
from typing import Any

from flotilla.provisioning.errors import ServerSpecError


def block(values: Mapping[str, Any], depth: int = 0) -> str:
    """
    Settings one under the other, nested blocks and lists included.

    Raises:
        ServerSpecError: A value has no form in the language, or a text a character that cannot be printed.
    """
    indent = "  " * depth
    return "".join(f"{indent}{_quoted(key)}: {_value(value, depth)}\n" for key, value in values.items())


def _value(value: Any, depth: int) -> str:
    indent = "  " * depth
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str():
            return _quoted(value)
        case Mapping():
            return f"{{\n{block(value, depth + 1)}{indent}}}"  # pyright: ignore[reportUnknownArgumentType]
        case list():
            items = "".join(f"{indent}  {_value(item, depth + 1)}\n" for item in value)  # pyright: ignore[reportUnknownVariableType]
            return f"[\n{items}{indent}]"
        case _:
            raise ServerSpecError(f"a value of type {type(value).__name__} has no form in the configuration")


def _quoted(text: str) -> str:
    """A string that stands for itself: inside double quotes only the backslash and the quote have a meaning."""
    if not text.isprintable():
        raise ServerSpecError("a name or path holds a character that cannot be printed")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
