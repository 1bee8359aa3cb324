"""Restricted data under every strategy: with nobody at home it waits or is refused, and no cloud lane hears of it."""

import asyncio
from pathlib import Path

from flotilla.client import Fleet
from flotilla.routing.strategies import STRATEGIES
from flotilla.testkit.fleet import running_fleet
from flotilla.testkit.plain_client import BODIES, Headers, new_task

RESTRICTED: Headers = {"Flotilla-Data-Class": "restricted"}
TEMPTED: tuple[Headers, ...] = (
    {},
    {"Flotilla-Route": "cloud"},
    {"Flotilla-Sticky": "key"},
    {"Flotilla-Stream": "true"},
)
ROUTES = 'routes = [{ pool = "cloud", cost_usd_hint = 0.0 }, { pool = "local", cost_usd_hint = 1.0 }]'
CAPABILITIES = dict(
    zip(("classify", "summarize", "translate", "chat", "reason", "extract-entities"), STRATEGIES, strict=True)
)
POLICY = "\n".join(f'[capabilities.{name}]\nstrategy = "{each}"\n{ROUTES}' for name, each in CAPABILITIES.items())


async def test_no_strategy_sends_restricted_data_to_the_cloud_when_every_local_replica_is_dead(tmp_path: Path):
    """
    Asked: a typed refusal. Submitted: it waits, and is done when a local replica is back. Zero messages leave.
    """
    async with running_fleet(tmp_path, orchestrators=2, local=2, cloud=1) as fleet, Fleet.connect(fleet.url) as api:
        client, admin = await fleet.client(), await fleet.admin()
        await api.policy.set(POLICY)
        local = [worker for worker in fleet.workers if worker.name.startswith("local")]
        for worker in local:
            worker.kill()
        waiting = {name: new_task() for name in CAPABILITIES}
        async with admin.hearing("infer.cloud.>") as leaked, client.hearing("results.>") as results:
            for name, task in waiting.items():
                await client.submit(name, BODIES[name], task=task, headers=RESTRICTED)
            await fleet.until_replicas(set(), absent=frozenset(worker.name for worker in local))
            refused = await asyncio.gather(
                *(
                    client.ask(name, BODIES[name], headers={**RESTRICTED, **more})
                    for name in CAPABILITIES
                    for more in TEMPTED
                )
            )
            explained = [await api.explain(name, data_class="restricted") for name in CAPABILITIES]
            held = [await api.task_status(task) for task in waiting.values()]
            quiet = len((await leaked.caught_up()).messages)
            allowed = [await client.ask(name, BODIES[name]) for name in CAPABILITIES]
            await leaked.until(lambda heard: len(heard.messages) == len(allowed))
            await fleet.start_worker("local")
            done = [await results.result(task) for task in waiting.values()]
            leaks = len((await leaked.caught_up()).messages) - len(allowed)

    assert {"no_route"} == {answer.kind for answer in refused}
    assert list(STRATEGIES) == [each.strategy for each in explained]
    assert not any(each.routes for each in explained)
    assert {"waiting"} == {each.state for each in held}
    assert {"cloud"} == {answer.result["zone"] for answer in allowed}
    assert (0, 0) == (quiet, leaks)
    assert {("ok", "local")} == {(result["status"], result["zone"]) for result in done}
