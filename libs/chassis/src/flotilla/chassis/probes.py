"""
The HTTP side of a service: `/livez`, `/readyz` and `/metrics`, and nothing else.

Ready means subscribed and connected; live means that the event loop turns and the service's own heartbeat is recent.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from flotilla.chassis.plain_structlog import structlog
from flotilla.contracts.errors import SettingsError

REQUEST_BYTES_MAX: Final = 8192
REQUEST_TIMEOUT_S: Final = 5.0
CONNECTIONS_MAX: Final = 64
LIVE_WITHIN_S: Final = 10.0
PATHS: Final = ("/livez", "/readyz", "/metrics")

logger = structlog.get_logger("probes")

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
        self._open: dict[asyncio.StreamWriter, None] = {}
        self.ready: Check = lambda: False
        self.live: Check = lambda: True

    @property
    def connections(self) -> int:
        """How many are open; at most `CONNECTIONS_MAX`."""
        return len(self._open)

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
        """
        Answer one request and close.

        Of more connections than the bound the oldest is dropped: a probe's request comes at once, so whoever has been
        silent for longest is none, and those who hold connections open cannot have the service killed.
        """
        if len(self._open) >= CONNECTIONS_MAX:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.transport.abort()
        self._open[writer] = None
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                writer.write(await self._respond(reader))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # whoever asked is gone, or too slow
        finally:
            self._open.pop(writer, None)
            writer.close()

    async def _respond(self, reader: asyncio.StreamReader) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            method, path, _ = head.split(b"\r\n", 1)[0].decode("ascii").split(" ", 2)
        except (ValueError, asyncio.LimitOverrunError):
            return _response("400 Bad Request", "text/plain", b"not HTTP\n")
        if method not in ("GET", "HEAD"):
            return _response("405 Method Not Allowed", "text/plain", b"only GET and HEAD\n")
        try:
            status, kind, body = self.answer(path.partition("?")[0])
        except Exception:
            logger.exception("probe_failed", path=path if path in PATHS else "other")
            status, kind, body = "500 Internal Server Error", "text/plain", b"see the log\n"
        return _response(status, kind, body, head_only=method == "HEAD")


def _response(status: str, kind: str, body: bytes, *, head_only: bool = False) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + (b"" if head_only else body)


def beating(renewed_at: Callable[[], float], *, within_s: float = LIVE_WITHIN_S) -> Check:
    """Whether a heartbeat, told as a time of the running loop's clock, is younger than `within_s`."""
    clock_s = asyncio.get_running_loop().time
    return lambda: clock_s() - renewed_at() < within_s


def _yes_or_no(good: bool) -> tuple[str, str, bytes]:  # noqa: FBT001  (it is the answer)
    return ("200 OK", "text/plain", b"ok\n") if good else ("503 Service Unavailable", "text/plain", b"not ok\n")


@asynccontextmanager
async def probes_served(probes: Probes, *, host: str, port: int | None) -> AsyncGenerator[int | None]:
    """
    Serve the probes while the block runs; gives the port, None when none is wanted.

    The log event `probes` says which port it is: with port 0 nobody knows before.

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
    taken = server.sockets[0].getsockname()[1]
    logger.info("probes", host=host, port=taken)
    try:
        yield taken
    finally:
        server.close()
        await server.wait_closed()
