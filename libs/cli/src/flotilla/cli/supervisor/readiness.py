"""
Whether tasks will be served: asked of the fleet itself, as an observer, and of the sealed lane as a tenant.

Each orchestrator answers for what it sees, and only one of them answers a question, so the question is asked until
every one has said that every replica takes tasks. A replica that it has not heard counts as not there: the store of a fleet
that was killed a moment ago holds the cards of replicas that died with it.
"""

import asyncio
from collections import Counter
from typing import Final

import msgspec
from msgspec import Struct

from flotilla.contracts import subjects
from flotilla.contracts.api import FleetStatus
from flotilla.contracts.names import DEFAULT_SCOPE
from flotilla.contracts.subjects import Zone
from flotilla.fabric.connection import NatsSettings, connected
from flotilla.fabric.errors import FabricError
from flotilla.fabric.inbox import Requests

ASK_TIMEOUT_S: Final = 2.0
ASK_EVERY_S: Final = 0.05
ASKED_AT_ONCE_MAX: Final = 64

_decode_status: Final = msgspec.json.Decoder(FleetStatus).decode


class Wanted(Struct, frozen=True, kw_only=True):
    """How many of each must be there."""

    orchestrators: int
    replicas: dict[Zone, int]


class Readiness:
    """
    What the fleet has said so far.

    Attributes:
        missing: What was not there when it was last asked, for people.
    """

    def __init__(self, wanted: Wanted, *, lane: str = "") -> None:
        self._wanted = wanted
        self._lane = lane
        self._complete: set[str] = set()
        self.missing = f"no {lane}orchestrator has answered"

    @property
    def orchestrators(self) -> int:
        """How many orchestrators are wanted."""
        return self._wanted.orchestrators

    @property
    def is_ready(self) -> bool:
        """Whether every orchestrator has said that every replica takes tasks."""
        return len(self._complete) >= self._wanted.orchestrators

    def hear(self, status: FleetStatus) -> None:
        """Take one orchestrator's word."""
        seen: Counter[Zone] = Counter()
        for pool in status.pools:
            seen[pool.zone] += pool.replicas - pool.draining - pool.unheard
        absent = {zone: count - seen[zone] for zone, count in self._wanted.replicas.items() if seen[zone] < count}
        if absent:
            self.missing = ", ".join(f"{count} of the {zone} replicas" for zone, count in absent.items())
            return
        self._complete.add(status.orchestrator)
        if not self.is_ready:
            self.missing = f"{self._wanted.orchestrators - len(self._complete)} of the {self._lane}orchestrators"


async def watch_until_ready(
    settings: NatsSettings, readiness: Readiness, *, subject: str = subjects.api(DEFAULT_SCOPE, "status")
) -> None:
    """
    Return when the fleet is ready; asks on `subject` until then. Nobody is asked where nobody is wanted.

    Raises:
        ConnectFailedError: No server answers.
    """
    if readiness.is_ready:
        return
    async with connected(settings, name="flotilla up") as connection:
        requests = Requests(connection)
        await requests.start()

        async def ask() -> None:
            try:
                reply = await requests.request(subject, timeout_s=ASK_TIMEOUT_S)
                readiness.hear(_decode_status(reply.data))
            except (FabricError, msgspec.MsgspecError):
                return

        try:
            at_once = min(2 * readiness.orchestrators, ASKED_AT_ONCE_MAX)
            while not readiness.is_ready:
                await asyncio.gather(*(ask() for _ in range(at_once)))
                await asyncio.sleep(ASK_EVERY_S)
        finally:
            await requests.stop()
