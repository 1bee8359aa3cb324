"""The HTTP client of every adapter: one way out (`egress`), one set of bounds (`http_bounds`), nothing of the environment."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

import httpcore2
import httpx2

from flotilla.inference.adapters.aiohttp_transport import AiohttpTransport, NotOwnHostError
from flotilla.inference.adapters.egress import Egress, EgressError, ProviderPath
from flotilla.inference.adapters.failures import CONNECT_TIMEOUT_S
from flotilla.inference.adapters.headers import own_headers
from flotilla.inference.adapters.http_bounds import BoundedTransport
from flotilla.inference.adapters.own_hosts import OwnHosts, literal

# By the standard library: in a command, where no logs are set up, it says nothing.
logger = logging.getLogger("flotilla.egress")

KEPT_S: Final = 5.0
TIMEOUT: Final = httpx2.Timeout(None, connect=CONNECT_TIMEOUT_S)
"""The call's own deadline bounds everything; only connecting gets less."""


def provider_client(
    provider: str,
    base_url: str,
    egress: Egress,
    *,
    api_key: str | None,
    connections_max: int,
    kept_s: float = KEPT_S,
    headers: Mapping[str, str] | None = None,
) -> httpx2.AsyncClient:
    """
    Make the client for one provider, and log which way its calls take.

    Args:
        provider: For the log.
        base_url: Of its API.
        egress: What the worker was told about its way out.
        api_key: Sent as a bearer token.
        connections_max: Calls at a time; more wait for a connection.
        kept_s: How long a connection that nobody uses stays open.
        headers: Sent with every request, beside those of the protocol.

    Raises:
        EgressError: The zone does not allow the way, or a proxy or a file of certificates cannot be used.
    """
    path = egress.path_to(base_url)
    told = {"provider": provider, "server": path.server, "proxy": path.through or "none"}
    logger.info("provider_path", extra=told)
    context = _certificates(path)
    if path.proxy is None:
        transport: httpx2.AsyncBaseTransport = AiohttpTransport(
            context, connections_max=connections_max, kept_s=kept_s, own=path.own
        )
    else:
        transport = _ProxyTransport(
            path,
            path.proxy,
            httpx2.Limits(
                max_connections=connections_max, max_keepalive_connections=connections_max, keepalive_expiry=kept_s
            ),
            context,
        )
    return httpx2.AsyncClient(
        base_url=base_url,
        transport=BoundedTransport(transport),
        trust_env=False,
        timeout=TIMEOUT,
        follow_redirects=False,
        event_hooks={"request": [own_headers(api_key, headers)]},
    )


class _ProxyTransport(httpx2.AsyncHTTPTransport):
    """httpx2's own, over a pool that takes this path."""

    def __init__(self, path: ProviderPath, proxy: str, limits: httpx2.Limits, context: ssl.SSLContext) -> None:
        super().__init__(verify=context, trust_env=False, limits=limits)
        self._pool = _pool(path, proxy, limits, context)


def _pool(
    path: ProviderPath, proxy_url: str, limits: httpx2.Limits, context: ssl.SSLContext
) -> httpcore2.AsyncConnectionPool:
    options: dict[str, Any] = {
        "ssl_context": context,
        "max_connections": limits.max_connections,
        "max_keepalive_connections": limits.max_keepalive_connections,
        "keepalive_expiry": limits.keepalive_expiry,
        "network_backend": httpcore2.AnyIOBackend() if path.own is None else _OwnHostsOnly(path.own),
    }
    proxy = httpx2.Proxy(proxy_url)
    url = httpcore2.URL(scheme=proxy.url.raw_scheme, host=proxy.url.raw_host, port=proxy.url.port, target=b"/")
    if proxy.url.scheme.startswith("socks5"):
        return httpcore2.AsyncSOCKSProxy(proxy_url=url, proxy_auth=proxy.raw_auth, **options)
    return httpcore2.AsyncHTTPProxy(
        proxy_url=url,
        proxy_auth=proxy.raw_auth,
        proxy_ssl_context=context if proxy.url.scheme == "https" else None,
        **options,
    )


def _certificates(path: ProviderPath) -> ssl.SSLContext:
    if not path.encrypted:
        # Nothing to check, and nothing that a missing file could break; a connection with TLS would trust nobody.
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        return httpx2.create_ssl_context(trust_env=True)
    except (OSError, ssl.SSLError) as error:
        raise EgressError(f"SSL_CERT_FILE or SSL_CERT_DIR: {type(error).__name__}; correct or unset it") from error


class _OwnHostsOnly(httpcore2.AsyncNetworkBackend):
    """Connects to an address that it has judged itself, so that a name cannot mean another one a moment later."""

    def __init__(self, own: OwnHosts) -> None:
        self._own = own
        self._inner = cast("httpcore2.AsyncNetworkBackend", httpcore2.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  (httpcore's interface)
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        refused: Exception | None = None
        for address in await self._addresses(host, port, timeout):
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                refused = error
        raise refused or httpcore2.ConnectError("no address")

    async def _addresses(self, host: str, port: int, timeout_s: float | None) -> list[str]:
        if self._own.has_name(host):
            return [host]
        if (address := literal(host)) is not None:  # judged at the start
            return [str(address)]
        try:
            async with asyncio.timeout(timeout_s):
                found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout(str(error)) from error
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError(type(error).__name__) from error
        addresses = list(dict.fromkeys(str(answer[4][0]) for answer in found))
        if not all((one := literal(address)) is not None and self._own.has_address(one) for address in addresses):
            raise NotOwnHostError("its address is not in the local zone (FLOTILLA_LOCAL_HOSTS)")
        return addresses
