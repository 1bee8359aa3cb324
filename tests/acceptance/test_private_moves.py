"""
Random orders of all that is done to documents that must stay at home: none of them lets one out.

`PRIVATE_MOVES` says how many moves; of a long run the seed is in the failing test's output (`seed=`), and `CHAOS_SEED` runs
it again (`make private-moves`).
"""

import asyncio
import json
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import nats.errors
import pytest
import pytest_asyncio

from flotilla.cli.prove.documents import input_of, letter, plain_letter
from flotilla.contracts.subjects import Zone
from flotilla.inference.redaction.vault_keys import new_key
from flotilla.testkit.commands import start_command
from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.fleet_process import FleetProcess, clean_environ
from flotilla.testkit.plain_client import PlainClient, eventually
from flotilla.testkit.portal import PortalHere, people_file, start_portal
from flotilla.testkit.private_documents import GATED, PIPELINES, Sightings, Tenant
from flotilla.testkit.private_long_moves import LongMoves
from flotilla.testkit.private_moves import PATIENCE_S, Moves
from flotilla.testkit.probe_client import PROBED, probe_of
from flotilla.testkit.provider_openai import OpenAIServer
from flotilla.testkit.provider_steps import Fails, Received, Says, Step

pytestmark = pytest.mark.asyncio(loop_scope="module")

MOVES_DEFAULT: Final = 50
MOVES: Final = int(os.environ.get("PRIVATE_MOVES", MOVES_DEFAULT))
SEED: Final = int(os.environ.get("CHAOS_SEED", 4 if MOVES == MOVES_DEFAULT else random.SystemRandom().randrange(10**6)))
LONG: Final = MOVES > MOVES_DEFAULT
"""Folders by the command, approvals, more policies, and workers and the server die as well."""
KILL_EVERY: Final = 25
"""Moves, in the middle of which an orchestrator dies."""
LONG_TROUBLES: Final = ("worker", "worker", "server")
FAILS: Final = 0.1
POOLS: Final[tuple[tuple[Zone, str], ...]] = (("local", "local"), ("local", "redaction"), ("cloud", "cloud"))
StartsWorker = Callable[..., Awaitable[FleetProcess]]
TENANTS: Final = ("default", "acme")
LISTENED: Final = ("cloud lanes", "events", "provider in the cloud", "heard by default")


class World:
    """
    The fleet, both providers, and who must see nothing.

    Attributes:
        abroad: How many requests the cloud's provider was sent.
        decoys: How many of them held what may leave.
        at_home: How many requests the provider at home was sent that held a canary.
    """

    def __init__(
        self,
        fleet: RunningFleet,
        portal: PortalHere,
        browser: httpx.AsyncClient,
        tenants: list[Tenant],
        luck: random.Random,
        *,
        workers: dict[StartsWorker, FleetProcess],
        approvers: dict[str, PlainClient],
        folder: Path,
    ) -> None:
        self.fleet: Final = fleet
        self.portal: Final = portal
        self.browser: Final = browser
        self.tenants: Final = tenants
        self.approvers: Final = approvers
        self.folder: Final = folder
        self.luck: Final = luck
        self._providers_luck: Final = random.Random(SEED)
        self.sightings: Final = Sightings()
        self.abroad = self.decoys = self.at_home = 0
        self.troubles: Final[Counter[str]] = Counter()
        self.workers: Final = workers

    def sent_abroad(self, received: Received) -> Step:
        """What the cloud's provider is asked; it says the text again, or fails with it."""
        sent = json.dumps([received.body, received.headers], ensure_ascii=False).encode()
        self.abroad += 1
        self.decoys += any(each.canaries.decoy_is_in(sent) for each in self.tenants)
        self.sightings.see("provider in the cloud", sent, *(each.canaries for each in self.tenants))
        return self._said(received)

    def sent_home(self, received: Received) -> Step:
        """The same at home, where documents may be."""
        sent = json.dumps(received.body).encode()
        self.at_home += any(each.canaries.are_in(sent) for each in self.tenants)
        return self._said(received)

    def _said(self, received: Received) -> Step:
        text = str(received.body["messages"][-1]["content"])
        if self._providers_luck.random() < FAILS:
            return Fails(self._providers_luck.choice([429, 500, 503, 400]), message=text)
        return Says(f"It says: {text}")

    async def trouble(self) -> None:
        """End an orchestrator, in a long run a worker or the server too, as a crash does; another takes its place."""
        what = self.luck.choice(["ordinary", "ordinary", "sealed", *(LONG_TROUBLES if LONG else ())])
        self.troubles[what] += 1
        if what == "server":
            await self.fleet.server.kill()
            await self.fleet.server.start()
        elif what == "worker":
            start = self.luck.choice(list(self.workers))
            self.workers[start].kill()
            await self.workers[start].wait()
            self.workers[start] = await start(wait=False)
        else:
            await self.kill_orchestrator(what)

    async def kill_orchestrator(self, lane: str) -> None:
        """Of a lane."""
        alive = [
            each
            for each in self.fleet.orchestrators
            if each.is_running and ("sealed" in each.name) == (lane == "sealed")
        ]
        victim = self.luck.choice(alive)
        victim.kill()
        await victim.wait()
        name = "sealed" if lane == "sealed" else None
        env = {"FLOTILLA_LANE": "sealed"} if lane == "sealed" else {}
        await self.fleet.start_orchestrator(name and f"{name}-{len(self.fleet.orchestrators)}", env=env, wait=False)

    async def retry_by_command(self, tenant: Tenant) -> str:
        """A dead task of the default scope again, by the command."""
        del tenant
        task = next(iter(self.tenants[0].dying), "none")
        environ = clean_environ({"FLOTILLA_NATS_URL": self.fleet.url})
        process = await start_command("dead", "retry", task, environ=environ)
        out, err = await process.communicate()
        self.sightings.see("command", out + err, *(each.canaries for each in self.tenants))
        return str(process.returncode)

    async def retry_in_the_portal(self, tenant: Tenant) -> str:
        """The same in the portal, whose lists are read as well."""
        del tenant
        task = next(reversed(self.tenants[0].dying), "none")
        answer = await self.browser.post("/api/dead/retry", json={"ids": [{"scope": "default", "task": task}]})
        for path in ("/api/dead", "/api/tasks"):
            self.sightings.see(
                "portal", (await self.browser.get(path)).content, *(each.canaries for each in self.tenants)
            )
        self.sightings.see("portal", answer.content, *(each.canaries for each in self.tenants))
        return str(answer.status_code)

    async def all_is_heard(self, tenant: Tenant) -> bool:
        """Ask for what may leave and for what stays, and tell whether providers and listeners have heard of tasks."""
        leaves, stays = plain_letter(tenant.canaries.decoy), letter(tenant.canaries.person(0))
        for data_class, pool, text in (("public", "cloud", leaves), ("restricted", "local", stays)):
            headers = {"Flotilla-Data-Class": data_class, "Flotilla-Cache": "off", "Flotilla-Route": pool}
            with suppress(nats.errors.Error, ConnectionError, TimeoutError):
                await tenant.client.ask("chat", input_of("chat", text), headers=headers, timeout_s=PATIENCE_S)
        return self.decoys > 0 and self.at_home > 0 and all(self.sightings.heard[place] for place in LISTENED)

    async def look_at_what_is_left(self) -> None:
        """Logs and metrics."""
        canaries = [each.canaries for each in self.tenants]
        for process in (*self.fleet.processes, self.portal.process):
            self.sightings.see("logs", process.log.read_bytes(), *canaries)
            if process.is_running:
                with suppress(LookupError):  # it has just been started
                    self.sightings.see("metrics", (await probe_of(process).get("/metrics"))[1].encode(), *canaries)
        for log in (self.fleet.directory / "nats").glob("*.log"):
            self.sightings.see("logs", log.read_bytes(), *canaries)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """
    Two orchestrators and a sealed one, a pool at home and one in the cloud at recorded providers, one that redacts, a portal.
    """
    folder = tmp_path_factory.mktemp("moves")
    (folder / "capabilities").mkdir()
    for name, text in (PIPELINES | GATED if LONG else PIPELINES).items():
        (folder / "capabilities" / f"{name}.toml").write_text(text)
    debug = {"FLOTILLA_LOG_LEVEL": "debug", "FLOTILLA_CAPABILITY_FILES": str(folder / "capabilities"), **PROBED}
    async with AsyncExitStack() as stack:
        home, abroad = [await stack.enter_async_context(OpenAIServer()) for _ in range(2)]
        fleet = await stack.enter_async_context(
            running_fleet(
                folder / "fleet",
                orchestrators=2,
                local=0,
                scopes=TENANTS,
                pools=POOLS,
                vault_pools=("redaction",),
                sealed=True,
                env=debug,
            )
        )
        asks = {**debug, "OPENAI_API_KEY": "k", "FLOTILLA_MODELS": "m"}
        keyed = {**debug, "FLOTILLA_VAULT_KEY": new_key()}
        starts: tuple[StartsWorker, ...] = (
            partial(fleet.start_worker, "local", engine="vllm", env={**asks, "OPENAI_BASE_URL": f"{home.url}/v1"}),
            partial(fleet.start_worker, "local", "redaction", engine="redaction", env=keyed),
            partial(fleet.start_worker, "cloud", engine="openai", env={**asks, "OPENAI_BASE_URL": f"{abroad.url}/v1"}),
        )
        portal, workers = await asyncio.gather(
            start_portal(fleet, people=people_file(folder)), asyncio.gather(*(start() for start in starts))
        )
        tenants = [Tenant(name, await fleet.client(name)) for name in TENANTS]
        browser = await stack.enter_async_context(portal.signed_in("approver"))
        approvers = {name: await fleet.connect(fleet.server.approver(name)) for name in TENANTS if LONG}
        world = World(
            fleet,
            portal,
            browser,
            tenants,
            random.Random(SEED),
            workers=dict[StartsWorker, FleetProcess](zip(starts, workers, strict=True)),
            approvers=approvers,
            folder=folder,
        )
        home.otherwise, abroad.otherwise = world.sent_home, world.sent_abroad
        yield world


async def test_no_order_of_moves_lets_a_document_out(world: World):
    """
    To the cloud, its provider, another tenant, an event, a log, a metric; while orchestrators die and the policy changes.
    """
    await world.sightings.listen(await world.fleet.admin(), world.tenants)
    for tenant in world.tenants:
        await world.sightings.listen_as(tenant, world.tenants)
    more: dict[str, Any] = {
        "retry_in_the_portal": world.retry_in_the_portal,
        "retry_by_command": world.retry_by_command,
    }
    if LONG:
        long = LongMoves(
            world.fleet,
            world.tenants,
            world.luck,
            world.sightings,
            approvers=world.approvers,
            folder=world.folder,
        )
        more |= long.kinds()
    moves = Moves(world.fleet, world.tenants, world.luck, world.sightings, more=more)

    for made in range(0, MOVES, KILL_EVERY):
        killing = asyncio.ensure_future(world.trouble())
        await moves.make(min(KILL_EVERY, MOVES - made))
        await killing

    # Whatever died, tasks are done in the end: so there was something to hear.
    await eventually(partial(world.all_is_heard, world.tenants[0]))
    await world.sightings.caught_up()
    await world.look_at_what_is_left()
    story = f"seed={SEED} {dict(world.troubles)} {world.abroad} abroad, {world.at_home} at home, {moves.story()}"
    print(story, dict(world.sightings.heard))  # noqa: T201  (the record of a long run)

    assert {} == {place: count for place, count in world.sightings.leaks.items() if count}, story
    assert not moves.ends["govern"]["set bad_request"], story
    assert not moves.ends["compare"]["set bad_request"], story
