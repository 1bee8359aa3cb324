"""The fleet as each person may ask it: one connection with their own credentials, opened when it is needed."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import structlog

from flotilla.client.errors import NoFleetError
from flotilla.client.fleet import Fleet
from flotilla.contracts.errors import FlotillaError
from flotilla.contracts.names import ADMIN
from flotilla.contracts.subjects import inbox_prefix
from portal.access.people import Person

FLEETS_MAX: Final = 64
IDLE_S: Final = 300.0
SWEEP_EVERY_S: Final = 15.0
CONNECT_PATIENCE_S: Final = 5.0

logger = structlog.get_logger("portal")


class _Open:
    """A connection of one person."""

    def __init__(self, stack: AsyncExitStack, fleet: Fleet) -> None:
        self.stack: Final = stack
        self.fleet: Final = fleet
        self.in_use = 0
        self.used_s = 0.0


class Fleets:
    """Opens connections, and closes those that nobody uses."""

    def __init__(self, url: str, tls_ca: Path | None) -> None:
        self._url = url
        self._tls_ca = tls_ca
        self._loop = asyncio.get_running_loop()
        self._open: Final[dict[str, _Open]] = {}
        self._opening: Final = asyncio.Lock()
        self._sweeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to close what is idle."""
        self._sweeping = self._loop.create_task(self._sweep())

    async def stop(self) -> None:
        """Close every connection that people's credentials opened."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        for key in list(self._open):
            await self._close(key)

    @asynccontextmanager
    async def of(self, person: Person) -> AsyncGenerator[Fleet]:
        """
        The fleet, asked as this person, while the block runs.

        Raises:
            ClientError: No server can be reached, or it refuses the person's credentials.
        """
        opened = self._open.get(person.key) or await self._opened(person)
        opened.in_use += 1
        try:
            yield opened.fleet
        finally:
            opened.in_use -= 1
            opened.used_s = self._loop.time()

    async def _opened(self, person: Person) -> _Open:
        async with self._opening:
            found = self._open.get(person.key)
            if found is not None:
                return found
            if len(self._open) >= FLEETS_MAX:
                await self._close_oldest()
            stack = AsyncExitStack()
            fleet = await stack.enter_async_context(
                Fleet.connect(
                    self._url,
                    creds=person.creds,
                    tls_ca=self._tls_ca,
                    scope=person.scope if person.admin_creds else None,
                    inbox_prefix=inbox_prefix(ADMIN) if person.admin_creds else None,
                    name="portal for a person",
                    connect_patience_s=CONNECT_PATIENCE_S,
                )
            )
            opened = self._open[person.key] = _Open(stack, fleet)
            opened.used_s = self._loop.time()
            return opened

    async def _close_oldest(self) -> None:
        idle = [key for key, opened in self._open.items() if not opened.in_use]
        if not idle:
            raise NoFleetError(self._url, "too many people ask at the same time")
        await self._close(min(idle, key=lambda key: self._open[key].used_s))

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            oldest_s = self._loop.time() - IDLE_S
            for key in [key for key, opened in self._open.items() if not opened.in_use and opened.used_s < oldest_s]:
                await self._close(key)

    async def _close(self, key: str) -> None:
        opened = self._open.pop(key, None)
        if opened is None:
            return
        try:
            await opened.stack.aclose()
        except (FlotillaError, OSError) as error:
            logger.warning("nats_close_failed", error=type(error).__name__)
