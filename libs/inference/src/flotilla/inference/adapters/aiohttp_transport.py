"""
httpx2 over aiohttp, for calls that take no proxy: a request costs a third of the CPU time of httpx2's own transport.

The SDKs document this way for speed and bring a transport of the kind (`DefaultAioHttpClient`). This one sends back no
cookies, tells a connection that broke from one that could not be opened in time, and holds a local worker to its own
hosts for every connection.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from functools import lru_cache
from typing import Final

import aiohttp
import httpx2
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from flotilla.contracts.failures import FailureKind
from flotilla.inference.adapters.failures import CONNECT_TIMEOUT_S, EndedHere
from flotilla.inference.adapters.http_bounds import HEADER_BYTES_MAX
from flotilla.inference.adapters.own_hosts import OwnHosts, literal

_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
FAILURES: Final = (aiohttp.ClientError, OSError, ValueError)
"""What aiohttp raises of a server or the way to it; its timeouts are OSErrors."""
_VERSION: Final = b"HTTP/1.1"


class NotOwnHostError(EndedHere, httpx2.ConnectError):
    """A local worker's server, or its proxy, has an address now that is not one's own."""

    kind = FailureKind.REFUSED


class AiohttpTransport(httpx2.AsyncBaseTransport):
    """
    Sends requests, and gives responses whose bodies are as the server packed them.

    Args:
        context: For servers that speak TLS.
        connections_max: At a time; further calls wait.
        kept_s: How long a connection that nobody uses stays open.
        own: The hosts that may be connected to; None for any.
    """

    def __init__(
        self, context: ssl.SSLContext, *, connections_max: int, kept_s: float, own: OwnHosts | None = None
    ) -> None:
        self._context = context
        self._connections_max = connections_max
        self._kept_s = kept_s
        self._own = own
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """
        Send a request; redirects are not followed.

        Raises:
            httpx2.ConnectTimeout: Not connected within `CONNECT_TIMEOUT_S`.
            httpx2.TransportError: No connection, or one that broke, or what came is no HTTP.
        """
        session = self._session
        if session is None:
            session = self._session = self._opened()
        body = await request.aread()
        try:
            response = await session.request(
                request.method,
                _url(str(request.url)),
                data=body or None,
                headers=request.headers.multi_items(),
                allow_redirects=False,
            )
        except FAILURES as error:
            raise _named(error) from error
        extensions = {"http_version": _VERSION, "reason_phrase": (response.reason or "").encode(errors="replace")}
        return httpx2.Response(
            response.status, headers=list(response.raw_headers), stream=_Body(response), extensions=extensions
        )

    async def aclose(self) -> None:
        """Close every connection."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _opened(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            ssl=self._context,
            limit=self._connections_max,
            keepalive_timeout=self._kept_s,
            resolver=_Resolver(self._own),
            use_dns_cache=False,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=_TIMEOUT,
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
            trust_env=False,
        )


class _Body(httpx2.AsyncByteStream):
    """The body of one response."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = self._response.content.iter_any()
        while True:
            try:
                chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            except FAILURES as error:
                raise _named(error) from error
            yield chunk

    async def aclose(self) -> None:
        # A connection with something left to read cannot be used again; closing it tells the server to stop.
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()


class _Resolver(AbstractResolver):
    """Looks names up, and gives only addresses that may be connected to: a name can mean another one a moment later."""

    def __init__(self, own: OwnHosts | None) -> None:
        self._own = own
        self._inner = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            found = await self._inner.resolve(host, port, family)
        own = self._own
        if own is not None and not own.has_name(host):
            addresses = [literal(each["host"]) for each in found]
            if not all(address is not None and own.has_address(address) for address in addresses):
                raise NotOwnHostError("its address is not in the local zone (FLOTILLA_LOCAL_HOSTS)")
        return found

    async def close(self) -> None:
        await self._inner.close()


@lru_cache(maxsize=64)
def _url(text: str) -> URL:
    return URL(text, encoded=True)


def _named(error: Exception) -> httpx2.TransportError:
    match error:
        case TimeoutError():
            return httpx2.ConnectTimeout(type(error).__name__)
        case aiohttp.ClientConnectorError():
            return httpx2.ConnectError(type(error).__name__)
        case aiohttp.ClientConnectionError() | aiohttp.ClientPayloadError() | OSError():
            return httpx2.ReadError(type(error).__name__)
        case _:
            return httpx2.RemoteProtocolError(type(error).__name__)
