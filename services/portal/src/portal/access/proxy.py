"""
Who a proxy says that somebody is: one that signs people in itself, and names them in a header of every request.

The header is believed of the proxy alone, which is known by its address. Whoever else can connect could send it too.
"""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from starlette.requests import Request

from flotilla.contracts.errors import SettingsError
from flotilla.contracts.fields import WORD_LENGTH_MAX

PROXIES_MAX: Final = 32
FORWARDED_FOR: Final = "x-forwarded-for"
HEADER_LENGTH_MAX: Final = 64
FORWARDED_LENGTH_MAX: Final = 1024
NETWORK_BITS: Final = 64
"""Of an IPv6 address, as one customer has them."""
_HEADER: Final = re.compile(r"[a-z0-9-]+")

Network = IPv4Network | IPv6Network


class Proxy:
    """The proxies before a portal; without any, and without a header, nobody is believed."""

    def __init__(self, networks: Sequence[Network] = (), header: str = "") -> None:
        self._networks: Final = tuple(networks)
        self._header: Final = header

    @property
    def signs_in(self) -> bool:
        """Whether it says who somebody is."""
        return bool(self._header)

    def login_of(self, request: Request) -> str | None:
        """Who the proxy says sent this request; None where it does not, or says it twice."""
        if not self._header or not self._is_from_proxy(request):
            return None
        given = request.headers.getlist(self._header)
        return given[0] if len(given) == 1 and 0 < len(given[0]) <= WORD_LENGTH_MAX else None

    def address_of(self, request: Request) -> str:
        """
        Where a request comes from: of one that a proxy hands on, what the proxy says.

        Of IPv6 the network: whoever has an address has all the others of it.
        """
        peer = request.client.host if request.client else ""
        if not self._is_from_proxy(request):
            return _place(_address(peer)) or peer
        # What stands before the last, whoever sent the request wrote.
        last = ",".join(request.headers.getlist(FORWARDED_FOR))[-FORWARDED_LENGTH_MAX:].rpartition(",")[2].strip()
        return _place(_address(last)) or peer

    def place_of(self, address: str) -> str:
        """What a connection from an address is counted as; empty for proxies and this machine, which are many people's."""
        found = _address(address)
        is_shared = found is None or found.is_loopback or any(found in network for network in self._networks)
        return "" if is_shared else _place(found)

    def _is_from_proxy(self, request: Request) -> bool:
        address = _address(request.client.host) if request.client else None
        return address is not None and any(address in network for network in self._networks)


def proxy_of(addresses: str, header: str) -> Proxy:
    """
    The proxies that settings name.

    Raises:
        SettingsError: Something that is no address, or a header without a proxy that is believed.
    """
    name = header.strip().lower()
    if name and (len(name) > HEADER_LENGTH_MAX or not _HEADER.fullmatch(name)):
        raise SettingsError("setting FLOTILLA_PORTAL_PROXY_HEADER: expected the name of a header")
    try:
        networks = [ip_network(part.strip(), strict=False) for part in addresses.split(",") if part.strip()]
    except ValueError:
        raise SettingsError(
            "setting FLOTILLA_PORTAL_PROXIES: expected addresses or networks, such as 10.0.0.0/8, with commas between"
        ) from None
    if len(networks) > PROXIES_MAX or any(network.prefixlen == 0 for network in networks):
        raise SettingsError(
            f"setting FLOTILLA_PORTAL_PROXIES: expected at most {PROXIES_MAX} networks, none of them all"
        )
    if name and not networks:
        raise SettingsError(
            "setting FLOTILLA_PORTAL_PROXIES is missing: FLOTILLA_PORTAL_PROXY_HEADER is believed of these addresses alone"
        )
    return Proxy(networks, name)


def _place(address: IPv4Address | IPv6Address | None) -> str:
    if isinstance(address, IPv6Address):
        return str(ip_network((address, NETWORK_BITS), strict=False))
    return "" if address is None else str(address)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text)
    except ValueError:
        return None
    # As a socket for both families gives it.
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found
