"""What a caller can follow while a task is worked on: its events, and the pieces of a streamed answer."""

import asyncio
import json
import time

import pytest

from flotilla.testkit.fleet import RunningFleet
from flotilla.testkit.plain_client import BODIES, PlainClient, new_task
from flotilla.testkit.provider_openai import OpenAIServer
from flotilla.testkit.provider_steps import Says

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_events_of_a_task_come_in_order(caller: PlainClient):
    """
    Queued, dispatched to a replica, finished: each with the task it belongs to.
    """
    task = new_task()
    async with caller.hearing("events.classify.>") as events:
        await caller.submit("classify", BODIES["classify"], task=task)
        await events.until(lambda heard: len(heard.about(task)) == 3)

    found = events.about(task)
    kinds = [message.subject.removeprefix("events.classify.") for message in found]
    bodies = [json.loads(message.data) for message in found]
    assert kinds == ["queued", "dispatched", "finished"]
    assert [body["kind"] for body in bodies] == kinds
    assert {body["task"] for body in bodies} == {task}
    assert bodies[1]["pool"] == "local"
    assert [None, "internal", None] == [body.get("data_class") for body in bodies]
    assert bodies[2]["replica"] == "local-w1"
    stamps = [body["at_unix_ms"] for body in bodies]
    assert stamps == sorted(stamps)
    assert abs(stamps[0] / 1000 - time.time()) < 60


async def test_a_failed_task_ends_with_a_failed_event(caller: PlainClient):
    """
    The last event of a task without a route says so.
    """
    task = new_task()
    async with caller.hearing("events.classify.>") as events:
        answer = await caller.ask(
            "classify",
            BODIES["classify"],
            headers={"Nats-Msg-Id": task, "Flotilla-Route": "local/no-such-model"},
        )
        await events.until(lambda heard: len(heard.about(task)) == 2)

    assert answer.kind == "no_route"
    queued, failed = events.about(task)
    assert [queued.subject, failed.subject] == ["events.classify.queued", "events.classify.failed"]
    assert json.loads(failed.data)["error"] == "no_route"


async def test_events_of_any_number_of_tasks_are_on_few_subjects(calm_fleet: RunningFleet, caller: PlainClient):
    """
    One for each capability and kind: the stream that keeps them costs the server memory by the subject.
    """
    tasks = [new_task("few") for _ in range(20)]
    async with caller.hearing("events.>") as events, caller.hearing("events.classify.finished") as finished:
        await caller.submit_many("classify", BODIES["classify"], tasks, at_once=20)
        await events.until(lambda heard: all(heard.counts().get(task) == 3 for task in tasks))

    assert set(tasks) <= finished.counts().keys()
    found = {message.subject for task in tasks for message in events.about(task)}
    assert found == {f"events.classify.{kind}" for kind in ("queued", "dispatched", "finished")}
    admin = await calm_fleet.admin()
    assert await admin.messages_in("EVENTS_default", "scope.default.events.classify.finished") >= len(tasks)


@pytest.mark.parametrize(("capability", "field"), [("summarize", ("summary",)), ("chat", ("message", "content"))])
async def test_pieces_come_before_the_end_and_make_up_its_text(
    caller: PlainClient, capability: str, field: tuple[str, ...]
):
    """
    Pieces are numbered from 0 without gaps, and joined they are the text of the output.
    """
    answer = await caller.ask(capability, BODIES[capability], headers={"Flotilla-Stream": "true"})

    assert len(answer.pieces) > 1
    assert list(range(len(answer.pieces))) == [piece["seq"] for piece in answer.pieces]
    text = answer.result["output"]
    for name in field:
        text = text[name]
    assert text == "".join(piece["text"] for piece in answer.pieces)


async def test_pieces_arrive_while_the_work_goes_on(calm_fleet: RunningFleet):
    """
    The first piece does not wait for the last, which the model says when the first was heard.
    """
    async with OpenAIServer() as server:
        heard_first = asyncio.Event()
        server.otherwise = Says("in short", hold=heard_first)
        environ = {"OPENAI_BASE_URL": f"{server.url}/v1", "FLOTILLA_MODELS": "m", "FLOTILLA_CAPABILITIES": "summarize"}
        worker = await calm_fleet.start_worker("local", "scripted", "streams", engine="vllm", env=environ)
        client = await calm_fleet.client()
        inbox = client.nc.new_inbox()
        headers = {"Flotilla-Stream": "true", "Flotilla-Route": "scripted"}
        async with client.hearing(inbox) as answers:
            await client.nc.publish("ask.summarize", b'{"document":"a"}', reply=inbox, headers=headers)
            await answers.until(lambda heard: heard.messages)
            heard_first.set()
            await answers.until(lambda heard: any(b'"status":"ok"' in message.data for message in heard.messages))
        worker.terminate()
        await worker.wait()

    *pieces, _ = [json.loads(message.data) for message in answers.messages if message.data]
    assert ["in", " short"] == [piece["text"] for piece in pieces]


async def test_without_the_header_there_are_no_pieces(caller: PlainClient):
    """
    A caller that did not ask for a stream gets one message.
    """
    answer = await caller.ask("summarize", BODIES["summarize"])

    assert answer.pieces == []
    assert answer.result["status"] == "ok"
