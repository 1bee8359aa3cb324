"""
The header block of a task, read strictly.

Clients, the server and nats-py each read a block that is not quite right in a way of their own: they skip a line, take
the last of two, or strip a space from a name. What one of them passes over may have said `restricted`. So a block is read
here as its bytes stand, and one that is not exactly of the form below is refused, whatever it may have meant.

    NATS/1.0 CR LF
    name: value CR LF         any number of lines, at most HEADERS_MAX
    CR LF

A name is printable ASCII without a colon; nothing stands before it, or between it and its colon. A value is UTF-8
without control characters (tabs among them) or line separators; spaces around it do not count.
"""

import re
from typing import Final

from flotilla.contracts.errors import BadRequestError

BLOCK_BYTES_MAX: Final = 32 * 1024
HEADERS_MAX: Final = 128

_VERSION: Final = b"NATS/1.0\r\n"
_END: Final = b"\r\n"
_LINE: Final = rb"[!-9;-~]++:[ -~\x80-\xff]*+\r\n"
_BLOCK: Final = re.compile(rb"NATS/1\.0\r\n(?:" + _LINE + rb")*+\r\n")
_LINE_ALONE: Final = re.compile(_LINE)
_NOT_TEXT: Final = re.compile("[\x80-\x9f\u2028\u2029]")
"""Control characters and line separators beyond ASCII; those of ASCII are not in `_LINE`."""

Headers = tuple[tuple[str, str], ...]


def read_block(raw: bytes | None) -> Headers:
    """
    The names and values of a header block, in its order; empty for a message without one.

    Raises:
        BadRequestError: It is not of the form above, or longer than the bounds; says which line, never what stood there.
    """
    if not raw:
        return ()
    if len(raw) > BLOCK_BYTES_MAX:
        raise _refused("headers", f"at most {BLOCK_BYTES_MAX} bytes of headers")
    if _BLOCK.fullmatch(raw) is None:
        raise _malformed(raw)
    if len(raw) == len(_VERSION) + len(_END):
        return ()
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise _refused(f"header line {raw.count(_END, 0, error.start)}", "a value in UTF-8") from None
    if not text.isascii() and (found := _NOT_TEXT.search(text)) is not None:
        line = text.count("\r\n", 0, found.start())
        raise _refused(f"header line {line}", "a value without control characters and line separators")
    headers = [_header(line) for line in text[len(_VERSION) : -2 * len(_END)].split("\r\n")]
    if len(headers) > HEADERS_MAX:
        raise _refused("headers", f"at most {HEADERS_MAX} headers")
    return tuple(headers)


def _header(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name, value.strip(" ")


def _malformed(raw: bytes) -> BadRequestError:
    """Where the block leaves the form, for whoever wrote the client."""
    if not raw.startswith(_VERSION):
        return _refused("headers", "NATS/1.0 and CR LF, then one header a line")
    at, number = len(_VERSION), 1
    while (line := _LINE_ALONE.match(raw, at)) is not None:
        at, number = line.end(), number + 1
    if at == len(raw):
        return _refused("headers", "an empty line behind the last header")
    expected = (
        "a name, a colon, a value and CR LF; the name of printable ASCII without spaces, the value without control "
        "characters"
    )
    return _refused(f"header line {number}", expected)


def _refused(path: str, expected: str) -> BadRequestError:
    return BadRequestError(f"{path}: expected {expected}", path=path, expected=expected)
