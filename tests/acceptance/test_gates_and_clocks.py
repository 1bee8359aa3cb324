"""
Orchestrators whose clocks are wrong: runs that wait are due when they should be, by the server's clock.

The orchestrators are whole, but for the time that their machine tells them.
"""

import base64
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

import pytest

from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.plain_client import Json, PlainClient, eventually, new_task

OFF_S: Final = 1200
"""Less than what an approval is good for: workers have another clock."""
LONG: Final = """
name = "long"
deadline_s = 86400
[input]
type = "object"
[steps.short]
capability = "summarize"
approval = { expires_s = 3600 }
input = { document = "${input.document}" }
[output]
text = "${steps.short.summary}"
"""
BRIEF: Final = LONG.replace('"long"', '"brief"').replace("3600", "2")
ORCHESTRATOR: Final = """
import runpy
import time

told = time.time_ns
time.time_ns = lambda: told() + {off_s} * 10**9
runpy.run_module("orchestrator", run_name="__main__", alter_sys=True)
"""


async def _start(fleet: RunningFleet, name: str, off_s: int, more: Mapping[str, str]) -> None:
    """Start an orchestrator whose clock is so far ahead."""
    environ = {
        "FLOTILLA_NATS_URL": fleet.url,
        "FLOTILLA_NATS_CREDS": str(fleet.server.orchestrator().creds),
        "FLOTILLA_INSTANCE": name,
        "FLOTILLA_SCOPES": "default",
        "FLOTILLA_STREAM_REPLICAS": "1",
        **more,
    }
    process = await fleet.spawn(name, ("-c", ORCHESTRATOR.format(off_s=off_s)), environ)
    fleet.orchestrators.append(process)
    await fleet.until_ready(process)


@asynccontextmanager
async def _fleet_of_clock(directory: Path, off_s: int) -> AsyncGenerator[tuple[RunningFleet, PlainClient, PlainClient]]:
    """A fleet whose one orchestrator has a clock that is so far ahead; with a tenant and an admin."""
    folder = directory / "capabilities"
    folder.mkdir()
    for text in (LONG, BRIEF):
        (folder / f"{text.split(chr(34))[1]}.toml").write_text(text)
    async with running_fleet(directory / "fleet", orchestrators=0) as fleet:
        await _start(fleet, "off", off_s, {"FLOTILLA_CAPABILITY_FILES": str(folder)})
        await fleet.until_replicas({worker.name for worker in fleet.workers})
        yield fleet, await fleet.client(), await fleet.admin()


@pytest.mark.parametrize("off_s", [-OFF_S, OFF_S])
async def test_a_run_at_a_gate_is_due_once_when_it_expires_and_at_once_when_it_is_decided(tmp_path: Path, off_s: int):
    """
    One that came back too early would be kept again and again until it is late.
    """
    async with _fleet_of_clock(tmp_path, off_s) as (fleet, client, admin):
        approver = await fleet.connect(fleet.server.approver())
        async with client.hearing("results.>") as results:
            expiring, granted = new_task(), new_task()
            await client.submit("brief", {"document": "a"}, task=expiring)
            expired = await results.result(expiring)
            kept = await admin.stream("STREAM.INFO", "SUSPENDED_default", {})
            await client.submit("long", {"document": "a"}, task=granted)
            await eventually(lambda: admin.messages_in("SUSPENDED_default", f"suspended.default.wait.{granted}"))
            await _grant(approver)
            passed = await results.result(granted)

    assert "approval_expired" == expired["error"]["kind"]
    # Where it waited, and where it was due.
    assert kept["state"]["last_seq"] <= 2
    assert "ok" == passed["status"], passed


async def test_a_run_whose_file_is_away_is_put_off_by_half_a_minute_of_the_servers_clock(tmp_path: Path):
    """
    Also by an orchestrator whose clock is behind, by which it would be due again at once.
    """
    async with _fleet_of_clock(tmp_path, -OFF_S) as (fleet, client, admin):
        task = new_task()
        waits = f"suspended.default.wait.{task}"
        await client.submit("long", {"document": "a"}, task=task)
        await eventually(lambda: admin.messages_in("SUSPENDED_default", waits))
        fleet.orchestrators[0].kill()
        await _start(fleet, "without", -OFF_S, {})
        await _grant(await fleet.connect(fleet.server.approver()))
        found: list[Json] = []

        async def put_off() -> bool:
            answer = await admin.stream("STREAM.MSG.GET", "SUSPENDED_default", {"last_by_subj": waits})
            # It waited, was due, and waits again.
            found[:] = [message for message in (answer.get("message"),) if message and message["seq"] > 2]
            return bool(found)

        await eventually(put_off)

    [message] = found
    headers = base64.b64decode(message["hdrs"]).decode().splitlines()
    [schedule] = [line.partition(": ")[2] for line in headers if line.startswith("Nats-Schedule:")]
    waits_for = datetime.fromisoformat(schedule.removeprefix("@at ")) - datetime.fromisoformat(message["time"])
    assert waits_for.total_seconds() > 0, schedule


async def _grant(approver: PlainClient) -> None:
    """Grant the one request that waits."""
    [request] = (await approver.api("approvals", {}))["approvals"]
    decided = await approver.api("decide", {"id": request["id"], "digest": request["digest"], "decision": "grant"})
    assert "granted" == decided["status"], decided
