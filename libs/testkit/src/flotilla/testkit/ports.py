"""Ports for processes that must know one another's before they start; whoever can should take port 0 instead."""

import random
import socket
from contextlib import suppress
from typing import Final

PORTS: Final = range(10_000, 32_000)
"""Below those that the kernel gives to outgoing connections and to port 0, which would take a free one in between."""
TRIES_MAX: Final = 1000

_random: Final = random.SystemRandom()
"""Its own: tests that run side by side may have seeded the common one alike."""


def free_ports(count: int) -> list[int]:
    """
    So many different ports of 127.0.0.1 that nobody listens on now.

    Raises:
        RuntimeError: There are not so many.
    """
    found: list[int] = []
    for _ in range(TRIES_MAX):
        port = _random.choice(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            if port not in found:
                found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError(f"no {count} free ports were found")
