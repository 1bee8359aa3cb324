"""What the members of an account may take of the server's connections and memory, whatever role's credentials were stolen."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from flotilla.fabric.connection import NatsSettings
from flotilla.provisioning.server_spec import SUBSCRIPTIONS_MAX
from flotilla.testkit.nats_server import RunningServer, running_server
from flotilla.testkit.raw_client import raw_client

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONNECTIONS = 3
MORE = 10


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    """
    One that lets few connect.
    """
    directory = tmp_path_factory.mktemp("limits")
    async with running_server(directory, scopes=("default", "acme"), connections_max=CONNECTIONS) as running:
        yield running


def stolen(server: RunningServer) -> dict[str, tuple[NatsSettings, bytes]]:
    """Whose credentials, and what they may subscribe to."""
    return {
        "tenant": (server.tenant("acme"), b"results.%d.>"),
        "nobody's": (server.anonymous(), b"events.%d.>"),
        "approver": (server.approver("acme"), b"events.%d.>"),
        "observer": (server.observer(), b"_INBOX.observer.%d"),
        "local worker": (server.worker("local", "local"), b"_INBOX.local.local.%d"),
        "cloud worker": (server.worker("cloud", "cloud"), b"_INBOX.cloud.cloud.%d"),
    }


ROLES = ("tenant", "nobody's", "approver", "observer", "local worker", "cloud worker")


async def _subscribe(settings: NatsSettings, subject: bytes, count: int) -> list[bytes]:
    """What the server says to so many subscriptions."""
    async with raw_client(settings) as raw:
        raw.said.clear()
        for number in range(count):
            raw.send(b"SUB %b %d\r\n" % (subject.replace(b"%d", b"%d" % number), number))
        await raw.flush()
        return [line for line in raw.said if line.startswith(b"-ERR")]


@pytest.mark.parametrize("role", ROLES)
async def test_a_connection_has_so_many_subscriptions_and_no_more(server: RunningServer, role: str):
    """
    Each costs the server kilobytes: without an end to them one connection takes all of its memory within a minute.
    """
    settings, subject = stolen(server)[role]

    assert [] == await _subscribe(settings, subject, SUBSCRIPTIONS_MAX)
    refused = await _subscribe(settings, subject, SUBSCRIPTIONS_MAX + MORE)
    assert len(refused) == MORE, refused
    assert b"maximum subscriptions exceeded" in refused[0].lower()


@pytest.mark.parametrize("role", ROLES)
async def test_an_account_has_so_many_connections_and_no_more(server: RunningServer, role: str):
    """
    And its members shut nobody else out.
    """
    settings, _ = stolen(server)[role]
    async with AsyncExitStack() as stack:
        for _ in range(CONNECTIONS):
            await stack.enter_async_context(raw_client(settings))
        with pytest.raises(ConnectionError):
            await stack.enter_async_context(raw_client(settings))
        for other in (server.orchestrator(), server.admin(), *(stolen(server)[each][0] for each in others(role))):
            async with raw_client(other):
                pass


def others(role: str) -> tuple[str, ...]:
    """Those of other accounts; a tenant's approvers are in its own."""
    return tuple(each for each in ROLES if each != role and {each, role} != {"tenant", "approver"})
