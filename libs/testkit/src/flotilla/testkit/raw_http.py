"""A server that answers HTTP with whatever bytes it likes, for what no HTTP library would send."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

REQUESTS_MAX: Final = 10_000
HEAD_BYTES_MAX: Final = 1024 * 1024


@dataclass(frozen=True)
class RawRequest:
    """What came: the first line, the headers by lower-case name, the body."""

    line: str
    headers: dict[str, str]
    body: bytes = field(repr=False)

    @property
    def target(self) -> str:
        """A path, or a whole URL from a client that takes this server for its proxy."""
        return self.line.split(" ")[1]


Respond = Callable[[RawRequest, asyncio.StreamWriter], Awaitable[None]]


class RawHttpServer:
    """
    Hands each request to `respond`, which writes the answer, and keeps the connection while it does not close it.

        async with RawHttpServer(respond) as server:
            ... server.url ... server.requests
    """

    def __init__(self, respond: Respond) -> None:
        self._respond = respond
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.requests: list[RawRequest] = []
        self.port = 0

    @property
    def url(self) -> str:
        """Without a path."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=HEAD_BYTES_MAX)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await asyncio.sleep(0)  # transports close one turn of the loop later

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._converse(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.transport.abort()  # the client is gone
        except asyncio.CancelledError:
            writer.transport.abort()
            raise
        writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing() and len(self.requests) < REQUESTS_MAX:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *fields = head.split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in fields if one)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            self.requests.append(RawRequest(line, headers, body))
            await self._respond(self.requests[-1], writer)
            await writer.drain()


def head(*headers: str, status: str = "200 OK") -> bytes:
    """The beginning of an answer: `head("content-type: text/plain")`."""
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode()


def whole(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """An answer with its length."""
    return head("content-type: application/json", f"content-length: {len(body)}", *headers, status=status) + body


def chunk(data: bytes) -> bytes:
    """One chunk of an answer whose head said `transfer-encoding: chunked`; an empty one ends it."""
    return b"%x\r\n%s\r\n" % (len(data), data)
