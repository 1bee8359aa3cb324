"""What a stream keeps on many subjects, asked for at once."""

from collections.abc import AsyncIterator

import pytest

from flotilla.fabric.connection import connected
from flotilla.fabric.inbox import Requests
from flotilla.fabric.stored import LAST_OF_EACH_MAX, SCAN_BATCH_BYTES, last_of_each
from flotilla.provisioning.streams import ensure
from flotilla.provisioning.topology import topology
from flotilla.testkit.nats_server import RunningServer

STREAM = "STEPS_default"


@pytest.fixture
async def requests(nats_server: RunningServer) -> AsyncIterator[Requests]:
    """
    Of an orchestrator whose scope has its streams.
    """
    async with connected(nats_server.orchestrator(), name="orchestrator") as connection:
        made = Requests(connection)
        await made.start()
        await ensure(made, topology(("default",)))
        yield made


async def _keep(requests: Requests, run: str, count: int, body: bytes = b"kept") -> None:
    for number in range(count):
        await requests.request(f"step.default.{run}.one.{number}.d", body)


async def test_each_subject_that_matches_gives_its_message_in_the_order_of_the_stream(requests: Requests):
    """
    Of one run and no other; nothing is an empty list.
    """
    for run in ("a", "b"):
        await _keep(requests, run, 3)

    found = await last_of_each(requests, STREAM, "step.default.a.*.*.*")

    assert found is not None
    assert [f"step.default.a.one.{number}.d" for number in range(3)] == [message.subject for message in found]
    assert {b"kept"} == {message.body for message in found}
    assert [] == await last_of_each(requests, STREAM, "step.default.nobody.*.*.*")


async def test_what_is_more_than_comes_at_once_is_said_to_be(requests: Requests):
    """
    By its number, and by its bytes.
    """
    await _keep(requests, "many", LAST_OF_EACH_MAX + 1)
    await _keep(requests, "large", 4, b"x" * (SCAN_BATCH_BYTES // 2 - 4096))

    assert await last_of_each(requests, STREAM, "step.default.many.*.*.*") is None
    assert await last_of_each(requests, STREAM, "step.default.large.*.*.*") is None
