"""Flotilla on NATS; the only importer of nats: connection, lanes, slots, requests, pull consumers, KV, presence."""

import sys

# Where aiohttp is installed, nats-py imports it for WebSockets, which nothing here uses: a third of a service's start.
if "nats" not in sys.modules and "aiohttp" not in sys.modules:
    sys.modules["aiohttp"] = None  # pyright: ignore[reportArgumentType]  # how an import is made to fail
    try:
        import nats  # noqa: F401  # pyright: ignore[reportUnusedImport]
    finally:
        del sys.modules["aiohttp"]
