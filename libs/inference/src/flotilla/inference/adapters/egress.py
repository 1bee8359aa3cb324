"""
How calls to a provider leave this machine: straight, or through which proxy, and to which addresses they may go at all.

A worker of the local zone serves documents that must stay at home. It never takes a proxy from the environment, where
one is meant for the internet, and it connects to nothing but one's own hosts (`own_hosts`), which is checked at the start
and again for every connection. A worker of the cloud zone goes through the proxy that the environment names for its
provider, and says so.
"""

import socket
import threading
from contextlib import suppress
from ipaddress import ip_network
from typing import Final, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

from msgspec import Struct

from flotilla.contracts.subjects import Zone
from flotilla.inference.adapters.own_hosts import Address, OwnHosts, host_name, is_private_name, literal

PROXY_SETTING: Final = "FLOTILLA_PROXY_URL"
HOSTS_SETTING: Final = "FLOTILLA_LOCAL_HOSTS"
LOOKUP_TIMEOUT_S: Final = 5.0
PROXY_SCHEMES: Final = frozenset({"http", "https", "socks5", "socks5h"})
PROXY_PORTS: Final = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
PORT_MAX: Final = 65_535


class EgressError(ValueError):
    """Calls may not, or cannot, go where they are told to; the text says what to set, and holds no credentials."""


class ProviderPath(NamedTuple):
    """
    The way to one provider.

    Attributes:
        server: Scheme, host and port.
        proxy: With its credentials, so not for logs; None goes straight.
        through: For people: the proxy's scheme, host and port and the variable that named it; "" goes straight.
        own: What may be connected to; None for anything.
    """

    server: str
    proxy: str | None = None
    through: str = ""
    own: OwnHosts | None = None

    @property
    def encrypted(self) -> bool:
        """Whether a certificate will have to be checked."""
        return self.server.startswith("https://") or (self.proxy or "").startswith("https://")


class Egress(Struct, frozen=True, kw_only=True):
    """
    What a worker was told about its way out.

    Attributes:
        zone: `local` holds every connection to one's own hosts.
        proxy_url: `FLOTILLA_PROXY_URL`.
        own: `FLOTILLA_LOCAL_HOSTS`.
    """

    zone: Zone
    proxy_url: str | None = None
    own: OwnHosts = OwnHosts()

    def path_to(self, base_url: str) -> ProviderPath:
        """
        Choose the way to a provider; looks names up, for `LOOKUP_TIMEOUT_S` at the most.

        Raises:
            EgressError: The provider or the proxy is none of one's own hosts and the zone is local, or the proxy is none.
        """
        server = _origin(base_url)
        if self.zone == "cloud":
            proxy, named_by = self._outward(base_url)
            return ProviderPath(server, proxy, (proxy and f"{_origin(proxy)} ({named_by})") or "")
        self._check_own(base_url, "its address")
        if self.proxy_url is None:
            return ProviderPath(server, own=self.own)
        proxy = _checked_proxy(self.proxy_url, PROXY_SETTING)
        self._check_own(proxy, f"the proxy of {PROXY_SETTING}")
        return ProviderPath(server, proxy, f"{_origin(proxy)} ({PROXY_SETTING})", self.own)

    def _outward(self, base_url: str) -> tuple[str | None, str]:
        if self.proxy_url is not None:
            return _checked_proxy(self.proxy_url, PROXY_SETTING), PROXY_SETTING
        parts = urlsplit(base_url)
        host = parts.hostname or ""
        if _is_this_machine(host):  # which is another one for a proxy
            return None, ""
        found = getproxies_environment()
        for scheme in (parts.scheme, "all"):
            if (proxy := found.get(scheme)) and not _is_excepted(host, parts.port, found.get("no", "")):
                name = f"{scheme.upper()}_PROXY"
                return _checked_proxy(proxy, name), name
        return None, ""

    def _check_own(self, url: str, what: str) -> None:
        host = urlsplit(url).hostname or ""
        if self.own.has_name(host):
            return
        address = literal(host)
        addresses = [address] if address is not None else _looked_up(host)
        if not addresses:
            if is_private_name(host):
                return  # not there yet; the connection is checked again
            raise EgressError(
                f"{what} cannot be looked up, so nobody can tell whether it is at home, and restricted data is given to"
                f" this zone; if it is your own: {HOSTS_SETTING}={host}"
            )
        if not all(self.own.has_address(one) for one in addresses):
            raise EgressError(
                f"{what} has a public address ({addresses[0]}), and restricted data is given to this zone; if it is your"
                f" own: {HOSTS_SETTING}={host}; if it is not, serve it in the cloud zone"
            )


HOME: Final = Egress(zone="local")
OUTWARD: Final = Egress(zone="cloud")


def _is_excepted(host: str, port: int | None, no_proxy: str) -> bool:
    """Whether `NO_PROXY` has the host: as `*`, a name and what is below it, an address, a network; a port may follow."""
    address = literal(host)
    name = host_name(host)
    for entry in (entry.strip().lower() for entry in no_proxy.split(",")):
        with suppress(ValueError):
            if entry == "*" or (address is not None and address in ip_network(entry.strip("[]"), strict=False)):
                return True
        ending = host_name(entry.removeprefix("*").lstrip("."))
        named, colon, number = ending.rpartition(":")
        if colon and number == str(port) and literal(ending) is None:
            ending = named
        if ending and (name == ending or name.endswith(f".{ending}") or literal(ending) == address is not None):
            return True
    return False


def _checked_proxy(given: str, name: str) -> str:
    url = given.strip()
    url = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    scheme = parts.scheme.lower()
    if scheme not in PROXY_SCHEMES or not parts.hostname:
        raise EgressError(f"{name}: expected http://host:port, https://host:port or socks5://host:port")
    return url if port else f"{scheme}://{parts.netloc.rstrip(':')}:{PROXY_PORTS[scheme]}"


def _origin(url: str) -> str:
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")


def _is_this_machine(host: str) -> bool:
    address = literal(host)
    if address is None:
        return host.lower().rstrip(".") == "localhost" or host.lower().endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def _looked_up(host: str) -> list[Address]:
    """The addresses of a name now; in a thread, so that a stop signal does not wait for a name server."""
    found: list[Address] = []

    def look() -> None:
        try:
            answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return
        found.extend(one for answer in answers if (one := literal(str(answer[4][0]))) is not None)

    thread = threading.Thread(target=look, daemon=True, name="look-up")
    thread.start()
    thread.join(LOOKUP_TIMEOUT_S)
    return list(found)
