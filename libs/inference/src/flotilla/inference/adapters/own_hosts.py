"""
Which hosts are one's own: where a worker of the local zone may send a document.

Own are loopback addresses, the private ranges of RFC 1918 and RFC 4193, link-local addresses, and what the operator
names (`FLOTILLA_LOCAL_HOSTS`). Nothing else is, shared address space (RFC 6598) included: a carrier uses it as well as
an overlay network. A name is judged by the addresses that it has at that moment.
"""

import ipaddress
import re
from typing import Final, Self

from msgspec import Struct

HOSTS_MAX: Final = 64
NAME_LENGTH_MAX: Final = 253

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_OWN: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "0.0.0.0/32"),
        *("::1/128", "fc00::/7", "fe80::/10", "::/128"),
    )
)
"""The unspecified addresses are there because a connection to one arrives at this machine."""
_NAME: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
_PRIVATE_ENDINGS: Final = frozenset(
    {"local", "localhost", "localdomain", "internal", "intranet", "lan", "home", "corp", "private", "arpa", "test"}
)
"""Top levels of names that the public DNS has not (RFC 2606, 6761, 6762, 8375, ICANN's `internal`)."""


class OwnHosts(Struct, frozen=True):
    """
    What is one's own beside private addresses.

    Attributes:
        networks: Of addresses.
        names: In lower case, without a dot at the end; whatever address they have.
    """

    networks: tuple[Network, ...] = ()
    names: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, text: str) -> Self:
        """
        Read names, addresses and networks (CIDR) with commas between.

        Raises:
            ValueError: One is none of these, or there are more than `HOSTS_MAX`.
        """
        networks: list[Network] = []
        names: set[str] = set()
        entries = [entry.strip() for entry in text.split(",") if entry.strip()]
        if len(entries) > HOSTS_MAX:
            raise ValueError(f"at most {HOSTS_MAX} hosts")
        for entry in entries:
            try:
                networks.append(ipaddress.ip_network(entry.strip("[]"), strict=False))
            except ValueError:
                name = host_name(entry)
                if len(name) > NAME_LENGTH_MAX or not _NAME.fullmatch(name):
                    raise ValueError(
                        "expected host names, addresses or networks such as 100.64.0.0/10, with commas between"
                    ) from None
                names.add(name)
        return cls(networks=tuple(networks), names=frozenset(names))

    def has_address(self, address: Address) -> bool:
        """Whether a document may go to this address."""
        plain = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        judged = plain or address
        return any(judged.version == network.version and judged in network for network in (*_OWN, *self.networks))

    def has_name(self, host: str) -> bool:
        """Whether the operator named this very host."""
        return host_name(host) in self.names


def host_name(host: str) -> str:
    """A host as names are compared."""
    return host.lower().rstrip(".")


def literal(host: str) -> Address | None:
    """The address that a host is, with or without brackets and zone; None for a name."""
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None


def is_private_name(host: str) -> bool:
    """Whether a name cannot stand in the public DNS: one label, or below a top level that nobody can register."""
    labels = host_name(host).split(".")
    return len(labels) == 1 or labels[-1] in _PRIVATE_ENDINGS
