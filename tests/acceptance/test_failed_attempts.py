"""What follows when a worker fails, or lies: every kind of failure, by a worker that speaks nothing but the wire."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager

import pytest

from flotilla.testkit.fleet import RunningFleet
from flotilla.testkit.plain_client import BODIES, Json, PlainClient, eventually, new_task
from flotilla.testkit.scripted_worker import Line, Script, ScriptedWorker, failed, finished, scripted_worker

pytestmark = pytest.mark.asyncio(loop_scope="session")

ONLY_HERE = {"Flotilla-Route": "scripted"}
CLASSIFY = BODIES["classify"]
_numbers = itertools.count(1)


@asynccontextmanager
async def _scripted(fleet: RunningFleet, script: Script) -> AsyncGenerator[ScriptedWorker]:
    replica = f"scripted-{next(_numbers)}"
    # A model of its own: what an earlier test did to a route's health must not matter here.
    client = await fleet.connect(fleet.server.worker("local", "scripted"))
    async with scripted_worker(client, script, replica=replica, models=(replica,)) as worker:
        await fleet.until_replicas({replica})
        await _seen_by_every_orchestrator(fleet, replica)
        yield worker
    await fleet.until_replicas(set(), absent=frozenset({replica}))


def _in_turn(*answers: list[Line]) -> Script:
    """The first request gets the first answer, the last answer is repeated."""
    given: Iterable[list[Line]] = itertools.chain(answers, itertools.repeat(answers[-1]))
    turns = iter(given)
    return lambda _request: next(turns)


@pytest.mark.parametrize("kind", ["interrupted", "unavailable", "rate_limited", "crashed"])
async def test_a_passing_failure_is_tried_again_on_the_same_route(
    calm_fleet: RunningFleet, caller: PlainClient, kind: str
):
    """
    Another replica of it may do better; the attempts tell both.
    """
    async with _scripted(calm_fleet, _in_turn([failed(kind)], [finished()])) as worker:
        answer = await caller.ask("classify", CLASSIFY, headers=ONLY_HERE)

    assert answer.kind == ""
    assert [attempt["outcome"] for attempt in answer.result["attempts"]] == [kind, "ok"]
    assert answer.result["attempts"][0]["message"] == "as the script says"
    assert len(worker.requests) == 2


async def test_an_input_that_is_too_large_for_every_route_is_told_as_that(
    calm_fleet: RunningFleet, caller: PlainClient
):
    """
    To ask again would not help; where only some routes found it too large, it might.
    """
    async with _scripted(calm_fleet, _in_turn([failed("too_large")], [failed("interrupted")], [failed("too_large")])):
        alone = await caller.ask("classify", CLASSIFY, headers=ONLY_HERE)
        mixed = await caller.ask("classify", CLASSIFY, headers=ONLY_HERE)

    assert ("too_large", False) == (alone.kind, alone.result["error"]["retryable"])
    assert ["interrupted", "too_large"] == [attempt["outcome"] for attempt in mixed.result["attempts"]]
    assert ("provider_failed", True) == (mixed.kind, mixed.result["error"]["retryable"])


async def test_an_output_that_only_its_result_makes_too_large_fails_as_that(
    calm_fleet: RunningFleet, caller: PlainClient
):
    """
    The worker could send it; labels and attempts around it leave no room. Asked or submitted, the model runs once.
    """
    output = {"label": "x" * (caller.nc.max_payload - 3000), "confidence": 1.0}
    headers = {**ONLY_HERE, **{f"Flotilla-Label-L{number}": "v" * 120 for number in range(16)}}
    # Accepted first: so much text may take longer than the second within which a replica is to be heard of.
    async with _scripted(calm_fleet, lambda _: [{"type": "accepted"}, finished(output=output)]) as worker:
        asked = await caller.ask("classify", CLASSIFY, headers=headers)
        async with caller.hearing("results.>") as results:
            task = new_task()
            await caller.submit("classify", CLASSIFY, headers=headers, task=task)
            committed = await results.result(task)

    assert ("too_large", "too_large") == (asked.kind, committed["error"]["kind"])
    assert committed["error"]["details"]["size_bytes"] > committed["error"]["details"]["limit_bytes"]
    assert 2 == len(worker.requests)


@pytest.mark.parametrize("kind", ["timeout", "refused", "invalid_output", "unknown_model", "auth", "not_releasable"])
async def test_a_failure_of_the_route_itself_goes_to_the_next_route(
    calm_fleet: RunningFleet, caller: PlainClient, kind: str
):
    """
    The same route would fail again; without another one the task fails, and says what happened.
    """
    async with _scripted(calm_fleet, _in_turn([failed(kind)])) as worker:
        answer = await caller.ask("classify", CLASSIFY, headers=ONLY_HERE)

    assert answer.kind == "provider_failed"
    assert answer.result["error"]["retryable"] is True
    assert kind in answer.result["error"]["message"]
    assert [attempt["outcome"] for attempt in answer.result["attempts"]] == [kind]
    assert len(worker.requests) == 1


async def test_the_next_route_takes_over_without_the_caller_noticing(calm_fleet: RunningFleet, caller: PlainClient):
    """
    With two pools that can, whichever fails is left for the other.
    """
    async with _scripted(calm_fleet, _in_turn([failed("invalid_output")])) as worker:
        answers = [await caller.ask("classify", CLASSIFY) for _ in range(12)]

    assert {answer.kind for answer in answers} == {""}
    assert {answer.result["pool"] for answer in answers} == {"local"}
    stories = {tuple((each["pool"], each["outcome"]) for each in answer.result["attempts"]) for answer in answers}
    assert stories <= {(("local", "ok"),), (("scripted", "invalid_output"), ("local", "ok"))}
    assert worker.requests, "the default routing never tried the other pool"


async def test_retry_after_is_waited_for(calm_fleet: RunningFleet, caller: PlainClient):
    """
    The provider said when to come back; not a moment earlier.
    """
    script = _in_turn([failed("rate_limited", retry_after_s=0.7)], [finished()])
    async with _scripted(calm_fleet, script):
        began = time.monotonic()
        answer = await caller.ask("classify", CLASSIFY, headers=ONLY_HERE)
        took_s = time.monotonic() - began

    assert answer.kind == ""
    assert 0.7 <= took_s < 30.0


async def test_a_task_that_cannot_be_read_is_not_offered_elsewhere(calm_fleet: RunningFleet, caller: PlainClient):
    """
    `bad_input` is the caller's to mend.
    """
    async with _scripted(calm_fleet, _in_turn([failed("bad_input", "$.document: expected text")])):
        answer = await caller.ask("classify", CLASSIFY, headers=ONLY_HERE)

    assert answer.kind == "bad_request"
    assert len(answer.result["attempts"]) == 1


@pytest.mark.parametrize(
    "garbage",
    [
        b"not json",
        b"{",
        b"\xff\xfe",
        b"{}",
        b'{"type":"finished"}',
        b'{"type":"finished","output":{"label":"a"},"provider":7,"model":"m"}',
        b'{"type":"nonsense"}',
        b'{"type":"failed","kind":"nonsense","message":"x"}',
        b'{"type":"piece","seq":"one","text":"a"}',
        b"[" * 100_000,
        b'{"type":"finished","output":{"label":\xff},"provider":"p","model":"m"}',
    ],
    ids=lambda body: body[:24].decode("ascii", "replace"),
)
async def test_a_reply_that_does_not_decode_counts_as_a_crash(
    calm_fleet: RunningFleet, caller: PlainClient, garbage: bytes
):
    """
    The orchestrator lives, and the task is tried again.
    """
    async with _scripted(calm_fleet, _in_turn([garbage], [finished()])):
        answer = await caller.ask("classify", CLASSIFY, headers=ONLY_HERE)

    assert [attempt["outcome"] for attempt in answer.result["attempts"]] == ["crashed", "ok"]
    assert all(process.is_running for process in calm_fleet.orchestrators)


@pytest.mark.parametrize(
    "output",
    [
        {"label": 7, "confidence": 1.0},
        {"label": "billing", "confidence": 2.0},
        {"confidence": 1.0},
        {"summary": "of something else"},
        ["billing"],
        "billing",
        {"label": "billing", "confidence": 1.0, "more": float("inf")},
    ],
    ids=str,
)
async def test_an_output_that_is_none_of_its_capability_fails_its_attempt(
    calm_fleet: RunningFleet, caller: PlainClient, output: object
):
    """
    The worker should have seen it; it is tried where else it can be, and nobody gets it.
    """
    bad = json.dumps(finished(output)).replace("Infinity", "1e999").encode()
    async with _scripted(calm_fleet, _in_turn([bad])) as worker:
        answer = await caller.ask("classify", CLASSIFY, headers=ONLY_HERE)
        async with caller.hearing("results.>") as results:
            task = new_task()
            await caller.submit("classify", CLASSIFY, task=task, headers=ONLY_HERE)
            result = await results.result(task)

    for failed_one in (answer.result, result):
        assert ["invalid_output"] == [attempt["outcome"] for attempt in failed_one["attempts"]]
        assert "provider_failed" == failed_one["error"]["kind"]
        assert "output" not in failed_one
        assert "billing" not in json.dumps(failed_one)
    assert 2 == len(worker.requests)


async def test_a_stream_whose_output_is_none_of_its_capability_is_broken(calm_fleet: RunningFleet, caller: PlainClient):
    """
    Its pieces have been passed on: it is not begun again, and not presented as complete.
    """
    script = _in_turn([{"type": "piece", "seq": 0, "text": "Once"}, finished({"label": "billing", "confidence": 1.0})])
    async with _scripted(calm_fleet, script) as worker:
        answer = await caller.ask("summarize", BODIES["summarize"], headers={**ONLY_HERE, "Flotilla-Stream": "true"})

    assert "provider_failed" == answer.kind
    assert 1 == answer.result["error"]["details"]["pieces"]
    assert 1 == len(worker.requests)


async def test_fields_of_a_newer_worker_are_ignored(calm_fleet: RunningFleet, caller: PlainClient):
    """
    Changes to the wire only add.
    """
    script = _in_turn(
        [{"type": "accepted", "mood": "good"}, {"type": "progress", "share": 0.5}, finished(colour="red")]
    )
    async with _scripted(calm_fleet, script):
        answer = await caller.ask("classify", CLASSIFY, headers=ONLY_HERE)

    assert answer.kind == ""


async def test_a_second_last_word_changes_nothing(calm_fleet: RunningFleet, caller: PlainClient):
    """
    Whatever a worker says after its last word is not heard.
    """
    script = _in_turn([finished(), failed("crashed"), b"garbage", finished({"label": "technical", "confidence": 0.1})])
    async with _scripted(calm_fleet, script), caller.hearing("results.>") as results:
        task = new_task()
        await caller.submit("classify", CLASSIFY, task=task, headers=ONLY_HERE)
        result = await results.result(task)
        answer = await caller.ask("classify", CLASSIFY, headers=ONLY_HERE)

    assert result["output"]["label"] == "billing"
    assert answer.result["output"]["label"] == "billing"
    assert results.counts()[task] == 1


async def test_silence_after_the_first_word_is_a_loss(calm_fleet: RunningFleet, caller: PlainClient):
    """
    A replica that accepts and then says nothing is told to stop, and the task is tried again long before its deadline.
    """
    script = _in_turn([{"type": "accepted"}], [finished()])
    async with _scripted(calm_fleet, script) as worker:
        began = time.monotonic()
        answer = await caller.ask("classify", CLASSIFY, headers=ONLY_HERE)
        took_s = time.monotonic() - began
        await eventually(lambda: _told(worker))

    assert [attempt["outcome"] for attempt in answer.result["attempts"]] == ["lost", "ok"]
    assert took_s < 30.0
    assert [{"type": "cancel", "attempt": worker.requests[0]["attempt"]}] == _cancellations(worker)


async def test_an_attempt_that_was_accepted_is_made_once_however_slow_its_worker_is(
    calm_fleet: RunningFleet, caller: PlainClient
):
    """
    Its process stands still, for longer than an acceptance is waited for: what it had said before has been heard.
    """

    def stands_still(_request: Json) -> Iterable[Line]:
        yield {"type": "accepted"}
        time.sleep(1.5)
        yield finished()

    async with _scripted(calm_fleet, stands_still) as worker:
        answer = await caller.ask("classify", CLASSIFY, headers=ONLY_HERE)

    assert [attempt["outcome"] for attempt in answer.result["attempts"]] == ["ok"]
    assert len(worker.requests) == 1


async def test_a_replica_that_keeps_talking_may_take_longer_than_the_liveness_time(
    calm_fleet: RunningFleet, caller: PlainClient
):
    """
    Progress every second is what keeps an attempt alive, for as long as the deadline allows.
    """
    script = _in_turn([{"type": "accepted"}, *([1.0, {"type": "progress"}] * 4), finished()])
    async with _scripted(calm_fleet, script) as worker:
        answer = await caller.ask("classify", CLASSIFY, headers=ONLY_HERE)

    assert [attempt["outcome"] for attempt in answer.result["attempts"]] == ["ok"]
    assert answer.result["latency_ms"] > 4000
    assert [] == _cancellations(worker)


async def test_a_busy_replica_costs_no_attempt(calm_fleet: RunningFleet, caller: PlainClient):
    """
    `busy` is an answer to the lane, not a failure of the task.
    """
    async with _scripted(calm_fleet, _in_turn([{"type": "busy"}], [{"type": "busy"}], [finished()])) as worker:
        answer = await caller.ask("classify", CLASSIFY, headers=ONLY_HERE)

    assert [attempt["outcome"] for attempt in answer.result["attempts"]] == ["ok"]
    assert len(worker.requests) == 3


async def test_a_stream_that_breaks_is_never_a_complete_answer(calm_fleet: RunningFleet, caller: PlainClient):
    """
    After the first piece the route is fixed: the failure says how many pieces went out.
    """
    script = _in_turn(
        [
            {"type": "piece", "seq": 0, "text": "Once "},
            {"type": "piece", "seq": 1, "text": "upon"},
            failed("unavailable"),
        ]
    )
    async with _scripted(calm_fleet, script) as worker:
        answer = await caller.ask("summarize", BODIES["summarize"], headers={**ONLY_HERE, "Flotilla-Stream": "true"})

    assert [piece["text"] for piece in answer.pieces] == ["Once ", "upon"]
    assert answer.kind == "provider_failed"
    assert answer.result["error"]["details"]["pieces"] == 2
    assert len(worker.requests) == 1


async def test_a_stream_that_fails_before_its_first_piece_is_tried_again(calm_fleet: RunningFleet, caller: PlainClient):
    """
    Nothing went out yet, so another attempt may begin from the start.
    """
    whole: list[Line] = [{"type": "piece", "seq": 0, "text": "Once"}, finished({"summary": "Once"})]
    async with _scripted(calm_fleet, _in_turn([failed("unavailable")], whole)):
        answer = await caller.ask("summarize", BODIES["summarize"], headers={**ONLY_HERE, "Flotilla-Stream": "true"})

    assert answer.kind == ""
    assert [piece["seq"] for piece in answer.pieces] == [0]


async def test_a_missing_piece_breaks_the_stream(calm_fleet: RunningFleet, caller: PlainClient):
    """
    A gap is an error, not a shorter text.
    """
    script = _in_turn(
        [
            {"type": "piece", "seq": 0, "text": "Once "},
            {"type": "piece", "seq": 2, "text": "a"},
            finished({"summary": "Once upon a"}),
        ]
    )
    async with _scripted(calm_fleet, script):
        answer = await caller.ask("summarize", BODIES["summarize"], headers={**ONLY_HERE, "Flotilla-Stream": "true"})

    assert answer.kind == "provider_failed"
    assert answer.result["error"]["details"]["pieces"] == 1


async def test_trace_context_is_passed_on_to_the_worker(calm_fleet: RunningFleet, caller: PlainClient):
    """
    The worker's span can have the caller's as its parent.
    """
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with _scripted(calm_fleet, _in_turn([finished()])) as worker:
        await caller.ask("classify", CLASSIFY, headers={**ONLY_HERE, "traceparent": trace})

    request = worker.requests[0]
    assert request["options"]["traceparent"] == trace
    assert request["input"] == CLASSIFY
    assert request["data_class"] == "internal"
    assert request["stream"] is False


async def _seen_by_every_orchestrator(fleet: RunningFleet, replica: str) -> None:
    client = await fleet.client()
    names = {process.name for process in fleet.orchestrators if process.is_running}
    seen: set[str] = set()
    async with asyncio.timeout(60):
        while seen != names:
            status = await client.api("status")
            models = {model for pool in status["pools"] for model in pool["models"]}
            if replica in models:
                seen.add(status["orchestrator"])


async def _told(worker: ScriptedWorker) -> bool:
    return bool(_cancellations(worker))


def _cancellations(worker: ScriptedWorker) -> list[Json]:
    return [control for control in worker.controls if control["type"] == "cancel"]
