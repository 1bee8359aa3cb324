"""Runs whose files change under them, whose capabilities vanish, and whose values are too large or not there."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.plain_client import Json, PlainClient, eventually, new_task
from flotilla.testkit.scripted_worker import ScriptedWorker, finished, scripted_worker

TWO: Final = """
name = "two"
[input]
type = "object"
[steps.sort]
capability = "classify"
input = { document = "${input.document}", labels = ["billing", "other"] }
[steps.short]
capability = "summarize"
input = { document = "${steps.sort.label} by the first file" }
[output]
text = "${steps.short.summary}"
"""
TWO_LATER: Final = TWO.replace("the first file", "the second file")
GATED: Final = TWO.replace('"two"', '"gated"').replace(
    'capability = "summarize"', 'capability = "summarize"\napproval = {}'
)
OWN: Final = """
name = "own"
description = "Of this house."
[input]
type = "object"
properties.document.type = "string"
[output]
type = "object"
properties.label.type = "string"
[prompt]
user = "{document}"
"""
WITH_OWN: Final = (
    TWO.replace('"two"', '"with-own"').replace('"summarize"', '"own"').replace("short.summary", "short.label")
)
PASSED_ON: Final = """
name = "passed-on"
[input]
type = "object"
[steps.one]
capability = "summarize"
input = { document = "${input.document}" }
[steps.two]
capability = "summarize"
input = { document = "${steps.one.summary}" }
[output]
text = "${steps.two.summary}"
"""
PAYLOAD_BYTES: Final = 8 * 1024 * 1024
Script = Callable[[Json], list[Any]]


def _says(request: Json) -> list[Any]:
    if request["capability"] == "classify":
        return [{"type": "accepted"}, finished({"label": "billing", "confidence": 1.0})]
    if request["capability"] == "own":
        return [{"type": "accepted"}, finished({"label": "own"})]
    return [{"type": "accepted"}, finished({"summary": request["input"]["document"]})]


def _folder(directory: Path, *texts: str) -> dict[str, str]:
    """A folder of files; gives the setting that names it."""
    directory.mkdir(parents=True)
    for text in texts:
        (directory / f"{text.split(chr(34))[1]}.toml").write_text(text)
    return {"FLOTILLA_CAPABILITY_FILES": str(directory)}


@asynccontextmanager
async def _stage(
    directory: Path, env: Mapping[str, str], script: Script = _says
) -> AsyncGenerator[tuple[RunningFleet, PlainClient, ScriptedWorker]]:
    async with running_fleet(directory / "fleet", local=0, pools=(("local", "scripted"),), env=env) as fleet:
        member = await fleet.connect(fleet.server.worker("local", "scripted"))
        able = ("classify", "summarize", "own")
        async with scripted_worker(member, script, capabilities=able, slots=16) as worker:
            await fleet.until_replicas({"scripted-w1"})
            yield fleet, await fleet.client(), worker


class Stall:
    """A script that answers nothing to one capability until it may."""

    def __init__(self, capability: str) -> None:
        self.reached: Final = asyncio.Event()
        self.is_open = False
        self._capability = capability

    def __call__(self, request: Json) -> list[Any]:
        if request["capability"] == self._capability and not self.is_open:
            self.reached.set()
            return [{"type": "accepted"}]
        return _says(request)


async def test_orchestrators_with_two_versions_of_a_file_finish_each_run_by_the_one_that_it_began_with(tmp_path: Path):
    """
    Both take runs; the one that is taken over by the other goes on by the file of before, whatever the other has.
    """
    stall = Stall("summarize")
    first = _folder(tmp_path / "first", TWO)
    later = _folder(tmp_path / "later", TWO_LATER)
    async with _stage(tmp_path, first, stall) as (fleet, client, worker):
        began = new_task()
        async with client.hearing("results.>") as results:
            await client.submit("two", {"document": "a"}, task=began)
            await asyncio.wait_for(stall.reached.wait(), 60)
            await fleet.start_orchestrator("later", env=later)
            fleet.orchestrators[0].kill()
            stall.is_open = True
            taken_over = await results.result(began, 120)
            await fleet.start_orchestrator("first-again")
            tasks = [new_task() for _ in range(20)]
            await client.submit_many("two", {"document": "b"}, tasks)
            texts = {(await results.result(task))["output"]["text"] for task in tasks}

    assert {"text": "billing by the first file"} == taken_over["output"]
    assert texts <= {"billing by the first file", "billing by the second file"}
    # One classification of each run: a file that is not the run's own makes no step of it again.
    assert 21 == sum(request["capability"] == "classify" for request in worker.requests)


async def test_runs_whose_files_were_removed_wait_for_them_and_fail_at_their_deadlines(tmp_path: Path):
    """
    They are nobody's meanwhile, and one whose file comes back in time goes on. One that was suspended sends nothing.
    """
    stall = Stall("summarize")
    env = _folder(tmp_path / "files", TWO, GATED)
    deadline = {"Flotilla-Deadline-Ms": "12000"}
    async with _stage(tmp_path, env, stall) as (fleet, client, worker):
        approver, admin = await fleet.connect(fleet.server.approver()), await fleet.admin()
        back, late, gated = new_task(), new_task(), new_task()
        async with client.hearing("results.>") as results:
            await client.submit("gated", {"document": "a"}, task=gated, headers=deadline)
            await client.submit("two", {"document": "b"}, task=back)
            await client.submit("two", {"document": "c"}, task=late, headers=deadline)
            await eventually(lambda: _has_asked(worker, "summarize", 2))
            await eventually(lambda: _is_suspended(admin, gated))
            fleet.orchestrators[0].kill()
            for name in ("two", "gated"):
                (tmp_path / "files" / f"{name}.toml").unlink()
            await fleet.start_orchestrator("without")
            [request] = (await approver.api("approvals"))["approvals"]
            query = {"id": request["id"], "digest": request["digest"], "decision": "grant", "by": "ann"}
            granted = await approver.api("decide", query)
            asked = await client.ask("two", {"document": "d"})
            ended, suspended = [await results.result(task) for task in (late, gated)]
            status = await client.api("status", {"task": back})
            (tmp_path / "files" / "two.toml").write_text(TWO_LATER)
            stall.is_open = True
            await fleet.start_orchestrator("with")
            result = await results.result(back)
        await admin.until_empty("SUSPENDED_default")

    assert asked.kind in ("unknown_capability", "no_route")
    assert "deadline_exceeded" == ended["error"]["kind"]
    assert "granted" == granted["status"]
    assert suspended["error"]["kind"] in ("unknown_capability", "deadline_exceeded"), suspended
    # The suspended run's step is none of them.
    assert 3 == sum(request["capability"] == "summarize" for request in worker.requests)
    assert "waiting" == status["state"]
    assert {"text": "billing by the first file"} == result["output"]


async def test_a_step_whose_capability_vanished_fails_its_run_at_its_deadline(tmp_path: Path):
    """
    The run goes on by its own file, whose capability no file defines and no worker announces any more; one that is asked
    for it by the card of before refuses.
    """
    stall = Stall("own")
    env = _folder(tmp_path / "files", WITH_OWN, OWN)
    task = new_task()
    async with running_fleet(tmp_path / "fleet", local=0, pools=(("local", "scripted"),), env=env) as fleet:
        client = await fleet.client()
        member = await fleet.connect(fleet.server.worker("local", "scripted"))
        async with scripted_worker(member, stall, capabilities=("classify", "own")):
            await fleet.until_replicas({"scripted-w1"})
            await client.submit("with-own", {"document": "a"}, task=task, headers={"Flotilla-Deadline-Ms": "14000"})
            await asyncio.wait_for(stall.reached.wait(), 60)
            fleet.orchestrators[0].kill()
        (tmp_path / "files" / "own.toml").unlink()
        (tmp_path / "files" / "with-own.toml").write_text(TWO.replace('"two"', '"with-own"'))
        member = await fleet.connect(fleet.server.worker("local", "scripted"))
        async with scripted_worker(member, _says, replica="w2"), client.hearing("results.>") as results:
            await fleet.start_orchestrator("without")
            await fleet.until_replicas({"w2"}, absent=frozenset({"scripted-w1"}))
            result = await results.result(task)

    error = result["error"]
    assert error["kind"] in ("step_failed", "deadline_exceeded"), error
    assert "short" == error["details"].get("step", "short"), error


async def test_outputs_as_large_as_a_message_and_inputs_that_are_not_there_are_typed(tmp_path: Path):
    """
    An output of half the size passes through two steps; what cannot be kept or sent says which step it was.
    """
    sizes = {"half": PAYLOAD_BYTES // 2, "whole": PAYLOAD_BYTES - 600}

    def script(request: Json) -> list[Any]:
        size = sizes.get(request["input"]["document"])
        if size is None:
            return _says(request)
        return [{"type": "accepted"}, finished({"summary": "x" * size})]

    async with _stage(tmp_path, _folder(tmp_path / "files", PASSED_ON, TWO), script) as (fleet, client, _):
        half, whole, absent = new_task(), new_task(), new_task()
        async with client.hearing("results.>") as results:
            await client.submit("passed-on", {"document": "half"}, task=half)
            await client.submit("passed-on", {"document": "whole"}, task=whole)
            await client.submit("two", {}, task=absent)
            passed, kept_not, missing = [await results.result(task) for task in (half, whole, absent)]
        asked = await client.ask("passed-on", {"document": "whole"})
        asked_for_nothing = await client.ask("two", {})
        running = all(process.is_running for process in fleet.processes)

    assert sizes["half"] == len(passed["output"]["text"])
    for result in (kept_not, asked.result):
        assert ("step_failed", "too_large") == (result["error"]["kind"], result["error"]["details"]["kind"]), result[
            "error"
        ]
    for result in (missing, asked_for_nothing.result):
        error = result["error"]
        assert ("step_failed", "bad_request") == (error["kind"], error["details"]["kind"]), error
        assert ("sort", "input.document") == (error["details"]["step"], error["details"]["path"]), error
    assert running


async def _has_asked(worker: ScriptedWorker, capability: str, count: int) -> bool:
    return sum(request["capability"] == capability for request in worker.requests) >= count


async def _is_suspended(admin: PlainClient, task: str) -> bool:
    return bool(await admin.messages_in("SUSPENDED_default", f"suspended.default.wait.{task}"))
