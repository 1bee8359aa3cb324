r"""
JSON documents one to a line, from the bytes of a response.

Lines end at `\n` and nowhere else: inside a text JSON allows U+2028, U+2029 and U+0085 as they are, which
`str.splitlines` takes for line ends.
"""

from collections.abc import AsyncGenerator, AsyncIterable
from typing import Final

from flotilla.contracts.decoding import UNDECODABLE
from flotilla.inference.lenient_json import lenient_decoder

_WHITE_SPACE: Final = b" \t\r\n"
_BOM: Final = b"\xef\xbb\xbf"
_decode: Final = lenient_decoder(object)


async def documents(chunks: AsyncIterable[bytes]) -> AsyncGenerator[bytes]:
    """
    The documents of a body; a body whose first line is none is one over all its lines, as servers write a whole answer.

    Args:
        chunks: The body as it comes, cut anywhere; it and its lines are bounded (`http_bounds`).
    """
    rest = bytearray()
    by_line: bool | None = None
    async for chunk in chunks:
        rest += chunk
        start = 0
        while by_line is not False and (end := rest.find(b"\n", start)) >= 0:
            line = bytes(rest[start:end]).strip(_WHITE_SPACE)
            if by_line is None and line.removeprefix(_BOM):
                by_line = _is_document(line)
                if not by_line:
                    break
            start = end + 1
            if line:
                yield line
        del rest[:start]
    if last := bytes(rest).strip(_WHITE_SPACE):
        yield last


def _is_document(line: bytes) -> bool:
    try:
        _decode(line)
    except UNDECODABLE:
        return False
    return True
