"""
Stores of earlier versions are taken over: with all that they hold, in place.

`version_*/streams.json` has each version's configurations, as its orchestrators sent them; the newest are this version's own.
Whoever changes a store writes another beside them, so that what was in use until then goes on being tried.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import pytest_asyncio

from flotilla.fabric.connection import NatsSettings, connected
from flotilla.fabric.counters import INCREMENT, standing_of
from flotilla.fabric.inbox import Requests
from flotilla.fabric.jetstream_api import stream_create, stream_info
from flotilla.provisioning.takeover import make_stores
from flotilla.provisioning.topology import topology
from flotilla.testkit.nats_server import RunningServer, running_server

SCOPES: Final = ("default", "acme")
HERE: Final = Path(__file__).parent
NEWEST: Final = "version_with_approvals"
VERSIONS: Final = ("version_before_approvals", NEWEST)
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


def configurations(version: str) -> list[dict[str, Any]]:
    """The streams of a version."""
    return msgspec.json.decode((HERE / version / "streams.json").read_bytes())


def test_the_stores_of_this_version_are_among_those_that_are_tried():
    """
    As they are: a change of one is taken over from what was in use before, and that has to be kept here.
    """
    now: list[dict[str, Any]] = msgspec.json.decode(msgspec.json.encode(topology(SCOPES)))

    assert now == configurations(NEWEST)


@pytest.mark.parametrize("version", VERSIONS)
async def test_every_store_of_a_version_before_is_taken_over_with_what_it_holds(server: RunningServer, version: str):
    """
    By an orchestrator, with its own permissions, however often one starts. Counters go on from their totals.
    """
    before = configurations(version)
    admin = server.admin()
    async with connected(admin, name="before") as connection:
        requests = Requests(connection)
        await requests.start()
        for config in before:
            await _answered(requests, stream_create(config["name"]), config)
            subject: str = config["subjects"][0]
            adds = {INCREMENT: "+7"} if config.get("allow_msg_counter") else None
            for number in range(MESSAGES):
                # Counters have one subject, so that their total is that of all messages.
                last = "sum" if adds else f"t{number}"
                held_on = subject.replace(">", f"classify.{last}").replace("*", last)
                await _answered(requests, held_on, {"number": number}, adds)
        await requests.stop()
    lasting = {config["name"] for config in before if not 0 < config.get("max_age", 0) < DAY_NS}
    counting = [config["name"] for config in before if config.get("allow_msg_counter")]
    held = await _states(admin, lasting)

    for _ in range(2):
        await _start(server)
    wanted = {config.name for config in topology(SCOPES)}
    taken = await _states(admin, wanted)

    assert dict.fromkeys(lasting, MESSAGES) == {name: state["messages"] for name, state in held.items()}
    assert held == {name: state for name, state in taken.items() if name in lasting}
    assert wanted == set(taken)
    assert [7 * MESSAGES] * len(counting) == [await _total(server, name) for name in counting]


async def _total(server: RunningServer, stream: str) -> int:
    """What the counter in a stream stands at, for an orchestrator."""
    async with connected(server.orchestrator(), name="now") as connection:
        requests = Requests(connection)
        await requests.start()
        total = (await standing_of(requests, stream, ">")).total
        await requests.stop()
    return total


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


async def _answered(requests: Requests, subject: str, body: object, headers: dict[str, str] | None = None) -> None:
    encoded = b"" if headers else msgspec.json.encode(body)
    answer = msgspec.json.decode((await requests.request(subject, encoded, headers=headers)).data)
    assert "error" not in answer, answer
