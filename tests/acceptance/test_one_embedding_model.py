"""Embeddings of a fleet with two embedding models: of one of them only, whatever becomes of it, until a policy says so."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from flotilla.client import Fleet
from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.plain_client import Answer, eventually, new_task
from flotilla.testkit.scripted_worker import Line, failed, finished, scripted_worker

VECTORS = {"nomic": [0.1] * 3, "bge-m3": [0.2] * 4}
TEXTS = {"texts": ["a text"]}
SOON = {"Flotilla-Deadline-Ms": "5000"}


class Two:
    """A fleet of two orchestrators, and two pools whose models embed into different spaces."""

    def __init__(self, fleet: RunningFleet) -> None:
        self.fleet = fleet
        self.broken: set[str] = set()
        self._pools: dict[str, AsyncExitStack] = {}

    async def begin(self, pool: str, model: str) -> None:
        """Have a pool serve."""
        stack = self._pools[pool] = AsyncExitStack()
        client = await self.fleet.connect(self.fleet.server.worker("local", pool))

        def script(_: object) -> list[Line]:
            if pool in self.broken:
                return [failed("unavailable")]
            output = {"vectors": [VECTORS[model]], "dimensions": len(VECTORS[model])}
            return [finished(output, model=model)]

        worker = scripted_worker(
            client, script, pool=pool, replica=f"{pool}-w", capabilities=("embed",), models=(model,)
        )
        await stack.enter_async_context(worker)
        await self.fleet.until_replicas({f"{pool}-w"})

    async def end(self, pool: str) -> None:
        """Have a pool go."""
        await self._pools.pop(pool).aclose()
        await self.fleet.until_replicas(set(), absent=frozenset({f"{pool}-w"}))

    async def ask(self, **headers: str) -> Answer:
        """One embedding."""
        client = await self.fleet.client()
        return await client.ask("embed", TEXTS, headers={**SOON, **headers})

    async def models(self, times: int = 8) -> set[str]:
        """The models of the answers that there are."""
        answers = await asyncio.gather(*(self.ask() for _ in range(times)))
        return {answer.result["model"] for answer in answers if not answer.kind}

    async def aclose(self) -> None:
        """End what serves."""
        for pool in list(self._pools):
            await self._pools.pop(pool).aclose()


@asynccontextmanager
async def two_models(directory: Path) -> AsyncGenerator[Two]:
    """Begun with neither pool."""
    async with running_fleet(directory, orchestrators=2, local=0, pools=(("local", "p"), ("local", "q"))) as fleet:
        two = Two(fleet)
        try:
            yield two
        finally:
            await two.aclose()


async def test_no_trouble_brings_vectors_of_another_model(tmp_path: Path):
    """
    Not a provider that fails, nor a pool that is gone, nor orchestrators that begin when the other model alone is there.
    """
    async with two_models(tmp_path) as two:
        await two.begin("p", "nomic")
        await two.begin("q", "bge-m3")
        assert await two.models() == {"nomic"}

        two.broken.add("p")
        assert await two.models(16) == set()

        await two.end("p")
        gone = await two.ask()
        assert gone.kind == "no_route"
        assert "held to nomic" in str(gone.result)

        orchestrators = list(two.fleet.orchestrators)
        for orchestrator in orchestrators:
            orchestrator.terminate()
            await orchestrator.wait()
        await asyncio.gather(two.fleet.start_orchestrator(), two.fleet.start_orchestrator())
        await two.fleet.until_replicas({"q-w"})
        assert await two.models() == set()

        task = new_task()
        client = await two.fleet.client()
        async with client.hearing(f"results.embed.{task}") as heard:
            await client.submit("embed", TEXTS, task=task)
            two.broken.clear()
            await two.begin("p", "nomic")
            result = await heard.result(task)
        assert (result["status"], result["model"]) == ("ok", "nomic")


async def test_a_policy_changes_what_is_held(tmp_path: Path):
    """
    One model, and it stays so when the policy is gone; or two, and then there are vectors of both.
    """
    async with two_models(tmp_path) as two:
        await two.begin("p", "nomic")
        await two.begin("q", "bge-m3")
        assert await two.models() == {"nomic"}
        async with Fleet.connect(two.fleet.url) as caller:
            one = '[capabilities.embed]\nroutes = [{ pool = "q", model = "bge-m3" }]\n'
            both = one.replace(" }]", ' }, { pool = "p", model = "nomic" }]\nstrategy = "split"\n')
            await caller.policy.set(one)
            await eventually(lambda: _are(two, {"bge-m3"}))
            await caller.policy.set('[default]\nstrategy = "failover"\n')
            assert await two.models(16) == {"bge-m3"}
            await caller.policy.set(both)
            await eventually(lambda: _are(two, {"bge-m3", "nomic"}))


async def _are(two: Two, models: set[str]) -> bool:
    return await two.models(16) == models
