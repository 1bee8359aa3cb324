"""The raw side of the benchmark, against a real server: its responders are processes, as in a run."""

import asyncio

import pytest

from flotilla.cli.bench.durable_throughput import make_raw_stream, pull_all_s
from flotilla.cli.bench.errors import WrongAnswerError
from flotilla.cli.bench.fleets import admin
from flotilla.cli.bench.responder import ECHO, RELAY, responding
from flotilla.cli.bench.traffic import (
    BODY_BYTES,
    check_ok,
    classify_body,
    closed_loop,
    publish_acknowledged,
    raw_request,
    relayed_request,
)
from flotilla.cli.supervisor.supervisor import FleetFacts
from flotilla.testkit.nats_server import RunningServer


@pytest.fixture
def facts(nats_server: RunningServer) -> FleetFacts:
    """
    A server without a fleet, told of as `flotilla up` would.
    """
    return FleetFacts(
        url=nats_server.url, dir="", pids={}, credentials={"admin": str(nats_server.credentials.path("admin"))}
    )


async def test_the_echo_and_the_relay_answer_in_a_closed_loop(facts: FleetFacts) -> None:
    """
    Every request is answered with its own bytes, by one hop and by two.
    """
    async with responding(facts, ECHO), responding(facts, RELAY), admin(facts) as connection:
        for request in (raw_request(connection), relayed_request(connection)):
            loop = await closed_loop(request, in_flight=8, duration_s=0.1)

            assert len(loop.latencies_ms) >= 8
            assert loop.per_s == len(loop.latencies_ms) / loop.elapsed_s
            assert loop.elapsed_s >= 0.1


async def test_what_was_published_is_pulled_and_acknowledged_to_the_last(facts: FleetFacts) -> None:
    """
    More than one batch; afterwards the work queue is empty.
    """
    async with admin(facts) as connection:
        jetstream = await make_raw_stream(connection)
        await publish_acknowledged(connection, "bench.tasks", classify_body(), 700)
        assert (await jetstream.stream_info("BENCH")).state.messages == 700

        assert await pull_all_s(connection, 700) > 0
        await connection.settle()

        # The server takes plain acknowledgements in its own time.
        async with asyncio.timeout(60):
            while (await jetstream.stream_info("BENCH")).state.messages:
                await asyncio.sleep(0.02)


async def test_a_publish_that_a_full_stream_refuses_ends_the_measurement(facts: FleetFacts) -> None:
    """
    The server answers each with an error: what was counted as acknowledged would not be there.
    """
    async with admin(facts) as connection:
        jetstream = await make_raw_stream(connection)
        await jetstream.update_stream(
            name="BENCH", subjects=["bench.tasks"], retention="workqueue", max_msgs=3, discard="new"
        )
        with pytest.raises(WrongAnswerError, match="refused"):
            await publish_acknowledged(connection, "bench.tasks", classify_body(), 4)


async def test_a_publish_that_no_stream_takes_ends_the_measurement(facts: FleetFacts) -> None:
    """
    Nobody listens there, and the server says so.
    """
    async with admin(facts) as connection:
        with pytest.raises(WrongAnswerError, match="refused"):
            await publish_acknowledged(connection, "tasks.classify", classify_body(), 2)


def test_a_body_has_the_size_that_the_figures_claim() -> None:
    """
    With and without a text of its own.
    """
    assert len(classify_body()) == BODY_BYTES
    assert len(classify_body(300, text="0.25 ")) == 300


def test_a_failed_task_is_no_throughput() -> None:
    """
    The error is named by its kind.
    """
    check_ok(b'{"task":"a","status":"ok"}')
    with pytest.raises(WrongAnswerError, match="no_route"):
        check_ok(b'{"error":{"kind":"no_route","message":"m","retryable":false}}')
    with pytest.raises(WrongAnswerError, match="3 bytes"):
        check_ok(b"???")
