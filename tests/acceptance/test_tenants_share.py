"""What one tenant has in flight is bounded, and leaves the others their part."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.plain_client import BODIES, PlainClient, eventually, new_task
from flotilla.testkit.scripted_worker import scripted_worker

MIB: Final = 1024 * 1024
POD_BYTES: Final = 128 * MIB
BIG: Final = json.dumps({"document": "x" * (8 * MIB - 8192)}).encode()
LARGE: Final = json.dumps({"document": "x" * (2 * MIB)}).encode()
SMALL: Final = json.dumps(BODIES["summarize"]).encode()
WATCH_S: Final = 0.02


async def test_a_flood_of_asks_stays_within_a_pod_and_leaves_another_tenant_its_part(tmp_path: Path):
    """
    Large asks and many: the orchestrator holds what its room allows, refuses the others at once, and takes those of a
    tenant that has not used its part.
    """
    async with running_fleet(tmp_path, slots=1, latency_ms=60_000, scopes=("default", "acme")) as fleet:
        flooding, other = await fleet.client("acme"), await fleet.client()
        inbox = flooding.nc.new_inbox()
        async with _largest_size(fleet) as sizes, flooding.hearing(inbox) as refused:
            for count in range(20):
                # One after the other: the server drops a connection that falls 64 MiB behind.
                await flooding.nc.publish("ask.summarize", BIG, reply=inbox)
                await refused.until(lambda heard, count=count: len(_errors(heard.messages)) >= count)
            for _ in range(2_000):
                await flooding.nc.publish("ask.summarize", SMALL, reply=inbox)
            await refused.until(lambda heard: len(_errors(heard.messages)) >= 19 + 1_501)

            task = new_task()
            asking = asyncio.ensure_future(other.ask("summarize", SMALL, headers={"Nats-Msg-Id": task}))
            await other.until_status(task, "waiting")
            asking.cancel()

        errors = _errors(refused.messages)
        assert {"no_capacity"} == {error["kind"] for error in errors}
        assert all(error["retryable"] and error["details"]["retry_after_s"] for error in errors)
        assert max(sizes) < POD_BYTES, f"{max(sizes) / MIB:.0f} MiB"


async def test_an_ask_leaves_its_room_however_it_ends(tmp_path: Path):
    """
    With room for one ask: after a result, a failure, a refusal, a cancellation, a deadline and a caller that went away,
    the next one is served.
    """
    async with running_fleet(
        tmp_path,
        worker_env={"FLOTILLA_CAPABILITIES": "classify"},
        pools=(("local", "local"), ("local", "slow"), ("local", "failing")),
        env={"FLOTILLA_ASKS_MAX": "1"},
    ) as fleet:
        await fleet.start_worker("local", "slow", latency_ms=60_000, env={"FLOTILLA_CAPABILITIES": "reason"})
        await fleet.start_worker("local", "failing", failure_rate=1.0, env={"FLOTILLA_CAPABILITIES": "translate"})
        client = await fleet.client()

        assert await _next_ask(client) == ""
        assert (await client.ask("translate", BODIES["translate"])).kind == "provider_failed"
        assert await _next_ask(client) == ""
        assert (await client.ask("nonsense", SMALL)).kind == "unknown_capability"
        assert await _next_ask(client) == ""

        task, asking = await _running(client)
        assert await _next_ask(client) == "no_capacity"
        await client.api("cancel", {"task": task})
        assert (await asking).kind == "cancelled"
        assert await _next_ask(client) == ""

        late = await client.ask("reason", BODIES["reason"], headers={"Flotilla-Deadline-Ms": "300"})
        assert late.kind == "deadline_exceeded"
        assert await _next_ask(client) == ""

        gone = await fleet.client()
        _, asking = await _running(gone, {"Flotilla-Deadline-Ms": "1500"})
        asking.cancel()
        await gone.nc.close()

        async def served() -> bool:
            return await _next_ask(client) == ""

        assert not await served()
        await eventually(served)


async def test_asks_that_ended_leave_no_memory_behind(tmp_path: Path):
    """
    Large asks whose deadline passes, of a worker that never says that it stopped: each is listened to for a while yet,
    without its input.
    """
    async with running_fleet(tmp_path, local=0, pools=(("local", "scripted"),)) as fleet:
        client = await fleet.client()
        worker = await fleet.connect(fleet.server.worker("local", "scripted"))
        async with scripted_worker(worker, lambda _: [{"type": "accepted"}], slots=64), _largest_size(fleet) as sizes:
            await fleet.until_replicas({"scripted-w1"})
            for _ in range(50):
                answer = await client.ask("summarize", LARGE, headers={"Flotilla-Deadline-Ms": "50"})
                assert answer.kind == "deadline_exceeded"

    assert max(sizes) < POD_BYTES, f"{max(sizes) / MIB:.0f} MiB"


async def _next_ask(client: PlainClient) -> str:
    return (await client.ask("classify", BODIES["classify"])).kind


async def _running(client: PlainClient, headers: dict[str, str] | None = None) -> tuple[str, "asyncio.Future[Any]"]:
    task = new_task()
    asking = asyncio.ensure_future(
        client.ask("reason", BODIES["reason"], headers={"Nats-Msg-Id": task, **(headers or {})})
    )
    await client.until_status(task, "running")
    return task, asking


@asynccontextmanager
async def _largest_size(fleet: RunningFleet) -> AsyncGenerator[list[int]]:
    """How large the orchestrator is, from time to time, while the block runs."""
    sizes = [0]

    async def watch() -> None:
        while True:
            sizes.append(fleet.orchestrators[0].resident_bytes())
            await asyncio.sleep(WATCH_S)

    watching = asyncio.get_running_loop().create_task(watch())
    try:
        yield sizes
    finally:
        watching.cancel()


def _errors(messages: list[Any]) -> list[dict[str, Any]]:
    return [json.loads(message.data)["error"] for message in messages if message.data]
