"""The HTTP server: uvicorn on a socket of one's own, in the loop of the service, without signals or logs of its own."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, cast

import uvicorn
from starlette.types import ASGIApp

from flotilla.contracts.errors import SettingsError
from portal.web.connections import Connection, Places

HEADER_BYTES_MAX: Final = 16 * 1024
OTHER_REQUESTS_MAX: Final = 128
"""Connections beside those of viewers."""
ADDRESS_SHARE: Final = 2
"""Of all connections, one address may have this part."""
KEEP_ALIVE_S: Final = 10
BACKLOG_MAX: Final = 256
UNACKNOWLEDGED_MS_MAX: Final = 30_000
CLOSE_TIMEOUT_S: Final = 5


class _Server(uvicorn.Server):
    """The chassis has the signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


def listen(host: str, port: int, fd: int | None = None) -> socket.socket:
    """
    A socket that browsers can connect to; with port 0 on a free one.

    Args:
        host: Where it listens.
        port: Where it listens.
        fd: Of a socket that listens there already.

    Raises:
        SettingsError: The port cannot be had, or that socket is another one's.
    """
    listening = _bound(host, port) if fd is None else _inherited(fd, host, port)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # Accepted sockets inherit it: a browser that has stopped reading is gone then, with what it has not taken.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS_MAX)
    return listening


def _bound(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG_MAX)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SettingsError(f"setting FLOTILLA_PORTAL_PORT: cannot listen on {host}:{port} ({reason})") from None


def _inherited(fd: int, host: str, port: int) -> socket.socket:
    with contextlib.suppress(OSError):
        listening = socket.socket(fileno=fd)
        if listening.getsockname()[:2] == (host, port):
            return listening
        listening.close()
    raise SettingsError(f"setting FLOTILLA_PORTAL_FD: expected a socket that listens on {host}:{port}")


@asynccontextmanager
async def served(
    app: ASGIApp, listening: socket.socket, *, viewers_max: int, place_of: Callable[[str], str]
) -> AsyncGenerator[asyncio.Event]:
    """
    Serve while the block runs; gives an event that is set when the server has ended by itself.

    Args:
        app: What answers.
        listening: See `listen`.
        viewers_max: Pages that may be open.
        place_of: See `Places`.
    """
    connections_max = viewers_max + OTHER_REQUESTS_MAX
    places = Places(max(1, connections_max // ADDRESS_SHARE), place_of)
    config = uvicorn.Config(
        app,
        http=cast("Any", partial(Connection, places=places)),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=connections_max,
        backlog=BACKLOG_MAX,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=CLOSE_TIMEOUT_S,
        h11_max_incomplete_event_size=HEADER_BYTES_MAX,
    )
    # What it would say of a request that failed, the application says itself.
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
    server = _Server(config)
    ended = asyncio.Event()
    serving = asyncio.ensure_future(server.serve([listening]))
    serving.add_done_callback(lambda _: ended.set())
    try:
        yield ended
    finally:
        server.should_exit = True
        await asyncio.gather(serving, return_exceptions=True)
        listening.close()
