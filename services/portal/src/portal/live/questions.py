"""
What an observer asks the fleet again and again: its status, how its routes do, and which orchestrators there are.

An answer stands until the next one; when none has come for STALE_AFTER_S it is forgotten.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec
import structlog
from msgspec import Struct

from flotilla.contracts.api import FleetStatus, StatusQuery
from flotilla.contracts.api_routing import RouteReport, StatsReply
from flotilla.contracts.decoding import UNDECODABLE, checked
from flotilla.contracts.errors import FlotillaError
from flotilla.contracts.fields import WORD_LENGTH_MAX, printable
from flotilla.contracts.names import is_replica
from flotilla.fabric.connection import Connection, Message
from flotilla.fabric.inbox import Inbox, Requests
from portal.live.asking import ask
from portal.live.snapshot import OrchestratorView

STATS_EVERY_S: Final = 1.0
STATUS_EVERY_S: Final = 2.0
DISCOVER_EVERY_S: Final = 5.0
DISCOVER_FOR_S: Final = 1.0
ASK_TIMEOUT_S: Final = 3.0
STALE_AFTER_S: Final = 10.0
ORCHESTRATORS_MAX: Final = 256
DISCOVERY_SUBJECT: Final = "$SRV.PING.orchestrator"

logger = structlog.get_logger("portal")


class _Pong(Struct, frozen=True, kw_only=True):
    version: str = ""
    metadata: dict[str, str] = {}


_decode_pong: Final = msgspec.json.Decoder(_Pong).decode


class Questions:
    """
    Asks, and holds the last answers.

    Attributes:
        orchestrators: By instance.
        discovered: Whether they have had the time to answer once.
    """

    def __init__(
        self, connection: Connection, requests: Requests, *, scopes: Sequence[str], on_change: Callable[[], None]
    ) -> None:
        self._connection = connection
        self._requests = requests
        self._scopes = tuple(scopes)
        self._on_change = on_change
        self._loop = asyncio.get_running_loop()
        self._statuses: dict[str, tuple[float, FleetStatus]] = {}
        self._stats: tuple[float, StatsReply] | None = None
        self._found = Inbox(connection, f"{connection.inbox}.found")
        self._tasks: list[asyncio.Task[None]] = []
        self.orchestrators: dict[str, OrchestratorView] = {}
        self.discovered = False

    async def start(self) -> None:
        """Ask until `stop`."""
        await self._found.start()
        for question, every_s in (
            (self._ask_status, STATUS_EVERY_S),
            (self._ask_stats, STATS_EVERY_S),
            (self._discover, DISCOVER_EVERY_S),
        ):
            self._tasks.append(self._loop.create_task(self._repeat(question, every_s)))

    async def stop(self) -> None:
        """Ask no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def statuses(self) -> dict[str, FleetStatus]:
        """What was said of each scope lately."""
        oldest_s = self._loop.time() - STALE_AFTER_S
        return {scope: status for scope, (at_s, status) in self._statuses.items() if at_s > oldest_s}

    @property
    def routes(self) -> list[RouteReport]:
        """What was said of the routes lately."""
        if self._stats is None or self._stats[0] <= self._loop.time() - STALE_AFTER_S:
            return []
        return self._stats[1].routes

    async def _repeat(self, ask: Callable[[], Awaitable[None]], every_s: float) -> None:
        while True:
            try:
                await ask()
            except Exception as error:  # noqa: BLE001  (whatever it is, the next answer may be better)
                logger.debug("question_failed", error=type(error).__name__)
            await asyncio.sleep(every_s)

    async def _ask_status(self) -> None:
        for scope in self._scopes:
            # One scope that nobody answers for is no reason to ask for none of the others.
            with contextlib.suppress(FlotillaError):
                status = await ask(
                    self._requests, scope, "status", StatusQuery(needs=True), FleetStatus, timeout_s=ASK_TIMEOUT_S
                )
                self._statuses[scope] = (self._loop.time(), status)

    async def _ask_stats(self) -> None:
        stats = await ask(self._requests, self._scopes[0], "stats", None, StatsReply, timeout_s=ASK_TIMEOUT_S)
        self._stats = (self._loop.time(), stats)

    async def _discover(self) -> None:
        found: dict[str, OrchestratorView] = {}

        async def take(message: Message) -> None:
            try:
                pong = _decode_pong(checked(message.data))
            except UNDECODABLE:
                return
            instance = pong.metadata.get("instance", "")
            if is_replica(instance) and len(found) < ORCHESTRATORS_MAX:
                found[instance] = OrchestratorView(
                    instance=instance,
                    version=printable(pong.version, WORD_LENGTH_MAX),
                    lane=printable(pong.metadata.get("lane", ""), WORD_LENGTH_MAX),
                )
                if instance not in self.orchestrators:
                    self.orchestrators[instance] = found[instance]
                    self._on_change()

        reply = self._found.open(take)
        try:
            await self._connection.publish(DISCOVERY_SUBJECT, reply=reply)
            await asyncio.sleep(DISCOVER_FOR_S)
        finally:
            self._found.close(reply)
        self.discovered = True
        if found != self.orchestrators:
            self.orchestrators = found
            self._on_change()
