"""What one tenant stores and asks takes nothing from another: each scope has stores, bounds and turns of its own."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import nats.errors
import pytest
import pytest_asyncio
from nats.aio.msg import Msg

from flotilla.contracts.blackboard import VALUE_BYTES_MAX
from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.plain_client import BODIES, Json, PlainClient, eventually, new_task

pytestmark = pytest.mark.asyncio(loop_scope="module")

DEAD_MAX = 20
VALUES_MAX = 200
BYTES_MAX = 8 * 1024 * 1024
AT_ONCE_S = 7.0
"""Less than the watches take that fill the places."""
"""In which an honest tenant has its answer, on a busy machine; without turns it waited for the other's questions."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningFleet]:
    """
    One orchestrator, two tenants, and stores that are soon full.
    """
    bounds = {
        "FLOTILLA_DEAD_MAX": str(DEAD_MAX),
        "FLOTILLA_BLACKBOARD_VALUES_MAX": str(VALUES_MAX),
        "FLOTILLA_BLACKBOARD_BYTES_MAX": str(BYTES_MAX),
    }
    async with running_fleet(tmp_path_factory.mktemp("stores"), scopes=("default", "evil"), env=bounds) as fleet:
        yield fleet


@pytest_asyncio.fixture(loop_scope="module")
async def victim(fleet: RunningFleet) -> PlainClient:
    """
    The tenant that does nothing unusual.
    """
    return await fleet.client()


@pytest_asyncio.fixture(loop_scope="module")
async def evil(fleet: RunningFleet) -> PlainClient:
    """
    The one that takes all it can get.
    """
    return await fleet.client("evil")


async def _board(client: PlainClient, verb: str, **question: object) -> Json:
    return await client.api("blackboard", {"verb": verb, **question})


async def test_one_tenants_dead_letters_push_out_none_of_anothers(victim: PlainClient, evil: PlainClient):
    """
    Its own oldest go instead.
    """
    mine = new_task("dead")
    await victim.submit("classify", {"document": 7}, task=mine)
    await victim.dead_record(mine)
    theirs = [new_task("bad") for _ in range(3 * DEAD_MAX)]
    await evil.submit_many("classify", {"document": 7}, theirs)
    await evil.dead_record(theirs[-1])

    listed = await evil.api("dead", {"verb": "list"})
    assert len(listed["dead"]) <= DEAD_MAX
    assert (await victim.dead_record(mine))["task"] == mine
    assert (await victim.api("status"))["dead"] == 1


@pytest.mark.parametrize("what", ["values", "bytes"])
async def test_a_full_blackboard_is_full_for_its_own_tenant_alone(victim: PlainClient, evil: PlainClient, what: str):
    """
    It is told so in words that say what to do, and what it deletes makes room again.
    """
    value = "v" if what == "values" else "v" * (VALUE_BYTES_MAX - 100)
    written: list[str] = []
    refused: Json = {}
    for number in range(VALUES_MAX + 1):
        answer = await _board(evil, "set", key=f"{what}.{number}", value=value)
        if "error" in answer:
            refused = answer["error"]
            break
        written.append(f"{what}.{number}")

    assert refused["kind"] == "too_large"
    assert "delete keys" in refused["message"]
    assert (await _board(victim, "set", key="z", value=1))["value"] == 1
    for key in written:
        deleted = await _board(evil, "delete", key=key)
        assert deleted.get("deleted"), deleted
    # The last traces of the keys, for those who watch, go after some seconds.
    await eventually(lambda: _is_set(evil, "again", value))
    assert (await _board(evil, "delete", key="again"))["deleted"]


async def _is_set(client: PlainClient, key: str, value: str) -> bool:
    return "error" not in await _board(client, "set", key=key, value=value)


async def test_one_tenants_watches_block_nobody(victim: PlainClient, evil: PlainClient):
    """
    More than may wait at a time: the rest are refused, others' and its own other questions are answered at once.
    """
    watch = json.dumps({"verb": "watch", "pattern": "never.>", "wait_ms": 8000}).encode()
    watching = [asyncio.ensure_future(evil.nc.request("api.blackboard", watch, timeout=30)) for _ in range(1100)]
    await eventually(lambda: _refused(watching))
    began = time.monotonic()
    answers = [
        await victim.api("status"),
        await _board(victim, "set", key="watched", value=1),
        await _board(victim, "watch", pattern="watched", wait_ms=5000),
        await evil.api("status"),
    ]
    took_s = time.monotonic() - began
    replies = await asyncio.gather(*watching)

    assert not [answer for answer in answers if "error" in answer]
    assert took_s < AT_ONCE_S
    outcomes = Counter(json.loads(reply.data).get("error", {}).get("kind", "ok") for reply in replies)
    assert outcomes.keys() == {"ok", "no_capacity"}
    assert outcomes["ok"] >= 200


async def _refused(watching: Sequence[asyncio.Future[Msg]]) -> bool:
    """Those who are not let wait are told at once."""
    return any(each.done() for each in watching)


async def test_one_tenants_flood_of_questions_leaves_anothers_answered(victim: PlainClient, evil: PlainClient):
    """
    Each of its questions takes long (nobody holds that task); the other's come to their turn all the same.
    """
    over = asyncio.Event()

    async def flood() -> None:
        while not over.is_set():
            try:
                answer = await evil.nc.request("api.status", b'{"task":"nobodys"}', timeout=10)
                if b"no_capacity" in answer.data:
                    await asyncio.sleep(0.1)
            except nats.errors.TimeoutError:
                continue

    flooding = [asyncio.create_task(flood()) for _ in range(1100)]
    try:
        await asyncio.sleep(1.0)
        latencies: list[float] = []
        for _ in range(10):
            began = time.monotonic()
            assert "error" not in await victim.api("status")
            latencies.append(time.monotonic() - began)
    finally:
        over.set()
        await asyncio.gather(*flooding)

    assert max(latencies) < AT_ONCE_S, latencies


async def test_each_tenants_events_are_kept_apart(fleet: RunningFleet, victim: PlainClient, evil: PlainClient):
    """
    In a stream each, so that one's many leave the other's.
    """
    admin = await fleet.admin()
    for scope, client in (("default", victim), ("evil", evil)):
        before = await admin.messages_in(f"EVENTS_{scope}")
        assert (await client.ask("classify", BODIES["classify"])).kind == ""
        await eventually(lambda scope=scope, before=before: _has_grown(admin, scope, before + 3))


async def _has_grown(admin: PlainClient, scope: str, to: int) -> bool:
    return await admin.messages_in(f"EVENTS_{scope}") >= to
