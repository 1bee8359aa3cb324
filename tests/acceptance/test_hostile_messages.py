"""A worker whose every word is chosen to break the orchestrator, and a tenant whose subjects nobody can read."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.plain_client import BODIES, PlainClient, eventually, new_task
from flotilla.testkit.raw_client import raw_client
from flotilla.testkit.scripted_worker import Line, ScriptedWorker, failed, finished, scripted_worker

pytestmark = pytest.mark.asyncio(loop_scope="session")

SMALL_BYTES = 540
CLASSIFY = BODIES["classify"]
ONLY_HERE = {"Flotilla-Route": "scripted"}
STOLEN_LINES = (
    "x 2\r\n{}\r\nPUB $KV.policy.routing 4\r\nevil\r\nPUB commit.default.classify.seq-999 2\r\n{}\r\n"
    "PUB infer-control.local.scripted.y"
)


def _bytes(reply: dict[str, Any], was: bytes, becomes: bytes) -> bytes:
    body = json.dumps(reply).encode()
    assert was in body
    return body.replace(was, becomes)


USAGE = {"input_tokens": 7, "output_tokens": 8, "cost_usd": 0.5}
WHOLE = finished(usage=USAGE, timings={"provider_ms": 1.5, "first_piece_ms": 0.5})
REPLICAS = [STOLEN_LINES, "x y", "", "a.b", "*", ">", "x\n", "\u202ex", "x" * 64, "_all"]
REPLIES: dict[str, Line] = {
    **{f"accepted by {replica[:12]!a}": {"type": "accepted", "replica": replica} for replica in REPLICAS},
    **{f"finished by {replica[:12]!a}": finished(replica=replica) for replica in REPLICAS if replica},
    **{f"failed by {replica[:12]!a}": failed("refused", replica=replica) for replica in REPLICAS if replica},
    "tokens below 0": finished(usage={"input_tokens": -5}),
    "tokens beyond 64 bits": finished(usage={"input_tokens": 2**64 - 1, "output_tokens": 2**63 - 1}),
    "tokens of 400 digits": _bytes(WHOLE, b'"input_tokens": 7', b'"input_tokens": ' + b"9" * 400),
    "tokens of 5000 digits": _bytes(WHOLE, b'"input_tokens": 7', b'"input_tokens": ' + b"9" * 5000),
    "infinite cost": _bytes(WHOLE, b'"cost_usd": 0.5', b'"cost_usd": 1e999'),
    "cost below 0": finished(usage={"cost_usd": -1.0}),
    "cost of a planet": finished(usage={"cost_usd": 1e308}),
    "time before the start": finished(timings={"first_piece_ms": -1.0}),
    "time without end": finished(timings={"provider_ms": 1e308}),
    "output that is not UTF-8": _bytes(WHOLE, b'"billing"', b'"\xff\xfe"'),
    "output with half a character": _bytes(WHOLE, b'"billing"', b'"\\ud800"'),
    "output nested without end": _bytes(WHOLE, b'"billing"', b"[" * 100_000 + b"]" * 100_000),
    "output nested too deeply": _bytes(WHOLE, b'"billing"', b"[" * 500 + b"]" * 500),
    "a provider that clears the screen": finished(provider="\x1b[2J"),
    "a model of two lines": finished(model="a\nb"),
    "a message that turns around": failed("refused", "\u202eevil"),
    "a message without end": failed("refused", "x" * 501),
    "come back before now": failed("rate_limited", retry_after_s=-1),
    "come back never": failed("rate_limited", retry_after_s=1e308),
    "a piece before the first": {"type": "piece", "seq": -1, "text": "a"},
    "nothing": b"",
    "a byte order mark": b"\xef\xbb\xbf{}",
}


class Mouth:
    """What the hostile worker says to the next request; after it, an honest answer."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.worker: ScriptedWorker

    def speak(self, _request: object) -> list[Line]:
        """Say it once."""
        lines, self.lines = self.lines, []
        return lines or [finished()]


@pytest_asyncio.fixture(loop_scope="session")
async def mouth(calm_fleet: RunningFleet) -> AsyncIterator[Mouth]:
    """
    A worker of a pool of its own that says what a test wants.
    """
    mouth = Mouth()
    client = await calm_fleet.connect(calm_fleet.server.worker("local", "scripted"))
    async with scripted_worker(client, mouth.speak, replica="mouth", models=("hostile",)) as mouth.worker:
        await calm_fleet.until_replicas({"mouth"})
        yield mouth
    await calm_fleet.until_replicas(set(), absent=frozenset({"mouth"}))


async def test_a_reply_beyond_its_bounds_is_a_crash_and_nothing_else(
    calm_fleet: RunningFleet, caller: PlainClient, mouth: Mouth
):
    """
    It is tried again, as after every crash; no byte of it becomes a subject, a sum or a line.
    """
    admin = await calm_fleet.admin()
    before = await admin.messages_in("KV_policy")
    disconnected = _disconnected(calm_fleet)

    for name, reply in REPLIES.items():
        # Silence behind it, so that nothing but the reply itself ends the attempt.
        mouth.lines = [reply, 5.0]
        answer = await caller.ask("classify", CLASSIFY, headers=ONLY_HERE)

        outcomes = [attempt["outcome"] for attempt in answer.result["attempts"]]
        assert (name, ["crashed", "ok"]) == (name, outcomes)
        usage = answer.result["usage"]
        assert (name, 0, 0.0) == (name, usage["input_tokens"], usage["cost_usd"])

    assert before == await admin.messages_in("KV_policy")
    assert (await caller.api("result", {"task": "seq-999"}))["error"]["kind"] == "not_found"
    assert disconnected == _disconnected(calm_fleet)
    assert not any(control for control in mouth.worker.controls if control.get("type") != "roll_call")
    for orchestrator in calm_fleet.orchestrators:
        assert '"exception"' not in orchestrator.log_text()
        assert "owned" not in orchestrator.log_text()


@pytest.mark.parametrize("lie", [{"type": "busy"}, b""], ids=["busy", "nothing"])
async def test_a_stream_that_is_taken_back_is_broken_not_begun_again(
    calm_fleet: RunningFleet, caller: PlainClient, mouth: Mouth, lie: Line
):
    """
    The caller would get the pieces of two attempts as those of one.
    """
    mouth.lines = [{"type": "piece", "seq": 0, "text": "Once "}, 0.05, lie]

    answer = await caller.ask("summarize", BODIES["summarize"], headers={**ONLY_HERE, "Flotilla-Stream": "true"})

    assert [piece["text"] for piece in answer.pieces] == ["Once "]
    assert answer.kind == "provider_failed"
    assert len(mouth.worker.requests) == 1
    assert all(orchestrator.is_running for orchestrator in calm_fleet.orchestrators)


UNREADABLE = [
    b"\xff",
    b"\x0b",
    b"a\x0cb",
    b"\x00\x1b",
    b"classify.\xff",
    b"classify.high.\x85",
    b"*",
    b">",
    b"classify.*",
]


async def test_asks_and_questions_on_subjects_that_are_none_break_no_connection(calm_fleet: RunningFleet):
    """
    At any rate: another tenant's are answered meanwhile.

    Not all of the same tenant's: where somebody names the reply `_INBOX.*`, nats-server forgets every reply of that
    account that matches it (2.15.1).
    """
    neighbour = await calm_fleet.client("acme")
    disconnected = _disconnected(calm_fleet)
    async with raw_client(calm_fleet.server.anonymous()) as raw:
        for _ in range(20):
            for last in UNREADABLE:
                raw.publish(b"ask." + last, b"{}", reply=b"_INBOX.a")
                raw.publish(b"api." + last, b"{}", reply=b"_INBOX.a")
                raw.publish(b"ask.classify", b"{}", reply=b"_INBOX." + last)
            await raw.flush()
            assert (await neighbour.ask("classify", CLASSIFY)).kind == ""

    assert disconnected == _disconnected(calm_fleet)


async def test_tasks_on_subjects_that_are_none_fail_and_no_other_task_with_them(
    calm_fleet: RunningFleet, caller: PlainClient
):
    """
    No consumer delivers them; the sweep ends them, also where a subject with a wildcard would stand for every task.
    """
    admin = await calm_fleet.admin()
    disconnected = _disconnected(calm_fleet)
    waiting = await caller.submit("generate-code", {"instruction": "add", "language": "c"}, task=new_task("waiting"))
    async with caller.hearing("results.>") as results, raw_client(calm_fleet.server.anonymous()) as raw:
        acks = [await raw.request(b"tasks." + last, json.dumps(CLASSIFY).encode()) for last in UNREADABLE]
        tasks = [f"seq-{ack['seq']}" for ack in acks]
        failures = [(await results.result(task))["error"]["kind"] for task in tasks]
        await eventually(lambda: _holds_only(admin, "TASKS_default", 1))
    records = [await caller.api("dead", {"verb": "show", "task": task}) for task in tasks]
    await admin.stream("STREAM.MSG.DELETE", "TASKS_default", {"seq": waiting["seq"]})

    assert ["unknown_capability"] * len(UNREADABLE) == failures
    assert set(tasks) == set(results.counts())
    assert {("unknown_capability", "restricted")} == {
        (record["error"]["kind"], record["data_class"]) for record in records
    }
    assert disconnected == _disconnected(calm_fleet)


async def test_a_task_that_the_sweep_cannot_end_keeps_it_from_no_other(tmp_path: Path):
    """
    Here the store has no room for some of the results: the tasks stay, and end when it has.
    """
    async with running_fleet(tmp_path) as fleet:
        client, admin = await fleet.client(), await fleet.admin()
        config = (await admin.stream("STREAM.INFO", "RESULTS_default"))["config"]
        await admin.stream("STREAM.UPDATE", "RESULTS_default", {**config, "max_msg_size": SMALL_BYTES})
        async with client.hearing("results.>") as results:
            # The refusal of an unknown capability lists those that are known.
            large = [await client.submit(f"aaa-{number}", CLASSIFY) for number in range(2)]
            small = await client.submit("b.c.d", CLASSIFY)
            await results.result(f"seq-{small['seq']}")
            left = [
                await admin.messages_in("TASKS_default", f"scope.default.tasks.aaa-{number}") for number in range(2)
            ]
            await admin.stream("STREAM.UPDATE", "RESULTS_default", config)
            for ack in large:
                await results.result(f"seq-{ack['seq']}")

    assert [1, 1] == left


async def _holds_only(admin: PlainClient, stream: str, messages: int) -> bool:
    return await admin.messages_in(stream) == messages


def _disconnected(fleet: RunningFleet) -> int:
    return sum(process.log_text().count("nats_disconnected") for process in fleet.processes)
