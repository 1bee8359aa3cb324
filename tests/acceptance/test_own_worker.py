"""A user's own worker: functions, a capability in a TOML file, and nothing of the project but one call."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from flotilla.contracts.subjects import Zone
from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.fleet_process import FleetProcess
from flotilla.testkit.plain_client import PlainClient

POOLS: tuple[tuple[Zone, str], ...] = (("local", "local"), ("local", "triage"))
SWEEPS_S = 3.0
CAPABILITY = """
name = "triage-ticket"
description = "Which queue a ticket belongs in."

[input]
type = "object"
required = ["subject"]
additionalProperties = false
[input.properties.subject]
type = "string"

[output]
type = "object"
required = ["queue"]
[output.properties.queue]
type = "string"
enum = ["billing", "other"]
"""
WORKER = """
import asyncio
import os

from flotilla.inference.run import run_handlers


async def triage(ticket):
    if ticket["subject"] == "explode":
        raise RuntimeError("a secret of " + ticket["subject"])
    if ticket["subject"] == "nonsense":
        return {"queue": "no such queue"}
    if ticket["subject"] == "slow":
        await asyncio.sleep(60)
    while ticket["subject"] == "held" and not os.path.exists("let-go"):
        await asyncio.sleep(0.02)
    return {"queue": "billing" if "invoice" in ticket["subject"] else "other"}


async def spell(text, emit):
    for letter in text["word"]:
        await emit(letter)
    return {"spelt": text["word"]}


if __name__ == "__main__":
    run_handlers({"triage-ticket": triage, "spell": spell}, pool="triage", slots=3)
"""


async def test_a_handler_and_a_capability_file_are_a_worker(tmp_path: Path):
    """
    Its capability is checked by its schema on the way in and out, durable and interactive, streamed and cancelled.
    """
    capabilities = tmp_path / "capabilities"
    capabilities.mkdir()
    (capabilities / "triage-ticket.toml").write_text(CAPABILITY)
    program = tmp_path / "triage_worker.py"
    program.write_text(WORKER)
    files = {"FLOTILLA_CAPABILITY_FILES": str(capabilities)}
    async with running_fleet(tmp_path / "fleet", local=0, pools=POOLS, env=files) as fleet:
        worker = await _start(fleet, program, "triage-w1", files)
        client = await fleet.client()
        cards = (await client.api("replicas"))["replicas"]
        good = await client.ask("triage-ticket", {"subject": "my invoice"})
        bad_input = await client.ask("triage-ticket", {"subject": 7})
        bad_output = await client.ask("triage-ticket", {"subject": "nonsense"})
        crashed = await client.ask("triage-ticket", {"subject": "explode"})
        spelt = await client.ask("spell", {"word": "abc"}, headers={"Flotilla-Stream": "true"})
        async with client.hearing("results.>") as results:
            await client.submit("triage-ticket", {"subject": "hello"}, task="one")
            durable = await results.result("one")
        await _cancelled(client)
        worker.terminate()
        code = await worker.wait()

    assert [(card["pool"], card["provider"], card["slots"]) for card in cards] == [("triage", "handler", 3)]
    assert good.result["output"] == {"queue": "billing"}
    assert good.result["provider"] == "handler"
    assert bad_input.kind == "bad_request"
    assert bad_input.result["error"]["details"]["path"] == "$.subject"
    assert bad_output.kind == "provider_failed"
    assert bad_output.result["attempts"][0]["outcome"] == "invalid_output"
    assert crashed.kind == "provider_failed"
    assert {attempt["outcome"] for attempt in crashed.result["attempts"]} == {"crashed"}
    assert "a secret of" not in str(crashed.result)
    assert [piece["text"] for piece in spelt.pieces] == ["a", "b", "c"]
    assert spelt.result["output"] == {"spelt": "abc"}
    assert durable["output"] == {"queue": "other"}
    assert code == 0


@pytest.mark.parametrize("leaves", ["terminate", "kill"])
async def test_tasks_of_a_worker_that_is_away_wait_for_it(tmp_path: Path, leaves: str):
    """
    Nothing but the worker defines its capability: those it held and those behind them are still done when it is back,
    also when every orchestrator was started after it had gone.
    """
    program = tmp_path / "triage_worker.py"
    program.write_text(WORKER)
    async with running_fleet(tmp_path / "fleet", local=0, pools=POOLS) as fleet:
        worker = await _start(fleet, program, "triage-w1", {})
        client = await fleet.client()
        tasks = [f"{leaves}-{number}" for number in range(12)]
        async with client.hearing("results.>") as results:
            await client.submit_many("triage-ticket", {"subject": "held"}, tasks)
            await client.until_status(tasks[0], "running")
            getattr(worker, leaves)()
            (fleet.directory / "let-go").touch()
            await worker.wait()
            await fleet.until_replicas(set(), absent=frozenset({worker.name}))
            asked = await client.ask("triage-ticket", {"subject": "held"})
            before = fleet.orchestrators[0]
            await fleet.start_orchestrator()
            before.terminate()
            await before.wait()
            await asyncio.sleep(SWEEPS_S)
            early = [body for body in results.bodies() if body["status"] != "ok"]
            await _start(fleet, program, "triage-w2", {})
            await results.until(lambda heard: len(heard.counts()) == len(tasks))

    assert asked.kind in {"no_route", "no_capacity"}
    assert [] == early
    assert dict.fromkeys(tasks, 1) == results.counts()
    assert {"ok"} == {body["status"] for body in results.bodies()}


async def _start(fleet: RunningFleet, program: Path, name: str, files: Mapping[str, str]) -> FleetProcess:
    own = {**files, "FLOTILLA_PROVIDER": "", "FLOTILLA_SLOTS": ""}
    for setting in ("FLOTILLA_ENGINE_LATENCY_MS", "FLOTILLA_ENGINE_JITTER", "FLOTILLA_ENGINE_FAILURE_RATE"):
        own[setting] = ""
    return await fleet.start_worker("local", "triage", name, env=own, command=(str(program),))


async def _cancelled(client: PlainClient) -> None:
    asking = asyncio.ensure_future(client.ask("triage-ticket", {"subject": "slow"}, headers={"Nats-Msg-Id": "slow"}))
    await client.until_status("slow", "running")
    await client.api("cancel", {"task": "slow"})
    assert (await asyncio.wait_for(asking, 60)).kind == "cancelled"
