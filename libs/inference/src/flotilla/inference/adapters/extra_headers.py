"""
Headers that a gateway before a provider wants of its own: a key of the gateway, a team, a route.

They are the operator's, and may be secrets: what is wrong with them is said by line and name, and no value is repeated.
"""

import re
from pathlib import Path
from typing import Final

HEADERS_SETTING: Final = "FLOTILLA_PROVIDER_HEADERS"
FILE_SETTING: Final = "FLOTILLA_PROVIDER_HEADERS_FILE"
HEADERS_MAX: Final = 32
VALUE_CHARS_MAX: Final = 8_192
FILE_BYTES_MAX: Final = 65_536

_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,62}[A-Za-z0-9])?")
_VALUE: Final = re.compile(rf"[\x20-\x7e]{{1,{VALUE_CHARS_MAX}}}")
_OWNED: Final = re.compile(
    "(?:host|connection|keep-alive|te|trailer|upgrade|expect|range|authorization|user-agent|anthropic-version)"
    "|(?:accept|content|transfer|proxy|x-stainless)(?:-.*)?"
)
"""What HTTP, the protocol and the key's own variable say; a second voice would change what a request is."""


def extra_headers(text: str | None, file: Path | None) -> dict[str, str]:
    """
    The headers of `FLOTILLA_PROVIDER_HEADERS`, or those in the file that `FLOTILLA_PROVIDER_HEADERS_FILE` names.

    Args:
        text: `Name: value`, a line each; empty lines and those that begin with `#` do not count.
        file: Has the same.

    Returns:
        Values by name, as they were written; empty where none are wanted.

    Raises:
        ValueError: Both are given, the file cannot be read, or a line is no header that may be added; begins with the
            name of the setting, and repeats no value.
    """
    if text is not None and file is not None:
        raise ValueError(f"{HEADERS_SETTING} and {FILE_SETTING}: expected one of them")
    if file is None:
        return _read(text or "", HEADERS_SETTING)
    try:
        with file.open("rb") as opened:
            content = opened.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ValueError(f"{FILE_SETTING}: {file}: {error.strerror or type(error).__name__}") from error
    if len(content) > FILE_BYTES_MAX:
        raise ValueError(f"{FILE_SETTING}: {file}: longer than {FILE_BYTES_MAX} bytes")
    return _read(content.decode("utf-8", errors="replace"), f"{FILE_SETTING}: {file}")


def _read(text: str, where: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, colon, value = (part.strip(" \t\r") for part in line.partition(":"))
        if not (colon and _NAME.fullmatch(name)):
            raise ValueError(
                f"{where}: line {number}: expected a header, `Name: value`, whose name has letters, digits, - and _"
            )
        if _OWNED.fullmatch(name.lower()):
            raise ValueError(f"{where}: line {number}: {name} is not for this setting: the worker sets it itself")
        if not _VALUE.fullmatch(value):
            raise ValueError(
                f"{where}: line {number}: expected 1 to {VALUE_CHARS_MAX} printable ASCII characters behind {name}:"
            )
        if name.lower() in (known.lower() for known in found) or len(found) >= HEADERS_MAX:
            raise ValueError(f"{where}: line {number}: expected at most {HEADERS_MAX} headers, each once")
        found[name] = value
    return found
