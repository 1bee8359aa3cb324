"""What one tenant has in flight is bounded, and leaves the others their part."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.plain_client import BODIES, PlainClient, eventually, new_task
from flotilla.testkit.raw_client import raw_client
from flotilla.testkit.scripted_worker import scripted_worker

MIB: Final = 1024 * 1024
POD_BYTES: Final = 128 * MIB
BIG: Final = json.dumps({"document": "x" * (8 * MIB - 8192)}).encode()
LARGE: Final = json.dumps({"document": "x" * (2 * MIB)}).encode()
SMALL: Final = json.dumps(BODIES["summarize"]).encode()
WATCH_S: Final = 0.02
FLOOD_S: Final = 60.0


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


async def test_who_asks_faster_than_is_read_is_refused_by_the_server_and_harms_nobody_else(tmp_path: Path):
    """
    Asks and questions: none of a flood stays in the server, no orchestrator is taken for dead, and others are answered.
    """
    async with running_fleet(tmp_path, scopes=("default", "acme")) as fleet:
        other = await fleet.client()
        for subject in (b"ask.summarize", b"api.explain"):
            async with raw_client(fleet.server.tenant("acme")) as raw, asyncio.timeout(FLOOD_S):
                raw.subscribe(b"_INBOX.flood")
                while not any(line.startswith(b"NATS/1.0 503") for line in raw.said):
                    raw.said.clear()
                    for _ in range(500):
                        raw.publish(subject, SMALL, reply=b"_INBOX.flood")
                    await raw.flush()
            assert (await other.ask("summarize", SMALL)).kind == ""
            assert "error" not in await other.api("replicas", {})
        log = fleet.processes[0].log_text()
        assert {True: 2, False: 0} == {
            True: log.count("queue_group_too_fast"),
            False: log.count("nats_disconnected"),
        }, log[-2000:]


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
        _, asking = await _running(gone, {"Flotilla-Deadline-Ms": "6000"})
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


async def test_a_backlog_of_large_tasks_stays_in_its_stream_and_leaves_another_tenant_its_part(tmp_path: Path):
    """
    Slots for all of them, and room for few: the orchestrator holds those, within a pod, and goes on with another
    tenant's tasks.
    """
    async with running_fleet(
        tmp_path,
        slots=64,
        latency_ms=60_000,
        scopes=("default", "acme"),
        worker_env={"FLOTILLA_CAPABILITIES": "summarize"},
    ) as fleet:
        await fleet.start_worker("cloud", env={"FLOTILLA_CAPABILITIES": "classify"})
        flooding, other = await fleet.client("acme"), await fleet.client()
        admin = await fleet.admin()
        async with _largest_size(fleet) as sizes, other.hearing("results.>") as results:
            for _ in range(12):
                await flooding.submit("summarize", BIG)

            async def some_are_held() -> bool:
                return await admin.unacknowledged_in("TASKS_acme") > 0

            await eventually(some_are_held)
            await other.submit_many("classify", BODIES["classify"], [new_task() for _ in range(200)])
            await results.until(lambda heard: len(heard.messages) >= 200)

        assert await admin.unacknowledged_in("TASKS_acme") <= 2
        assert max(sizes) < POD_BYTES, f"{max(sizes) / MIB:.0f} MiB"


async def test_a_task_leaves_its_room_however_it_ends(tmp_path: Path):
    """
    With room for one large task: after a result, a refusal, a cancellation, a deadline and an orchestrator that leaves,
    the next one is served.
    """
    async with running_fleet(
        tmp_path,
        worker_env={"FLOTILLA_CAPABILITIES": "summarize"},
        pools=(("local", "local"), ("local", "slow")),
        env={"FLOTILLA_PULLED_BYTES_MAX": str(MIB), "FLOTILLA_GRACE_S": "0.5"},
    ) as fleet:
        await fleet.start_worker("local", "slow", latency_ms=60_000, env={"FLOTILLA_CAPABILITIES": "reason"})
        client, admin = await fleet.client(), await fleet.admin()
        async with client.hearing("results.>") as results:
            for capability, body, kind in (
                ("summarize", LARGE, ""),
                ("summarize", b"x" * (2 * MIB), "bad_request"),
                ("summarize", LARGE, ""),
            ):
                task = new_task()
                await client.submit(capability, body, task=task)
                assert _kind(await results.result(task)) == kind

            slow = json.dumps({"question": "x" * (2 * MIB)}).encode()
            cancelled, late, left, last = (new_task(name) for name in ("cancelled", "late", "left", "last"))
            await client.submit("reason", slow, task=cancelled)
            await client.until_status(cancelled, "running")
            await client.submit("summarize", LARGE, task=last)
            await client.api("cancel", {"task": cancelled})
            assert _kind(await results.result(cancelled)) == "cancelled"
            assert _kind(await results.result(last)) == ""

            await client.submit("reason", slow, task=late, headers={"Flotilla-Deadline-Ms": "1500"})
            assert _kind(await results.result(late)) == "deadline_exceeded"

            await client.submit("reason", slow, task=left)
            await client.until_status(left, "running")
            await fleet.start_orchestrator()
            fleet.orchestrators[0].terminate()
            await fleet.orchestrators[0].wait()
            await client.until_status(left, "running")
            assert await admin.unacknowledged_in("TASKS_default") == 1


async def test_tasks_that_wait_for_a_route_leave_room_for_those_that_have_one(tmp_path: Path):
    """
    Large tasks for a pool that does not come are parked; those of another capability are served meanwhile.
    """
    env = {"FLOTILLA_PULLED_BYTES_MAX": str(6 * MIB)}
    async with running_fleet(tmp_path, slots=16, env=env) as fleet:
        client = await fleet.client()
        parked = [new_task("parked") for _ in range(6)]
        async with client.hearing("results.>") as results:
            for task in parked:
                question = json.dumps({"question": "x" * (2 * MIB)}).encode()
                await client.submit("reason", question, task=task, headers={"Flotilla-Route": "nobody"})
            await client.until_status(parked[1], "waiting")
            task = new_task()
            await client.submit("summarize", LARGE, task=task)
            assert _kind(await results.result(task)) == ""


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


def _kind(result: dict[str, Any]) -> str:
    error: dict[str, Any] = result.get("error") or {}
    return error.get("kind", "")


def _errors(messages: list[Any]) -> list[dict[str, Any]]:
    return [json.loads(message.data)["error"] for message in messages if message.data]
