"""
What a provider may send: every byte of an answer passes here before anybody keeps it.

A server of one's own may be misconfigured, a provider's gateway taken over, and a body of 600 KB can unpack to a
gigabyte. So answers are unpacked here, piece by piece, and an answer ends the moment that it is too long: packed or
unpacked, whole, streamed, in one line or in its headers. Redirects are answers like any other; none is followed.
"""

import asyncio
import zlib
from collections.abc import AsyncIterator
from typing import Final, Protocol

import httpx2

from flotilla.contracts.failures import FailureKind
from flotilla.inference.adapters.failures import EndedHere

WHOLE_BYTES_MAX: Final = 16 * 1024 * 1024
"""Of an answer that is kept whole; a reply on the wire holds 8 MiB."""
LINE_BYTES_MAX: Final = 8 * 1024 * 1024
"""Of a stream, whose lines are kept until they end."""
LINES_MAX: Final = 1_000_000
"""Of a stream: a gigabyte of line ends packs into a megabyte, and each costs a microsecond."""
STREAM_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of a stream, whose lines are forgotten as they are read; each token costs some 300 bytes."""
ERROR_BYTES_MAX: Final = 128 * 1024
"""Of an error's body: what is beyond is not read, and the status still says what happened."""
HEADER_BYTES_MAX: Final = 64 * 1024
UNPACKED_AT_ONCE_BYTES: Final = 64 * 1024
PACKINGS: Final = frozenset({"gzip", "x-gzip", "deflate"})
ACCEPT_ENCODING: Final = "gzip, deflate"
STREAM_TYPES: Final = ("text/event-stream", "application/x-ndjson")
"""What a request says it accepts (`Accept`) when its answer is read as a stream; any other answer is kept whole."""

_ZLIB_OR_GZIP: Final = zlib.MAX_WBITS | 32
_RAW: Final = -zlib.MAX_WBITS


class AnswerTooLongError(EndedHere, httpx2.ReadError):
    """The provider sent more than anybody wants; it would do so again, so another route is tried."""

    kind = FailureKind.INVALID_OUTPUT


class UnreadableAnswerError(EndedHere, httpx2.ReadError):
    """The answer is packed in a way that was not asked for, or broken."""

    kind = FailureKind.UNAVAILABLE


class BoundedTransport(httpx2.AsyncBaseTransport):
    """Sends through `inner`, and bounds what comes back."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """
        Send a request.

        Raises:
            AnswerTooLongError: By its headers, or by what it says that its length is; later by what comes.
            UnreadableAnswerError: It is packed otherwise than by gzip or deflate.
        """
        answer = await self._inner.handle_async_request(request)
        try:
            body = _body(request, answer)
        except BaseException:
            await answer.aclose()
            raise
        headers = (
            [pair for pair in answer.headers.raw if pair[0].lower() not in _GONE] if body.packed else answer.headers
        )
        return httpx2.Response(answer.status_code, headers=headers, stream=body, extensions=answer.extensions)

    async def aclose(self) -> None:
        """Close what is below."""
        await self._inner.aclose()


_GONE: Final = frozenset({b"content-encoding", b"content-length"})


class _Unpacker(Protocol):
    """What `zlib.decompressobj` makes."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def unconsumed_tail(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Body(httpx2.AsyncByteStream):
    """
    The bytes of one answer, unpacked and counted.

    May be iterated again for what is left, as the SDKs do after the end marker of a stream.
    """

    def __init__(
        self, sent: httpx2.AsyncByteStream, packing: str, bytes_max: int, *, streams: bool = False, cut: bool = False
    ) -> None:
        self.packed = bool(packing)
        self._streams = streams
        self._sent = sent
        self._packing = packing
        self._bytes_max = bytes_max
        self._cut = cut
        self._bytes = self._lines = self._line_bytes = self._packed_bytes = 0
        self._unpacker: _Unpacker | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._unpacked() if self.packed else self._sent:
            self._bytes += len(piece)
            if self._bytes > self._bytes_max:
                if not self._cut:
                    raise self._too_long()
                yield piece[: len(piece) + self._bytes_max - self._bytes]
                return
            if self._streams:
                self._check_lines(piece)
            yield piece

    def _check_lines(self, piece: bytes) -> None:
        at = piece.rfind(b"\n")
        self._line_bytes = self._line_bytes + len(piece) if at < 0 else len(piece) - at - 1
        if self._line_bytes > LINE_BYTES_MAX:
            raise AnswerTooLongError(f"a line of the answer is longer than {LINE_BYTES_MAX} bytes")
        self._lines += piece.count(b"\n") + piece.count(b"\r")
        if self._lines > LINES_MAX:
            raise AnswerTooLongError(f"the answer is longer than {LINES_MAX} lines")

    async def aclose(self) -> None:
        await self._sent.aclose()

    async def _unpacked(self) -> AsyncIterator[bytes]:
        async for packed in self._sent:
            self._packed_bytes += len(packed)
            if self._packed_bytes > self._bytes_max and not self._cut:
                raise self._too_long()
            rest = packed
            while rest:
                unpacker: _Unpacker = self._unpacker or zlib.decompressobj(_window_bits(self._packing, rest))
                try:
                    piece = unpacker.decompress(rest, UNPACKED_AT_ONCE_BYTES)
                except zlib.error:
                    raise UnreadableAnswerError(f"the answer is no {self._packing}") from None
                if piece:
                    yield piece
                    await asyncio.sleep(0)  # the pieces of one packed chunk come without waiting for anything
                # A gzip file may be several, one after the other.
                rest, self._unpacker = (
                    (unpacker.unused_data, None) if unpacker.eof else (unpacker.unconsumed_tail, unpacker)
                )

    def _too_long(self) -> AnswerTooLongError:
        return AnswerTooLongError(f"the answer is longer than {self._bytes_max} bytes")


def _window_bits(packing: str, start: bytes) -> int:
    # "deflate" means zlib's format (RFC 9110, 8.4.1.2), and some servers send it without its two bytes of header.
    bare = packing == "deflate" and start[0] & 0x0F != zlib.DEFLATED
    return _RAW if bare else _ZLIB_OR_GZIP


def _body(request: httpx2.Request, answer: httpx2.Response) -> _Body:
    if sum(len(name) + len(value) for name, value in answer.headers.raw) > HEADER_BYTES_MAX:
        raise AnswerTooLongError(f"the answer's headers are longer than {HEADER_BYTES_MAX} bytes")
    sent = answer.stream
    if not isinstance(sent, httpx2.AsyncByteStream):
        raise TypeError("a stream that cannot be awaited")
    packing = answer.headers.get("content-encoding", "").strip().lower()
    packing = "" if packing == "identity" else packing
    if packing and packing not in PACKINGS:
        raise UnreadableAnswerError("the answer is packed in a way that was not asked for")
    if not answer.is_success:
        return _Body(sent, packing, ERROR_BYTES_MAX, cut=True)
    streams = request.headers.get("accept", "").startswith(STREAM_TYPES)
    bytes_max = STREAM_BYTES_MAX if streams else WHOLE_BYTES_MAX
    told = answer.headers.get("content-length", "")
    if told.isascii() and told.isdigit() and (len(told) > len(str(bytes_max)) or int(told) > bytes_max):
        raise AnswerTooLongError(f"the answer is longer than {bytes_max} bytes")
    return _Body(sent, packing, bytes_max, streams=streams)
