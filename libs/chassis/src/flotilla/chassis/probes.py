"""
The HTTP side of a service: `/livez`, `/readyz` and `/metrics`, and nothing else.

Ready means subscribed and connected; live means that the event loop turns and the service's own heartbeat is recent.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from flotilla.chassis.settings import SettingsError

REQUEST_BYTES_MAX: Final = 8192
REQUEST_TIMEOUT_S: Final = 5.0

Check = Callable[[], bool]


class Probes:
    """
    What the probes answer; the service sets it as it starts and stops.

    Attributes:
        ready: Whether work should be sent here.
        live: Whether the process is worth keeping.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.ready: Check = lambda: False
        self.live: Check = lambda: True

    def answer(self, path: str) -> tuple[str, str, bytes]:
        """Status line, content type and body for a path."""
        match path:
            case "/livez":
                return _yes_or_no(self.live())
            case "/readyz":
                return _yes_or_no(self.ready())
            case "/metrics":
                return "200 OK", CONTENT_TYPE_LATEST, generate_latest(self._registry)
            case _:
                return "404 Not Found", "text/plain", b"try /livez, /readyz or /metrics\n"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request and close."""
        with suppress(
            OSError, ValueError, asyncio.TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError
        ):
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), REQUEST_TIMEOUT_S)
            method, path, _ = head.split(b"\r\n", 1)[0].decode("ascii").split(" ", 2)
            if method in ("GET", "HEAD"):
                status, kind, body = self.answer(path.partition("?")[0])
            else:
                status, kind, body = "405 Method Not Allowed", "text/plain", b""
            writer.write(
                f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
                f"Connection: close\r\n\r\n".encode()
                + (b"" if method == "HEAD" else body)
            )
            await writer.drain()
        writer.close()


def _yes_or_no(good: bool) -> tuple[str, str, bytes]:  # noqa: FBT001  (it is the answer)
    return ("200 OK", "text/plain", b"ok\n") if good else ("503 Service Unavailable", "text/plain", b"not ok\n")


@asynccontextmanager
async def probes_served(probes: Probes, *, host: str, port: int | None) -> AsyncGenerator[int | None]:
    """
    Serve the probes while the block runs; gives the port, None when none is wanted.

    Raises:
        SettingsError: The port cannot be had.
    """
    if port is None:
        yield None
        return
    try:
        server = await asyncio.start_server(probes.handle, host, port, limit=REQUEST_BYTES_MAX)
    except OSError as error:
        raise SettingsError(f"setting FLOTILLA_HTTP_PORT: cannot listen on {host}:{port} ({error.strerror})") from error
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()
