"""
Random kills, freezes, stops and restarts of everything, under durable and interactive load; then the invariants.

The seed is in the name of the failing test's output (`seed=`); `CHAOS_SEED` runs it again.
"""

import asyncio
import contextlib
import os
import random
import time
from collections import Counter
from pathlib import Path

import nats.errors
import pytest

from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.fleet_process import FleetProcess
from flotilla.testkit.plain_client import BODIES, PlainClient, eventually, new_task

CLASSIFY = BODIES["classify"]
TYPED = {
    "no_route",
    "no_capacity",
    "deadline_exceeded",
    "provider_failed",
    "internal",
}
SLOTS = 4
WORK = {"slots": SLOTS, "latency_ms": 60.0, "jitter": 0.9, "failure_rate": 0.02}
SETTLE_S = 60.0
ASK_EVERY_S = 0.25
"""Of each of four callers."""


class Trouble:
    """
    What is done to the fleet, one thing at a time.

    Attributes:
        done: What was done, in order, for the report.
    """

    def __init__(self, fleet: RunningFleet, luck: random.Random, *, server_too: bool) -> None:
        self.done: list[str] = []
        self._fleet = fleet
        self._luck = luck
        self._kinds = [self._kill, self._kill, self._term, self._term, self._freeze, *([self._restart] * server_too)]

    async def make(self) -> None:
        """One piece of trouble, and the fleet put back to its size."""
        await self._luck.choice(self._kinds)()

    def _victim(self) -> FleetProcess:
        kind = self._luck.choice([self._fleet.orchestrators, self._fleet.workers])
        return self._luck.choice([process for process in kind if process.is_running])

    async def _kill(self) -> None:
        victim = self._victim()
        self.done.append(f"kill {victim.name}")
        victim.kill()
        await victim.wait()
        await self._replace(victim)

    async def _term(self) -> None:
        victim = self._victim()
        self.done.append(f"term {victim.name}")
        # Before it is ready the signal may find a process that has not begun to listen for it.
        was_ready = '"event": "ready"' in victim.log_text()
        victim.terminate()
        code = await victim.wait(15)
        assert code == 0 or not was_ready, f"{victim.name} left with {code}:\n{victim.log_tail()}"
        await self._replace(victim)

    async def _freeze(self) -> None:
        victim = self._victim()
        frozen_s = self._luck.uniform(0.5, 8.0)
        self.done.append(f"freeze {victim.name} {frozen_s:.1f} s")
        victim.freeze()
        await asyncio.sleep(frozen_s)
        victim.thaw()

    async def _restart(self) -> None:
        how = self._luck.choice(["stop", "kill"])
        self.done.append(f"{how} nats-server")
        await (self._fleet.server.stop() if how == "stop" else self._fleet.server.kill())
        await asyncio.sleep(self._luck.uniform(0, 1.0))
        await self._fleet.server.start()

    async def _replace(self, victim: FleetProcess) -> None:
        if victim in self._fleet.orchestrators:
            await self._fleet.start_orchestrator(wait=False)
        else:
            await self._fleet.start_worker(**WORK, wait=False)  # pyright: ignore[reportArgumentType]  # each by its name


async def _submitting(client: PlainClient, stop: asyncio.Event) -> list[str]:
    """Durable tasks one after the other; gives those that were accepted for certain."""
    accepted: list[str] = []
    while not stop.is_set():
        task = new_task("chaos")
        # The same id until its PubAck comes: that is how a caller makes sure.
        while not stop.is_set():
            try:
                ack = await client.submit("classify", CLASSIFY, task=task, timeout_s=10)
            except (nats.errors.Error, TimeoutError):
                await asyncio.sleep(0.1)
                continue
            if "error" not in ack:
                accepted.append(task)
                break
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.02)
    return accepted


async def _asking(client: PlainClient, stop: asyncio.Event) -> Counter[str]:
    """Interactive tasks at a pace; gives how they ended. One whose answer is lost keeps no other from being asked."""
    ends = Counter[str]()
    under_way: set[asyncio.Task[None]] = set()

    async def ask() -> None:
        try:
            answer = await client.ask("classify", CLASSIFY, headers={"Flotilla-Deadline-Ms": "15000"}, timeout_s=20)
            ends[answer.kind or "ok"] += 1
        except (nats.errors.Error, ConnectionError, TimeoutError) as error:
            # Whoever holds it may be killed, or the server be away: then the caller's own timeout ends it.
            ends[type(error).__name__] += 1

    while not stop.is_set():
        asking = asyncio.get_running_loop().create_task(ask())
        under_way.add(asking)
        asking.add_done_callback(under_way.discard)
        await asyncio.sleep(ASK_EVERY_S)
    await asyncio.gather(*under_way)
    return ends


@pytest.mark.parametrize("server_too", [False, True], ids=["processes", "processes-and-server"])
async def test_nothing_accepted_is_lost_and_nothing_is_committed_twice(
    tmp_path: Path, chaos_s: float, *, server_too: bool
):
    """
    Every accepted task has exactly one committed result; failures are typed; nobody holds a message for ever.
    """
    seed = int(os.environ.get("CHAOS_SEED", random.SystemRandom().randrange(10**6)))
    luck = random.Random(seed)
    async with running_fleet(tmp_path, orchestrators=2, local=3, **WORK) as fleet:  # pyright: ignore[reportArgumentType]
        trouble = Trouble(fleet, luck, server_too=server_too)
        client = await fleet.client()
        stop = asyncio.Event()
        submitting = [asyncio.ensure_future(_submitting(client, stop)) for _ in range(4)]
        asking = [asyncio.ensure_future(_asking(client, stop)) for _ in range(4)]
        until = time.monotonic() + chaos_s
        try:
            while time.monotonic() < until:
                await trouble.make()
                await asyncio.sleep(luck.uniform(0.2, 2.0))
        except BaseException as error:
            error.add_note(f"seed={seed} {trouble.done}")
            raise
        finally:
            stop.set()
        accepted = [task for done in await asyncio.gather(*submitting) for task in done]
        ends = sum(await asyncio.gather(*asking), Counter[str]())
        story = f"seed={seed} {trouble.done} {dict(ends)} {len(accepted)} accepted"

        admin = await fleet.admin()
        await _settled(admin, story)
        statuses = Counter[str]()
        for task in accepted:
            result = await client.api("result", {"task": task})
            assert "status" in result, f"{task} has no result: {result} {story}"
            statuses[result["status"]] += 1
            assert result["status"] == "ok" or result["error"]["kind"] in TYPED, f"{result} {story}"
        stored = await admin.messages_in("RESULTS_default")

        assert len(accepted) > chaos_s, story
        assert stored >= len(accepted), story
        assert set(ends) <= {"ok", *TYPED, "TimeoutError", "ConnectionError", "NoRespondersError"}, story
        assert ends["ok"] > chaos_s, story
        # Failures are for what the engine fails on purpose, and for what died too often.
        assert statuses["ok"] >= 0.99 * len(accepted), f"{statuses} {story}"


async def _settled(admin: PlainClient, story: str) -> None:
    """No task is left in the stream, and no consumer waits for an acknowledgement."""
    left = (-1, -1)

    async def nothing_left() -> bool:
        nonlocal left
        with contextlib.suppress(nats.errors.Error, TimeoutError):
            left = await admin.messages_in("TASKS_default"), await admin.unacknowledged_in("TASKS_default")
        return left == (0, 0)

    try:
        await eventually(nothing_left, SETTLE_S, 0.2)
    except TimeoutError:
        pytest.fail(f"{left} messages left and unacknowledged; {story}")
