"""Pipelines on a real fleet: steps in order, kept when they are done, and one result whatever is killed."""

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from flotilla.client.errors import TaskFailedError
from flotilla.client.fleet import Fleet
from flotilla.client.streams import AnswerStream
from flotilla.contracts.results import StepMessage
from flotilla.contracts.subjects import Zone
from flotilla.testkit.commands import start_command
from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.plain_client import Json, PlainClient, new_task
from flotilla.testkit.probe_client import PROBED, Scrape, probe_of
from flotilla.testkit.scripted_worker import ScriptedWorker, failed, finished, scripted_worker

CHAIN = """
name = "chain"
deadline_s = 500
[input]
type = "object"
required = ["document"]
properties.document.type = "string"
[steps.sort]
capability = "classify"
input = { document = "${input.document}", labels = ["billing", "other"] }
[steps.short]
capability = "summarize"
when = "steps.sort.label == 'billing'"
input = { document = "${input.document}" }
[steps.again]
capability = "summarize"
input = { document = "${steps.short.summary}!" }
[output]
label = "${steps.sort.label}"
text = "${steps.again.summary}"
"""
FAN = """
name = "fan"
[input]
type = "object"
properties.pages.type = "array"
[steps.page]
capability = "summarize"
for_each = "${input.pages}"
parallel = 8
input = { document = "${item}" }
[output]
pages = "${steps.page.*.summary}"
"""
OUTER = """
name = "outer"
[input]
type = "object"
[steps.inner]
capability = "chain"
input = { document = "${input.document}" }
[output]
inner = "${steps.inner.text}"
"""
GATED = """
name = "gated"
[input]
type = "object"
[steps.sort]
capability = "classify"
approval = {}
input = { document = "${input.document}", labels = ["billing", "other"] }
[output]
label = "${steps.sort.label}"
"""
INNER = """
name = "secret"
[input]
type = "object"
[steps.sort]
capability = "classify"
data_class = "restricted"
input = { document = "${input.document}", labels = ["billing", "other"] }
[output]
label = "${steps.sort.label}"
"""
AROUND = """
name = "around"
[input]
type = "object"
[steps.inner]
capability = "secret"
input = { document = "${input.document}" }
[steps.after]
capability = "summarize"
input = { document = "${steps.inner.label}" }
[output]
text = "${steps.after.summary}"
"""
SHAPED = """
name = "shaped"
[input]
type = "object"
[steps.sort]
capability = "classify"
input = { document = "${input.document}", labels = ["billing", "other"] }
[output]
label = "${steps.sort.label}"
[output_schema]
type = "object"
properties.label.type = "number"
"""
HURRIED = SHAPED.replace('"shaped"', '"hurried"\ndeadline_s = 0.5')
DOCUMENT = {"document": "An invoice."}
Script = Callable[[Json], list[Any]]


USAGE = {"input_tokens": 10, "output_tokens": 1, "cost_usd": 0.25}


def _says(request: Json) -> list[Any]:
    if request["capability"] == "classify":
        return [{"type": "accepted"}, finished({"label": "billing", "confidence": 1.0}, usage=USAGE)]
    text = f"<{request['input']['document']}>"
    told = (
        [{"type": "piece", "seq": seq, "text": part} for seq, part in enumerate(text)] if request.get("stream") else []
    )
    broken = [failed("unavailable")] if "broken>!" in text else [finished({"summary": text}, usage=USAGE)]
    return [{"type": "accepted"}, *told, *broken]


@asynccontextmanager
async def _stage(
    directory: Path, script: Script = _says, *, orchestrators: int = 1, zone: Zone = "local"
) -> AsyncGenerator[tuple[RunningFleet, PlainClient, ScriptedWorker]]:
    """A fleet with these pipelines, and one worker that says what the script says."""
    folder = directory / "capabilities"
    folder.mkdir()
    for text in (CHAIN, FAN, OUTER, GATED, SHAPED, HURRIED, INNER, AROUND):
        name = text.split('"')[1]
        (folder / f"{name}.toml").write_text(text)
    env = {"FLOTILLA_CAPABILITY_FILES": str(folder), **PROBED}
    pools: tuple[tuple[Zone, str], ...] = (("local", "scripted"), ("cloud", "cloud"))
    async with running_fleet(directory / "fleet", orchestrators=orchestrators, local=0, pools=pools, env=env) as fleet:
        pool = "scripted" if zone == "local" else "cloud"
        member = await fleet.connect(fleet.server.worker(zone, pool))
        async with scripted_worker(member, script, zone=zone, pool=pool, slots=16) as worker:
            await fleet.until_replicas({"scripted-w1"})
            yield fleet, await fleet.client(), worker


async def _read_into(pieces: list[str], stream: AnswerStream) -> None:
    async for piece in stream:
        pieces.append(piece)  # noqa: PERF401  (those before a failure count)


NEEDS_OF_CHAIN = {"sort": [], "short": ["sort"], "again": ["short"]}
"""What they read, their conditions included."""


def _steps(result: Json) -> list[tuple[str, str, int]]:
    return [(step["name"], step["status"], step.get("tasks", 1)) for step in result["steps"]]


async def test_an_asked_run_gives_its_output_and_tells_of_its_steps(tmp_path: Path):
    """
    Nested runs, fans, conditions and wrong inputs too; nothing is kept of what is asked.
    """
    async with _stage(tmp_path) as (fleet, client, worker):
        chain = (await client.ask("chain", DOCUMENT)).result
        fan = (await client.ask("fan", {"pages": [str(number) for number in range(20)]})).result
        outer = (await client.ask("outer", DOCUMENT)).result
        absent = (await client.ask("outer", {})).result
        wrong = await client.ask("chain", {"document": 7})
        gated = (await client.ask("gated", DOCUMENT)).result
        misshapen = (await client.ask("shaped", DOCUMENT)).result
        kept = await (await fleet.admin()).messages_in("STEPS_default")

    assert {"label": "billing", "text": "<<An invoice.>!>"} == chain["output"]
    assert [("sort", "succeeded", 1), ("short", "succeeded", 1), ("again", "succeeded", 1)] == _steps(chain)
    assert NEEDS_OF_CHAIN == {step["name"]: step.get("needs", []) for step in chain["steps"]}
    assert {("local", "scripted", "m1")} == {(step["zone"], step["pool"], step["model"]) for step in chain["steps"]}
    assert [f"<{number}>" for number in range(20)] == fan["output"]["pages"]
    assert [("page", "succeeded", 20)] == _steps(fan)
    assert {"inner": "<<An invoice.>!>"} == outer["output"]
    assert ("step_failed", "inner", "input.document") == (
        absent["error"]["kind"],
        absent["error"]["details"]["step"],
        absent["error"]["details"]["path"],
    )
    assert "bad_request" == wrong.kind
    assert ("step_failed", "approval_required") == (gated["error"]["kind"], gated["error"]["details"]["kind"])
    assert ("step_failed", "output") == (misshapen["error"]["kind"], misshapen["error"]["details"]["step"])
    assert 3 + 20 + 3 + 1 == len(worker.requests)
    assert 0 == kept


async def test_a_caller_who_wants_a_stream_hears_of_each_step_as_it_begins_and_ends(tmp_path: Path):
    """
    Before the result, in order, per item too; nothing of it where no stream was wanted. Between them come the pieces of the
    last step, if they make up one text of the output, of a step that is a pipeline too. The Python client tells it on.
    """
    heard: list[StepMessage] = []
    broken: list[str] = []
    async with _stage(tmp_path) as (fleet, client, _):
        inbox = client.nc.new_inbox()
        async with client.hearing(inbox) as answers:
            headers = {"Flotilla-Stream": "true"}
            await client.nc.publish("ask.chain", json.dumps(DOCUMENT).encode(), reply=inbox, headers=headers)
            await answers.until(lambda seen: any(b'"status":"ok"' in message.data for message in seen.messages))
        plain = await client.ask("chain", DOCUMENT)
        async with (
            Fleet.connect(fleet.url) as python,
            python.stream("fan", {"pages": ["a", "b"]}, on_step=heard.append) as stream,
        ):
            answer = await stream.finish()
            async with python.stream("outer", DOCUMENT) as nested:
                pieces = [piece async for piece in nested]
            with pytest.raises(TaskFailedError) as failure:
                await _read_into(broken, python.stream("chain", {"document": "broken"}))
        command = ("ask", "chain", "--input", json.dumps(DOCUMENT), "--stream", "--url", fleet.url)
        process = await start_command(*command, environ=os.environ)
        shown, aside = [text.decode() for text in await process.communicate()]

    *heard_whole, result = [json.loads(message.data) for message in answers.messages if message.data]
    told = [each for each in heard_whole if each["type"] == "step"]
    streamed = [each for each in heard_whole if each["type"] == "piece"]
    assert ["sort", "short", "again"] == [each["step"] for each in told if each["status"] == "started"]
    assert ["sort", "short", "again"] == [each["step"] for each in told if each["status"] == "succeeded"]
    assert [*range(len(streamed))] == [each["seq"] for each in streamed]
    assert result["output"]["text"] == "".join(each["text"] for each in streamed)
    assert ("started", "succeeded") == (
        heard_whole[4]["status"],
        heard_whole[-1]["status"],
    )
    assert streamed == heard_whole[5:-1]
    assert {"local"} == {each["zone"] for each in told if each["status"] == "succeeded"}
    assert "ok" == result["status"] == plain.result["status"]
    assert [("started", None), ("succeeded", 0), ("succeeded", 1)] == sorted(
        ((each.status, each.index) for each in heard), key=lambda each: (each[0], each[1] or 0)
    )
    assert {"pages": ["<a>", "<b>"]} == answer.output
    assert nested.answer.output["inner"] == "".join(pieces)
    assert ("step_failed", "<<broken>!>") == (failure.value.kind.value, "".join(broken))
    assert (0, "<<An invoice.>!>\n") == (stream.pieces, shown), aside
    assert "short ..." in aside
    assert "label: billing" in aside


async def test_where_a_pipeline_would_go_is_told_step_by_step(tmp_path: Path):
    """
    Under the class that each step's data has: what a restricted step gave keeps the next one at home.
    """
    async with _stage(tmp_path) as (fleet, client, _):
        cloud = await fleet.connect(fleet.server.worker("cloud", "cloud"))
        async with scripted_worker(cloud, _says, zone="cloud", pool="cloud", replica="cloud-w1"):
            await fleet.until_replicas({"scripted-w1", "cloud-w1"})
            told = await client.api("explain", {"capability": "around", "data_class": "public"})
            chain = await client.api("explain", {"capability": "chain", "data_class": "public"})

    inner, after = told["steps"]
    sort = inner["explanation"]["steps"][0]
    assert ("pipeline", [], []) == (told["strategy"], told["routes"], told["excluded"])
    assert ["inner", "sort", "after"] == [inner["step"], sort["step"], after["step"]]
    assert ["public", "restricted"] == [each["explanation"]["data_class"] for each in (inner, sort)]
    assert ["local"] == [route["zone"] for route in sort["explanation"]["routes"]]
    assert ("restricted", {"local"}) == (
        after["explanation"]["data_class"],
        {route["zone"] for route in after["explanation"]["routes"]},
    )
    assert [{"local", "cloud"}] * 3 == [
        {route["zone"] for route in each["explanation"]["routes"]} for each in chain["steps"]
    ]


async def test_a_durable_run_repeats_no_kept_step_whoever_is_killed(tmp_path: Path):
    """
    The orchestrator dies while the last step runs; the next one goes on with that step alone, by the file of before.
    """
    stalled = asyncio.Event()

    def script(request: Json) -> list[Any]:
        if request["input"].get("document", "").endswith("!") and not stalled.is_set():
            stalled.set()
            return [{"type": "accepted"}]
        return _says(request)

    async with _stage(tmp_path, script) as (fleet, client, worker):
        task = new_task()
        async with client.hearing("results.>") as results:
            await client.submit("chain", DOCUMENT, task=task)
            await asyncio.wait_for(stalled.wait(), 60)
            fleet.orchestrators[0].kill()
            (tmp_path / "capabilities" / "chain.toml").write_text(CHAIN.replace("}!", "}?"))
            await fleet.start_orchestrator("o2")
            result = await results.result(task, 120)
        sent = [(request["capability"], request["input"].get("document")) for request in worker.requests]

    assert {"label": "billing", "text": "<<An invoice.>!>"} == result["output"]
    assert [("classify", "An invoice."), ("summarize", "An invoice."), *[("summarize", "<An invoice.>!")] * 2] == sent
    assert [1, 1, 0] == [step.get("kept", 0) for step in result["steps"]]
    assert (30, 0.75) == (result["usage"]["input_tokens"], result["usage"]["cost_usd"])
    assert all(step["latency_ms"] > 0 for step in result["steps"])


async def test_two_orchestrators_give_a_run_one_result(tmp_path: Path):
    """
    Many runs at once, each once.
    """
    async with _stage(tmp_path, orchestrators=2) as (fleet, client, worker):
        tasks = [new_task() for _ in range(40)]
        async with client.hearing("results.chain.>") as results:
            await client.submit_many("chain", DOCUMENT, tasks)
            ended = [await results.result(task, 60) for task in tasks]
        await (await fleet.admin()).until_empty("TASKS_default")

    assert {"ok"} == {result["status"] for result in ended}
    assert 40 * 3 == len(worker.requests)


async def test_a_run_that_failed_at_a_step_goes_on_from_there_when_it_is_tried_again(tmp_path: Path):
    """
    From the dead letters, and as a new task that names the run.
    """
    broken = True

    def script(request: Json) -> list[Any]:
        if broken and request["capability"] == "summarize":
            return [{"type": "accepted"}, failed("bad_input")]
        return _says(request)

    async with _stage(tmp_path, script) as (_, client, worker):
        task, again = new_task(), new_task()
        async with client.hearing("results.>") as results, client.hearing("events.chain.>") as events:
            await client.submit("chain", DOCUMENT, task=task)
            dead = await results.result(task, 60)
            broken = False
            await client.submit("chain", DOCUMENT, task=again, headers={"Flotilla-Resume": task})
            resumed = await results.result(again, 60)
            await client.dead_record(task)
            retried = await client.api("dead", {"verb": "retry", "task": task})
            third = await results.result(retried["retried_as"], 60)
            await events.until(lambda heard: sum(each.endswith(".finished") for each in heard.subjects) == 2, 60)
        told = [json.loads(message.data) for message in events.about(again)]
        classified = sum(request["capability"] == "classify" for request in worker.requests)

    assert "step_failed" == dead["error"]["kind"]
    assert "short" == dead["error"]["details"]["step"]
    assert ["ok", "ok"] == [resumed["status"], third["status"]]
    assert [1, 0, 0] == [step.get("kept", 0) for step in resumed["steps"]]
    assert [1, 1, 1] == [step.get("kept", 0) for step in third["steps"]]
    assert [20, 0] == [each["usage"]["input_tokens"] for each in (resumed, third)]
    assert [
        ("step_finished", "sort", True),
        ("step_started", "short", False),
        ("step_finished", "short", False),
        ("step_started", "again", False),
        ("step_finished", "again", False),
    ] == [(event["kind"], event["step"], event.get("kept", False)) for event in told if "step" in event]
    assert 1 == classified


async def test_cancel_and_the_deadline_reach_every_step(tmp_path: Path):
    """
    The workers are told to stop; no run hangs.
    """
    async with _stage(tmp_path, lambda _: [{"type": "accepted"}]) as (_, client, worker):
        task, late = new_task(), new_task()
        async with client.hearing("results.>") as results:
            await client.submit("fan", {"pages": ["a", "b", "c"]}, task=task)
            async with asyncio.timeout(60):
                while len(worker.requests) < 3:
                    await asyncio.sleep(0.02)
            await client.api("cancel", {"task": task})
            cancelled = await results.result(task, 60)
            async with asyncio.timeout(60):
                while len(worker.controls) < 3:
                    await asyncio.sleep(0.02)
            await client.submit("hurried", DOCUMENT, task=late)
            overdue = await results.result(late, 60)

    assert "cancelled" == cancelled["error"]["kind"]
    assert "deadline_exceeded" == overdue["error"]["kind"]


async def test_restricted_data_stays_at_home_at_every_step(tmp_path: Path):
    """
    With a cloud worker alone a restricted run has no route at its first step, and an internal one has.
    """
    async with _stage(tmp_path, zone="cloud") as (_, client, worker):
        restricted = (await client.ask("chain", DOCUMENT, headers={"Flotilla-Data-Class": "restricted"})).result
        sent = len(worker.requests)
        internal = (await client.ask("chain", DOCUMENT)).result

    assert ("step_failed", "no_route") == (restricted["error"]["kind"], restricted["error"]["details"]["kind"])
    assert 0 == sent
    assert "ok" == internal["status"]


async def test_what_a_run_within_a_run_was_made_from_goes_on(tmp_path: Path):
    """
    Its restricted step makes all restricted that is made from its output; asked, durable, and taken from what was kept.
    """
    async with _stage(tmp_path) as (_, client, worker):
        asked = (await client.ask("around", DOCUMENT)).result
        task, again = new_task(), new_task()
        async with client.hearing("results.around.>") as results:
            await client.submit("around", DOCUMENT, task=task)
            durable = await results.result(task, 60)
            sent = len(worker.requests)
            await client.submit("around", DOCUMENT, task=again, headers={"Flotilla-Resume": task})
            resumed = await results.result(again, 60)

    for result in (asked, durable, resumed):
        assert {"inner": "internal", "after": "restricted"} == {
            step["name"]: step["data_class"] for step in result["steps"]
        }
    assert sent == len(worker.requests)


async def test_events_tell_of_a_run_and_its_steps(tmp_path: Path):
    """
    Under the run's own id.
    """
    async with _stage(tmp_path) as (_, client, _worker):
        task = new_task()
        async with client.hearing("events.chain.>") as events:
            await client.submit("chain", DOCUMENT, task=task)
            await events.until(lambda heard: any(subject.endswith(".finished") for subject in heard.subjects), 60)
            told = (await events.caught_up()).bodies()

    assert {task} == {event["task"] for event in told}
    assert [(kind, step) for step in ("sort", "short", "again") for kind in ("step_started", "step_finished")] == [
        (event["kind"], event["step"]) for event in told if "step" in event
    ]
    assert NEEDS_OF_CHAIN == {
        event["step"]: event.get("needs", []) for event in told if event["kind"] == "step_started"
    }


async def test_runs_and_steps_are_measured_with_what_waits_and_what_stands_still(tmp_path: Path):
    """
    By outcome, both ways in; what a run in hand waits for shows in how long no step of it has ended.
    """
    stalled = asyncio.Event()

    def script(request: Json) -> list[Any]:
        if request["input"].get("document") == "Stand still.":
            stalled.set()
            return [{"type": "accepted"}]
        return _says(request)

    async with _stage(tmp_path, script) as (fleet, client, _):
        probe = probe_of(fleet.orchestrators[0])
        done, gated, still = new_task(), new_task(), new_task()
        async with client.hearing("results.>") as results:
            await client.submit("chain", DOCUMENT, task=done)
            await results.result(done)
        await client.ask("shaped", DOCUMENT)
        await client.submit("gated", DOCUMENT, task=gated)
        waiting = await probe.until(lambda seen: seen.value("flotilla_approvals_oldest_seconds", scope="default") > 0)
        await client.submit("chain", {"document": "Stand still."}, task=still)
        await stalled.wait()
        held = await probe.until(lambda seen: seen.value("flotilla_pipeline_idle_seconds", pipeline="chain") > 1)
        await client.api("cancel", {"task": still})
        after = await probe.until(lambda seen: not seen.value("flotilla_pipeline_runs"))

    def runs(seen: Scrape, **labels: str) -> float:
        return seen.value("flotilla_pipeline_runs_total", **labels)

    assert 1 == waiting.value("flotilla_approvals_waiting", scope="default")
    assert 1 == runs(waiting, pipeline="chain", path="durable", outcome="ok")
    assert 1 == runs(waiting, pipeline="shaped", path="interactive", outcome="step_failed")
    assert 1 == runs(waiting, pipeline="gated", path="durable", outcome="suspended")
    assert 3 == waiting.value("flotilla_pipeline_steps_total", pipeline="chain", outcome="ok")
    assert 1 == waiting.value("flotilla_pipeline_run_seconds_count", pipeline="chain")
    assert 1 == held.value("flotilla_pipeline_runs", pipeline="chain")
    assert 1 == runs(after, pipeline="chain", outcome="cancelled")
    assert 0 == after.value("flotilla_pipeline_idle_seconds")
