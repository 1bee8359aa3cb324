"""Who is there: seen at once, gone when they leave or die, and not gone because somebody else stands still."""

import asyncio
import json
from pathlib import Path

import nats.errors

from flotilla.testkit.fleet import running_fleet
from flotilla.testkit.plain_client import PlainClient, eventually

FROZEN_S = 7.5
FORGOTTEN_AFTER_S = 6.0
"""A replica that is silent; one that leaves says so."""
"""Longer than a silent replica is believed in, and than its card stays in the bucket."""
KEY = "$JS.API.DIRECT.GET.KV_presence.$KV.presence.local.local.local-w1"


async def test_frozen_orchestrators_make_no_replica_disappear(tmp_path: Path):
    """
    From the bucket, while the others write it; nor from their own view, when they go on.
    """
    async with running_fleet(tmp_path, orchestrators=3, local=1) as fleet:
        admin, caller = await fleet.admin(), await fleet.client()
        frozen = fleet.orchestrators[:2]
        await eventually(lambda: _is_kept(admin))
        for process in frozen:
            process.freeze()
        kept: list[bool] = []
        ends_at = asyncio.get_running_loop().time() + FROZEN_S
        while asyncio.get_running_loop().time() < ends_at:
            kept.append(await _is_kept(admin))
            await asyncio.sleep(0.1)
        for process in frozen:
            process.thaw()
        said: dict[str, int] = {}
        async with asyncio.timeout(60):
            while len(said) < len(fleet.orchestrators):
                await _hear_one(caller, said)

    assert all(kept)
    assert said == {process.name: 1 for process in fleet.orchestrators}


async def test_a_killed_replica_is_gone_within_seconds_and_one_that_leaves_at_once(tmp_path: Path):
    """
    From the view of the orchestrators, and from the bucket.
    """
    async with running_fleet(tmp_path, orchestrators=1, local=2) as fleet:
        admin = await fleet.admin()
        killed, leaving = fleet.workers
        loop = asyncio.get_running_loop()
        leaving.terminate()
        await leaving.wait()
        left_at = loop.time()
        await fleet.until_replicas({killed.name}, absent=frozenset({leaving.name}))
        gone_s = loop.time() - left_at
        killed.kill()
        await fleet.until_replicas(set(), absent=frozenset({killed.name, leaving.name}))
        await eventually(lambda: _is_gone(admin))

    assert gone_s < FORGOTTEN_AFTER_S


async def _is_kept(admin: PlainClient) -> bool:
    """Whether the bucket has the first worker's card."""
    message = await admin.nc.request(KEY, b"", timeout=60)
    headers = message.headers or {}
    return bool(message.data) and "Nats-Marker-Reason" not in headers and json.loads(message.data)["slots"] > 0


async def _is_gone(admin: PlainClient) -> bool:
    return not await _is_kept(admin)


async def _hear_one(caller: PlainClient, said: dict[str, int]) -> None:
    """How many replicas one orchestrator sees; its first word counts. One that has just gone on may not answer yet."""
    try:
        answer = await caller.api("status", timeout_s=1.0)
    except (nats.errors.Error, TimeoutError):
        return
    said.setdefault(answer["orchestrator"], sum(pool["replicas"] for pool in answer["pools"]))
