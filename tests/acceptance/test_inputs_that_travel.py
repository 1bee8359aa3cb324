"""What no worker could read is refused on the way in: a worker that refuses it would look like one that is broken."""

import pytest

from flotilla.contracts.decoding import INPUT_DEPTH_MAX
from flotilla.testkit.fleet import RunningFleet
from flotilla.testkit.plain_client import BODIES, new_task

pytestmark = pytest.mark.asyncio(loop_scope="session")

ENOUGH_TO_OPEN_A_BREAKER = 10


def classify_with(more: bytes) -> bytes:
    """A good input with one more field, which nobody looks at."""
    return b'{"document":"x","labels":["a","b"],"more":' + more + b"}"


def nested(depth: int) -> bytes:
    """Lists in lists, the input's object being the first level."""
    return classify_with(b"[" * (depth - 1) + b"]" * (depth - 1))


@pytest.mark.parametrize("depth", [INPUT_DEPTH_MAX + 1, 99, 100, 101, 500])
async def test_an_input_that_is_nested_too_deeply_is_a_bad_request(calm_fleet: RunningFleet, depth: int):
    """
    Asked and durable, whoever would have served it.
    """
    client = await calm_fleet.client()
    task = new_task("deep")
    async with client.hearing("results.>") as results:
        asked = await client.ask("classify", nested(depth))
        await client.submit("classify", nested(depth), task=task)
        durable = await results.result(task)

    assert ("bad_request", "bad_request") == (asked.kind, durable["error"]["kind"])
    assert not (await client.ask("classify", nested(INPUT_DEPTH_MAX))).kind


@pytest.mark.parametrize(
    "more", [b'"\xff"', b'"\xed\xa0\x80"', b"[" * 200 + b"]" * 200], ids=["ff", "surrogate", "deep"]
)
async def test_no_input_closes_a_route_for_others(calm_fleet: RunningFleet, more: bytes):
    """
    Not in a part that nobody looks at either: no attempt is made, and no breaker hears of it.
    """
    client = await calm_fleet.client()
    kinds = {(await client.ask("classify", classify_with(more))).kind for _ in range(ENOUGH_TO_OPEN_A_BREAKER)}
    honest = await client.ask("classify", BODIES["classify"])

    assert {"bad_request"} == kinds
    assert ("", "local") == (honest.kind, honest.result["pool"])
