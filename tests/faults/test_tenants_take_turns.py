"""Tenants take turns at the slots: one with a flood delays another by its own turns alone."""

import asyncio
import json
from pathlib import Path
from statistics import median

from nats.aio.msg import Msg

from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.plain_client import BODIES, PlainClient, new_task

CLASSIFY = BODIES["classify"]
FLOOD = 400
SLOTS = 4


async def test_a_tenant_beside_a_flood_has_its_share_of_the_slots(tmp_path: Path):
    """
    By weight, when both want more than there is; and at once, when it wants little. Asks and durable tasks alike, of two
    orchestrators.
    """
    async with running_fleet(
        tmp_path,
        orchestrators=2,
        slots=SLOTS,
        latency_ms=20,
        scopes=("default", "acme"),
        env={"FLOTILLA_SCOPE_WEIGHTS": "default=3"},
    ) as fleet:
        # The first are answered while the others are still on their way: both do not want more than there is yet.
        turns = (await _answers_in_order(fleet))[FLOOD // 4 : FLOOD // 4 * 3]
        share = turns.count("default") / len(turns)
        assert 0.65 < share < 0.85, f"{share:.2f} of the turns"

        flooding, other = await fleet.client("acme"), await fleet.client()
        async with flooding.hearing("results.>") as flood, other.hearing("results.>") as results:
            # All at once, without a wait for what the stream says: on a slow machine the first would else be over by then.
            body = json.dumps(CLASSIFY).encode()
            for _ in range(FLOOD):
                await flooding.nc.publish("tasks.classify", body, headers={"Nats-Msg-Id": new_task()})
            await flood.until(lambda heard: len(heard.messages) >= SLOTS)
            for _ in range(5):
                task = new_task()
                await other.submit("classify", CLASSIFY, task=task)
                await results.result(task)
            assert len(flood.messages) < FLOOD, "the other tenant waited for the whole flood"
            waited = [await _queued_ms(other) for _ in range(5)]
            await flood.until(lambda heard: len(heard.messages) >= FLOOD)
        flood_waited = [json.loads(message.data)["queued_ms"] for message in flood.messages]
        assert median(waited) < median(flood_waited) / 4


async def _answers_in_order(fleet: RunningFleet) -> list[str]:
    """Whose ask was answered first, second and so on, when each tenant has as many at once."""
    order: list[str] = []
    done = asyncio.Event()
    clients = {"default": await fleet.client(), "acme": await fleet.client("acme")}

    async def listen(scope: str, client: PlainClient) -> str:
        async def answered(message: Msg) -> None:
            if message.data:
                assert json.loads(message.data)["status"] == "ok"
                order.append(scope)
                if len(order) == 2 * FLOOD:
                    done.set()

        inbox = client.nc.new_inbox()
        await client.nc.subscribe(inbox, cb=answered)  # pyright: ignore[reportUnknownMemberType]  # nats-py's is partly untyped
        return inbox

    inboxes = {scope: await listen(scope, client) for scope, client in clients.items()}
    body = json.dumps(CLASSIFY).encode()
    for _ in range(FLOOD):
        for scope, client in clients.items():
            await client.nc.publish("ask.classify", body, reply=inboxes[scope])
    await asyncio.wait_for(done.wait(), 60)
    return order


async def _queued_ms(client: PlainClient) -> float:
    return (await client.ask("classify", CLASSIFY)).result["queued_ms"]
