"""
Stores of the version before approvals, the result cache and limits are taken over: with all that they hold, in place.

`version_before_approvals/streams.json` has that version's configurations, as its orchestrators sent them.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest_asyncio

from flotilla.fabric.connection import NatsSettings, connected
from flotilla.fabric.inbox import Requests
from flotilla.fabric.jetstream_api import stream_create, stream_info
from flotilla.provisioning.takeover import make_stores
from flotilla.provisioning.topology import topology
from flotilla.testkit.nats_server import RunningServer, running_server

SCOPES: Final = ("default", "acme")
BEFORE: Final = Path(__file__).parent / "version_before_approvals" / "streams.json"
MESSAGES: Final = 3
DAY_NS: Final = 86_400 * 1_000_000_000
"""What is kept for less may be gone when it is looked at."""


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[RunningServer]:
    """
    Of this version, as after a restart: streams outlive it.
    """
    async with running_server(tmp_path, scopes=SCOPES) as running:
        yield running


async def test_every_store_of_the_version_before_is_taken_over_with_what_it_holds(server: RunningServer):
    """
    By an orchestrator, with its own permissions, however often one starts.
    """
    before: list[dict[str, Any]] = msgspec.json.decode(BEFORE.read_bytes())
    admin = server.admin()
    async with connected(admin, name="before") as connection:
        requests = Requests(connection)
        await requests.start()
        for config in before:
            await _answered(requests, stream_create(config["name"]), config)
            subject: str = config["subjects"][0]
            for number in range(MESSAGES):
                await _answered(requests, subject.replace(">", f"classify.t{number}"), {"number": number})
        await requests.stop()
    lasting = {config["name"] for config in before if not 0 < config.get("max_age", 0) < DAY_NS}
    held = await _states(admin, lasting)

    for _ in range(2):
        await _start(server)
    wanted = {config.name for config in topology(SCOPES)}
    taken = await _states(admin, wanted)

    assert dict.fromkeys(lasting, MESSAGES) == {name: state["messages"] for name, state in held.items()}
    assert held == {name: state for name, state in taken.items() if name in lasting}
    assert wanted == set(taken)


async def _start(server: RunningServer) -> None:
    """What an orchestrator does first."""
    async with connected(server.orchestrator(), name="now") as connection:
        requests = Requests(connection)
        await requests.start()
        await make_stores(requests, SCOPES)
        await requests.stop()


async def _states(admin: NatsSettings, names: set[str]) -> dict[str, dict[str, Any]]:
    """Messages and sequences of those streams that are there."""
    found: dict[str, dict[str, Any]] = {}
    async with connected(admin, name="looks") as connection:
        requests = Requests(connection)
        await requests.start()
        for name in names:
            answer = msgspec.json.decode((await requests.request(stream_info(name))).data)
            if "error" not in answer:
                state = answer["state"]
                found[name] = {key: state[key] for key in ("messages", "first_seq", "last_seq")}
        await requests.stop()
    return found


async def _answered(requests: Requests, subject: str, body: object) -> None:
    answer = msgspec.json.decode((await requests.request(subject, msgspec.json.encode(body))).data)
    assert "error" not in answer, answer
