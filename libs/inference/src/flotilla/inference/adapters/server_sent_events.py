"""
Server-sent events as the HTML standard defines them (html.spec.whatwg.org, 9.2.6), from the bytes of a response.

The lines and fields are read by httpx2's parser. What it leaves out is done here: a byte order mark, line ends of CR
alone as soon as they come, and events without data (a comment, a `retry:`), which the standard does not dispatch.
"""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import aclosing
from typing import Final, Protocol, cast

import httpx2

from flotilla.capabilities.errors import AttemptError
from flotilla.contracts.failures import FailureKind

EVENT_BYTES_MAX: Final = 8 * 1024 * 1024
"""Of one event; a whole answer that comes as one has room."""

_BOM: Final = b"\xef\xbb\xbf"
_HEADERS: Final = {"content-type": "text/event-stream; charset=utf-8"}
_FIELDS: Final = (b"data:", b"event:", b"id:", b"retry:", b":")
_BEGINNING_BYTES_MAX: Final = 64


class Event(Protocol):
    """
    One event.

    Attributes:
        event: Its type, `message` when it says none.
        data: Its data, lines joined by line feeds; never empty.
    """

    @property
    def event(self) -> str: ...  # noqa: D102

    @property
    def data(self) -> str: ...  # noqa: D102


async def events(chunks: AsyncIterable[bytes], *, provider: str) -> AsyncGenerator[Event]:
    """
    The events of a stream; an unfinished one at its end is dropped, as the standard says.

    Args:
        chunks: The body as it comes, cut anywhere; whoever made it closes it. Bytes that are no UTF-8 are replaced.
        provider: For the message.

    Raises:
        AttemptError: TOO_LARGE, past `EVENT_BYTES_MAX` in one event.
    """
    response = httpx2.Response(200, headers=_HEADERS, stream=_Normalized(chunks), request=_REQUEST)
    source = cast("AsyncGenerator[Event]", aiter(httpx2.EventSource(response, max_event_size=EVENT_BYTES_MAX)))
    async with aclosing(source):
        try:
            async for event in source:
                if event.data:
                    yield event
        except httpx2.SSEError as error:
            raise AttemptError(
                FailureKind.TOO_LARGE, f"{provider}: an event exceeds {EVENT_BYTES_MAX} bytes"
            ) from error


def is_event_stream(content_type: str, beginning: bytes) -> bool:
    """
    Whether a body is one of events rather than of JSON, whatever was asked for.

    Servers that cannot do what was asked do the other, and not all of them name it: where the body begins like JSON or
    like a field, that decides, else the content type.
    """
    start = beginning[:_BEGINNING_BYTES_MAX].removeprefix(_BOM).lstrip()
    if start.startswith((b"{", b"[")):
        return False
    return start.startswith(_FIELDS) or "event-stream" in content_type.lower()


class _Normalized(httpx2.AsyncByteStream):
    """A body without its byte order mark, and with LF for every line end."""

    def __init__(self, chunks: AsyncIterable[bytes]) -> None:
        self._chunks = chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        beginning: bytes | None = b""
        after_cr = False
        async for received in self._chunks:
            chunk = received
            if beginning is not None:
                chunk = beginning + chunk
                if _BOM.startswith(chunk):
                    beginning = chunk
                    continue
                beginning = None
                chunk = chunk.removeprefix(_BOM)
            if not chunk:
                continue
            ends_in_cr = chunk.endswith(b"\r")
            if after_cr:
                chunk = chunk.removeprefix(b"\n")
            after_cr = ends_in_cr
            yield chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


_REQUEST: Final = httpx2.Request("POST", "http://provider.invalid/")
