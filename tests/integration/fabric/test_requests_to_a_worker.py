"""What arrives on a worker's lane, with whatever reply and body: the worker goes on, its slots are free."""

import asyncio
import time
from collections.abc import AsyncGenerator

import msgspec
import pytest

from flotilla.contracts.attempts import Failed, Finished, InferRequest, Usage, encode
from flotilla.fabric import slots
from flotilla.fabric.connection import Connection, connected
from flotilla.fabric.slots import ActiveAttempt, Slots, serving
from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.raw_client import RawClient, raw_client

LANE = b"infer.local.p.m"
REPLIES = [
    b"",
    b"a..b",
    b".",
    b"a.",
    b".a",
    b"a.*",
    b">",
    b"\xff\xfe",
    b"a\x00b",
    b"a\x0bb",
    b"x" * 3_000,
    b"nobody.listens",
]
BODIES = [b"", b"{}", b"[]", b"null", b"\xff", b'{"type":"infer"}', b"[" * 10_000]


def request(attempt: str) -> bytes:
    """A proper one."""
    return encode(
        InferRequest(
            task="t",
            attempt=attempt,
            capability="classify",
            model="m",
            input=msgspec.Raw(b"{}"),
            deadline_unix_ms=int(time.time() * 1000) + 60_000,
            data_class="internal",
        )
    )


async def work(held: ActiveAttempt) -> Finished | Failed:
    """Answer after a turn of the loop."""
    await asyncio.sleep(0)
    done = msgspec.Raw(b'{"done":true}')
    return Finished(output=done, usage=Usage(), provider="noop", model=held.request.model, replica="r")


@pytest.fixture
async def connection(nats_server: RunningServer) -> AsyncGenerator[Connection]:
    """The worker's; it must not be lost."""
    async with connected(nats_server.admin(), name="worker") as connection:
        yield connection
        assert connection.reconnects == 0


@pytest.fixture
async def hostile(nats_server: RunningServer) -> AsyncGenerator[RawClient]:
    """Sends any bytes to any subject."""
    async with raw_client(nats_server.admin()) as client:
        yield client


@pytest.mark.parametrize("eager", [False, True])
async def test_no_reply_and_no_body_costs_a_worker_its_connection(
    connection: Connection,
    hostile: RawClient,
    eager: bool,  # noqa: FBT001
):
    """
    Neither an empty one nor one that is no subject, busy or not; the next request is answered.
    """
    async with serving(
        connection, zone="local", pool="p", replica="r", slots=2, work=work, grace_s=1.0, eager=eager
    ) as lane:
        for reply in REPLIES:
            for number, body in enumerate([*BODIES, request("a-1"), request("a-2"), request("a-3")]):
                hostile.publish(LANE, body, reply=reply)
                hostile.publish(b"infer-control.local.p.r", body, reply=reply)
                if number % 4 == 0:
                    await hostile.flush()
        await hostile.flush()

        answers = [await hostile.request(LANE, request(f"b-{number}")) for number in range(5)]
        async with asyncio.timeout(60):
            while lane.busy:
                await asyncio.sleep(0.01)

    assert ["finished"] * 5 == [answer["type"] for answer in answers]


async def test_an_attempt_that_is_said_twice_is_done_once(connection: Connection, hostile: RawClient):
    """
    And answered to whom it was said first.
    """
    begun = asyncio.Event()
    done = asyncio.Event()

    async def slow(held: ActiveAttempt) -> Finished | Failed:
        begun.set()
        await done.wait()
        return await work(held)

    async with serving(connection, zone="local", pool="p", replica="r", slots=4, work=slow, grace_s=1.0) as lane:
        hostile.subscribe(b"answers.*")
        hostile.publish(LANE, request("a"), reply=b"answers.first")
        await asyncio.wait_for(begun.wait(), 60)
        hostile.publish(LANE, request("a"), reply=b"answers.second")
        await hostile.flush()
        await connection.settle()
        assert lane.busy == 1
        done.set()
        await hostile.until(b"answers.first")
        await hostile.flush()

    assert not any(b"answers.second" in line for line in hostile.said)


async def test_a_worker_without_work_rests_and_says_in_time_that_it_has_some(
    connection: Connection, hostile: RawClient, monkeypatch: pytest.MonkeyPatch
):
    """
    Its heartbeat goes on, seldom; who sends it work hears of it as ever.
    """
    monkeypatch.setattr(slots, "REST_S", 0.3)
    done = asyncio.Event()

    async def slow(held: ActiveAttempt) -> Finished | Failed:
        await done.wait()
        return await work(held)

    async def renewed(lane: Slots) -> float:
        before = lane.renewed_at
        async with asyncio.timeout(60):
            while lane.renewed_at == before:
                await asyncio.sleep(0.01)
        return lane.renewed_at

    async with serving(connection, zone="local", pool="p", replica="r", slots=1, work=slow, grace_s=1.0) as lane:
        first, second = await renewed(lane), await renewed(lane)
        monkeypatch.setattr(slots, "REST_S", 3_600.0)
        third = await renewed(lane)
        began = time.monotonic()
        said = await hostile.request(LANE, request("a"))
        took_s = time.monotonic() - began
        done.set()

    assert 0.3 <= second - first
    assert 0.3 <= third - second
    assert "accepted" == said["type"]
    assert slots.ACCEPTED_AFTER_S <= took_s


async def test_a_worker_that_is_full_has_left_its_group_before_its_work_begins(
    connection: Connection, hostile: RawClient
):
    """
    Its leaving is written with all else that the read leads to: what the server sends it until then is refused.
    """
    groups: list[set[str]] = []

    async def look(held: ActiveAttempt) -> Finished | Failed:
        groups.append({each.queue for each in connection.nc._subs.values()})  # pyright: ignore[reportPrivateUsage]
        return await work(held)

    async with serving(connection, zone="local", pool="p", replica="r", slots=1, work=look, grace_s=1.0):
        answers = [await hostile.request(LANE, request(f"a-{number}")) for number in range(3)]

    assert ["finished"] * 3 == [answer["type"] for answer in answers]
    assert [{""}] * 3 == groups
