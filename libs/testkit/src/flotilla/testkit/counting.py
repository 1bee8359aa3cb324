"""The limits and budgets of an orchestrator by themselves, on a real server: what counts, without tasks or workers."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from flotilla.contracts.policy import Policy
from flotilla.fabric.connection import Message, connected
from flotilla.fabric.inbox import Requests
from flotilla.provisioning.streams import ensure
from flotilla.provisioning.topology import COUNTERS
from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.plain_client import connect_plainly
from orchestrator.economy.admission import Admission
from orchestrator.economy.counters import Counters
from orchestrator.economy.reservations import Reservations


class CountedRequests(Requests):
    """
    Requests that are counted.

    Attributes:
        asked: How many there were.
    """

    asked = 0

    async def request(self, *args: Any, **more: Any) -> Message:
        """See `Requests`."""
        self.asked += 1
        return await super().request(*args, **more)


class Counting:
    """
    What one orchestrator counts with.

    Attributes:
        over: What its admissions told of attempts without room: kind, name, outcome.
    """

    def __init__(self, counters: Counters, reservations: Reservations, requests: CountedRequests) -> None:
        self.counters: Final = counters
        self.reservations: Final = reservations
        self.requests: Final = requests
        self.over: Final[list[tuple[str, str, str]]] = []

    def admission(self, policy: Callable[[], Policy], **more: Any) -> Admission:
        """What the attempts of a policy pass; more as `Admission` takes it."""
        admission = Admission(self.reservations, self.counters, policy, **more)
        admission.on_over = lambda kind, name, outcome: self.over.append((kind, name, outcome))
        return admission


@asynccontextmanager
async def counting_on(server: RunningServer, name: str) -> AsyncGenerator[Counting]:
    """An orchestrator's counters, reservations and requests while the block runs."""
    async with connected(server.orchestrator(), name=name) as connection:
        requests = CountedRequests(connection)
        await requests.start()
        counters = Counters(connection, requests, name)
        reservations = Reservations(connection, counters)
        await counters.start()
        reservations.start()
        await connection.settle()
        try:
            yield Counting(counters, reservations, requests)
        finally:
            await counters.stop()
            reservations.stop()
            await requests.stop()


async def make_counters(server: RunningServer) -> None:
    """Make their stream, as an orchestrator does when it starts."""
    async with connected(server.orchestrator(), name="streams") as connection:
        requests = Requests(connection)
        await requests.start()
        await ensure(requests, [COUNTERS])
        await requests.stop()


async def lose_counters(server: RunningServer, *, made_again: bool = True) -> None:
    """Somebody deletes their stream; an orchestrator makes it again."""
    await lose_stream(server, COUNTERS.name)
    if made_again:
        await make_counters(server)


async def lose_stream(server: RunningServer, name: str) -> None:
    """Somebody deletes a stream, if it is there."""
    role = server.admin()
    admin = await connect_plainly(server.url, nkeys_seed=str(role.creds), inbox_prefix=role.inbox_prefix)
    await admin.stream("STREAM.DELETE", name)
    await admin.nc.close()
