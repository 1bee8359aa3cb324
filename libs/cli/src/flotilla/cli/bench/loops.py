"""The event loop under which client, responder and replicas run: uvloop where there is one, as in the services."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import TypeVar

T = TypeVar("T")


def run_loop(main: Callable[[], Coroutine[None, None, T]]) -> T:
    """Run a coroutine to its end."""
    try:
        import uvloop  # noqa: PLC0415  (there is none for Windows)
    except ImportError:
        return asyncio.run(main())
    return uvloop.run(main())
