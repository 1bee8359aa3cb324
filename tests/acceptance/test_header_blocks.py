"""Header blocks that some reader would understand otherwise: refused on both ways in, and kept as restricted."""

import json

import pytest

from flotilla.testkit.fleet import RunningFleet
from flotilla.testkit.plain_client import BODIES, PlainClient, new_task
from flotilla.testkit.raw_client import raw_client

pytestmark = pytest.mark.asyncio(loop_scope="session")

CLASSIFY = json.dumps(BODIES["classify"]).encode()
CLASS = b"Flotilla-Data-Class: restricted\r\n"

ODD = {
    "twice": CLASS + b"Flotilla-Data-Class: public\r\n",
    "twice the same": CLASS + CLASS,
    "twice in other capitals": CLASS + b"flotilla-data-class: public\r\n",
    "space before the name": b" " + CLASS,
    "space in the name": b"Flotilla-Data Class: restricted\r\n",
    "space before the colon": b"Flotilla-Data-Class : restricted\r\n",
    "tab": b"Flotilla-Data-Class:\trestricted\r\n",
    "name not ASCII": b"Flotilla-Data-Class\xc2\xa0: restricted\r\n",
    "name not UTF-8": b"Flotilla-Data-Class\xff: restricted\r\n",
    "no colon": b"Flotilla-Data-Class restricted\r\n",
    "LF for CR LF": b"X: 1\n" + CLASS,
    "lone CR": b"X: 1\r" + CLASS,
    "folded": b"X: 1\r\n " + CLASS,
    "NUL": b"Flotilla-Data-Class: restricted\x00\r\n",
    "empty": b"Flotilla-Data-Class:\r\n",
    "empty line": b"\r\n" + CLASS,
    "look-alike": b"X-Flotilla-Data-Class: restricted\r\n",
    "run together": b"X: 1" + CLASS,
}
BLOCKS = {
    **{name: b"NATS/1.0\r\n" + lines + b"\r\n" for name, lines in ODD.items()},
    "no version": CLASS + b"\r\n",
    "no end": b"NATS/1.0\r\n" + CLASS,
}
STATUS = {
    "inline status": b"NATS/1.0 503\r\n" + CLASS + b"\r\n",
    "in the first line": b"NATS/1.0 " + CLASS + b"\r\n",
    "line ends": b"\r\n\r\n",
}
"""JetStream takes a status off the first line of what it stores, so these are seen as they came only by `ask`."""


@pytest.mark.parametrize("name", [*BLOCKS, *STATUS])
async def test_an_interactive_task_with_a_header_block_that_is_not_understood_is_refused(
    calm_fleet: RunningFleet, name: str
):
    """
    It might have said `restricted`, so nobody works on it; the caller learns which line it was.
    """
    async with raw_client(calm_fleet.server.anonymous()) as raw:
        answer = await raw.request(b"ask.classify", CLASSIFY, headers={**BLOCKS, **STATUS}[name])

    assert answer["error"]["kind"] == "bad_request"
    assert answer["error"]["details"]["path"].startswith("header")


@pytest.mark.parametrize("name", BLOCKS)
async def test_a_durable_task_with_a_header_block_that_is_not_understood_fails_and_is_kept_as_restricted(
    calm_fleet: RunningFleet, caller: PlainClient, name: str
):
    """
    A retry would lose what could not be read, so there is none: not `internal`, and nothing is published.
    """
    block = BLOCKS[name].replace(b"NATS/1.0\r\n", b"NATS/1.0\r\nNats-Msg-Id: %b\r\n" % new_task().encode(), 1)
    async with raw_client(calm_fleet.server.anonymous()) as raw, caller.hearing("results.>") as results:
        ack = await raw.request(b"tasks.classify", CLASSIFY, headers=block)
        await results.until(lambda heard: heard.messages)
        (result,) = results.bodies()
    record = await caller.dead_record(result["task"])
    retried = await caller.api("dead", {"verb": "retry", "task": result["task"]})

    assert ack["seq"]
    assert result["error"]["kind"] == "bad_request"
    assert record["data_class"] == "restricted"
    assert retried["error"]["kind"] == "bad_request"


async def test_a_well_formed_block_with_the_headers_of_others_is_served(calm_fleet: RunningFleet):
    """
    Tracing tools, and orders to the server that concern the caller's own message.
    """
    block = (
        b"NATS/1.0\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
        b"baggage: a=1\r\nbaggage: b=2\r\nX-Empty:\r\nFlotilla-Data-Class:restricted\r\n"
        b"Nats-Expected-Stream: TASKS_default\r\n\r\n"
    )
    async with raw_client(calm_fleet.server.anonymous()) as raw:
        answer = await raw.request(b"ask.classify", CLASSIFY, headers=block)

    assert answer["status"] == "ok"
    assert answer["zone"] == "local"


async def test_what_is_waiting_for_nobody_is_read_as_strictly(calm_fleet: RunningFleet, caller: PlainClient):
    """
    The sweep reads tasks from the stream itself when no pool serves their capability.
    """
    block = b"NATS/1.0\r\n" + ODD["twice"] + b"\r\n"
    async with raw_client(calm_fleet.server.anonymous()) as raw, caller.hearing("results.>") as results:
        await raw.request(b"tasks.synthesize", json.dumps({"sources": ["a"]}).encode(), headers=block)
        await results.until(lambda heard: heard.messages)
        (result,) = results.bodies()
    record = await caller.dead_record(result["task"])

    assert result["error"]["kind"] == "bad_request"
    assert record["data_class"] == "restricted"
