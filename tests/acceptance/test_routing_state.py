"""What orchestrators know of routes and policy survives restarts, dead writers and other versions."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import nats.errors
import pytest
import pytest_asyncio

from flotilla.client import Fleet, FlotillaError
from flotilla.contracts.api_routing import RouteReport
from flotilla.fabric.kv_cache import RELIST_AGAIN_S, RELIST_S
from flotilla.testkit.commands import start_command
from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.plain_client import BODIES, PlainClient

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLASSIFY = BODIES["classify"]
POLICY = "$KV.policy.routing"
GHOST = "$KV.stats.local.noop-1.summarize.ghost"
UP = ("up", "--engine", "noop", "--port", "0", "--no-portal", "--json")
LOCAL = {"pool": "local"}
CLOUD = {"pool": "cloud"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningFleet]:
    """
    Two orchestrators, a pool in each zone.
    """
    async with running_fleet(tmp_path_factory.mktemp("state"), orchestrators=2, local=1, cloud=1) as fleet:
        yield fleet


@pytest_asyncio.fixture(loop_scope="module")
async def api(fleet: RunningFleet) -> AsyncIterator[Fleet]:
    """
    A caller.
    """
    async with Fleet.connect(fleet.url) as api:
        yield api


async def write(admin: PlainClient, subject: str, body: dict[str, Any] | bytes) -> int:
    """Put something in a bucket as another version would; gives the revision."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return json.loads((await admin.nc.request(subject, raw, timeout=5)).data)["seq"]


async def write_soon(admin: PlainClient, subject: str, body: dict[str, Any]) -> int:
    """Put something in a bucket as soon as the server takes it."""
    async with asyncio.timeout(60):
        while True:
            with suppress(nats.errors.Error, TimeoutError):
                return await write(admin, subject, body)
            await asyncio.sleep(0.02)


async def first_routes(api: Fleet, times: int = 8) -> set[tuple[int, str]]:
    """The revision in force and the first route, as each orchestrator says when asked again and again."""
    found = [await api.explain("classify") for _ in range(times)]
    return {(each.policy_revision, each.routes[0].pool if each.routes else "") for each in found}


async def until_first(api: Fleet, wanted: set[tuple[int, str]], within_s: float) -> bool:
    """Whether all orchestrators come to say the same, in time."""
    give_up_at = time.monotonic() + within_s
    while time.monotonic() < give_up_at:
        try:
            if await first_routes(api) == wanted:
                return True
        except FlotillaError:
            await asyncio.sleep(0.1)
    return False


async def until_all_are_back(api: Fleet, client: PlainClient) -> None:
    """Return when both orchestrators answer and both workers serve: each reconnects in its own time."""
    orchestrators: set[str] = set()
    pools: set[str] = set()
    async with asyncio.timeout(60):
        while len(orchestrators) < 2 or len(pools) < 2:
            with suppress(FlotillaError):
                orchestrators.add((await api.stats()).orchestrator)
                for pool in ("local", "cloud"):
                    answer = await client.ask("chat", BODIES["chat"], headers={"Flotilla-Route": pool})
                    pools |= {answer.result["pool"]} if not answer.kind else set()
            await asyncio.sleep(0.05)


async def report(api: Fleet) -> RouteReport | None:
    """What is known of the route that the ghost writes of."""
    return next((each for each in (await api.stats()).routes if each.capability == "summarize"), None)


async def test_policies_of_other_versions_are_followed_as_far_as_they_are_understood(fleet: RunningFleet, api: Fleet):
    """
    Unknown keys are passed over. A newer format is refused: what was in force stays, on every orchestrator.
    """
    admin = await fleet.admin()
    newer = await write(
        admin, POLICY, {"format": 1, "novel": {"x": 1}, "default": {"routes": [CLOUD, LOCAL], "novel": True}}
    )
    assert await until_first(api, {(newer, "cloud")}, 30.0)

    # What is no policy is put right by whichever orchestrator sees it first, not only when it looks again.
    garbage = await write(admin, POLICY, b"{")
    assert await until_first(api, {(garbage + 1, "cloud")}, RELIST_S / 2)

    unknown = await write(admin, POLICY, {"format": 3, "default": {"routes": [LOCAL]}})
    await asyncio.sleep(1.0)
    assert {(garbage + 1, "cloud")} == await first_routes(api)
    said = await api.policy.get()
    assert unknown == said.revision
    assert f"keeps to revision {garbage + 1}" in said.warnings[0]
    assert unknown in {version.revision for version in await api.policy.history()}

    late = await fleet.start_orchestrator("too-old", wait=False)
    assert await late.wait() != 0
    assert "cannot be read" in late.log_text()

    understood = await write(admin, POLICY, {"format": 1, "default": {"routes": [LOCAL, CLOUD]}})
    assert await until_first(api, {(understood, "local")}, 30.0)


async def test_a_writer_of_stats_that_dies_is_forgotten_and_one_of_another_version_harms_nobody(
    fleet: RunningFleet, api: Fleet
):
    """
    Attempts that it said are in flight count as long as it renews them, and no longer; its figures grow old.
    """
    admin = await fleet.admin()
    now_unix_ms = time.time_ns() // 1_000_000
    window = {"ok": 5, "failures": {"novel_kind": 2}, "latency": {"40": 5}, "novel": 1}
    ghost = {
        "format": 1,
        "novel": {"x": 1},
        "written_unix_ms": now_unix_ms,
        "windows": {str(now_unix_ms // 1000): window},
        "in_flight": {str(now_unix_ms // 100): 7},
    }
    await write(admin, GHOST, ghost)
    await write(admin, GHOST + "-2", b"\xff{")
    async with asyncio.timeout(60):
        while (seen := await report(api)) is None or not seen.in_flight:
            await asyncio.sleep(0.05)
    assert (7, 7) == (seen.in_flight, seen.attempts)
    assert seen.outcomes["novel_kind"] == 2

    async with asyncio.timeout(60):
        while (left := await report(api)) is not None and left.in_flight:
            await asyncio.sleep(0.2)
    assert not (await (await fleet.client()).ask("summarize", BODIES["summarize"])).kind


async def test_policy_and_stats_are_followed_again_after_the_server_was_killed(fleet: RunningFleet, api: Fleet):
    """
    One that was set while they were away is found; later ones, and what the routes do, reach them as before.
    """
    before = (await api.policy.set('[default]\nroutes = [{ pool = "cloud" }, { pool = "local" }]\n')).revision
    assert await until_first(api, {(before, "cloud")}, 30.0)
    client, admin = await fleet.client(), await fleet.admin()
    # Until nobody looks at the bucket any more on account of the last change.
    await asyncio.sleep(2 * RELIST_AGAIN_S)
    await fleet.server.kill()
    await fleet.server.start()
    # Written before the orchestrators are back, so that none of them hears it: they have to look.
    missed = await write_soon(admin, POLICY, {"format": 1, "default": {"routes": [LOCAL, CLOUD]}})
    await until_all_are_back(api, client)
    assert await until_first(api, {(missed, "local")}, 30.0)

    changed = (await api.policy.set('[default]\nroutes = [{ pool = "cloud" }, { pool = "local" }]\n')).revision
    assert await until_first(api, {(changed, "cloud")}, 30.0)
    for _ in range(6):
        assert "cloud" == (await client.ask("translate", BODIES["translate"])).result["pool"]
    seen: dict[str, int] = {}
    async with asyncio.timeout(60):
        while seen != {"o1": 6, "o2": 6}:
            stats = await api.stats()
            seen[stats.orchestrator] = sum(each.attempts for each in stats.routes if each.capability == "translate")


async def test_up_puts_a_policy_in_force_before_it_is_ready(tmp_path: Path):
    """
    The fleet of `flotilla up --policy` routes by it from the first task on.
    """
    file = tmp_path / "policy.toml"
    file.write_text('[default]\nroutes = [{ pool = "cloud" }, { pool = "locl" }]\n')
    process = await start_command(*UP, "--dir", str(tmp_path / "fleet"), "--policy", str(file), environ=os.environ)
    try:
        ready = json.loads(await asyncio.wait_for(process.stdout.readline(), 60))
        async with Fleet.connect(ready["url"]) as api:
            answer = await api.ask("classify", CLASSIFY)
            said = await api.policy.get()
    finally:
        process.terminate()
        _, err = await process.communicate()

    assert ("cloud", 1, file.read_text(), "flotilla up") == (answer.pool, said.revision, said.toml, said.author)
    assert "no live pool is called locl (did you mean local?)" in err.decode()
    assert 0 == process.returncode
