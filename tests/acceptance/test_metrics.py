"""What Prometheus reads of real processes: names, labels and values after tasks that are known."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.plain_client import BODIES, PlainClient, new_task
from flotilla.testkit.probe_client import PROBED, Probe, Scrape, probe_of
from flotilla.testkit.provider_openai import OpenAIServer
from flotilla.testkit.provider_steps import Says
from flotilla.testkit.scripted_worker import failed, finished, scripted_worker

pytestmark = pytest.mark.asyncio(loop_scope="session")

CLASSIFY = BODIES["classify"]
MARK = "zaphod-4711"
SLOTS = 3
SERVED = {"FLOTILLA_CAPABILITIES": "classify,summarize,chat,embed"}

ORCHESTRATOR_COUNTS = {
    "flotilla_tasks_total": {"capability", "path", "outcome"},
    "flotilla_task_duration_seconds_count": {"capability", "path"},
    "flotilla_overhead_seconds_count": {"capability"},
    "flotilla_attempts_total": {"pool", "model", "capability", "outcome"},
    "flotilla_attempt_duration_seconds_count": {"pool", "model", "capability"},
    "flotilla_pool_slots": {"zone", "pool", "state"},
    "flotilla_pool_replicas": {"zone", "pool"},
    "flotilla_waiting_tasks": {"pool"},
    "flotilla_asks_in_flight": {"scope"},
    "flotilla_asks_in_flight_bytes": {"scope"},
    "flotilla_backlog_tasks": {"scope", "capability", "priority"},
    "flotilla_breaker_open": {"pool", "model"},
}
WORKER_COUNTS = {
    "gen_ai_client_operation_duration_seconds_count": {
        "gen_ai_operation_name",
        "gen_ai_provider_name",
        "gen_ai_request_model",
        "error_type",
    },
    "flotilla_worker_attempts_total": {"capability", "outcome"},
    "flotilla_slots": {"zone", "pool", "state"},
}


class Measured:
    """A fleet of one orchestrator and one worker, a caller, and the probes of both processes."""

    def __init__(self, fleet: RunningFleet, caller: PlainClient) -> None:
        self.fleet = fleet
        self.caller = caller
        self.orchestrator: Probe = probe_of(fleet.orchestrators[0])
        self.worker: Probe = probe_of(fleet.workers[0])


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def measured(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Measured]:
    """
    Shared by the tests of this module: each looks at what it changed.
    """
    async with running_fleet(
        tmp_path_factory.mktemp("measured"),
        slots=SLOTS,
        env=PROBED,
        worker_env=PROBED | SERVED,
        pools=(("local", "local"), ("local", "scripted")),
    ) as fleet:
        yield Measured(fleet, await fleet.client())


def grown(before: Scrape, after: Scrape, name: str, **labels: str) -> float:
    """By how much the series of a name have grown."""
    return after.value(name, **labels) - before.value(name, **labels)


async def test_tasks_and_attempts_are_counted_by_what_became_of_them(measured: Measured):
    """
    Every task once, under its capability, its way in and its outcome; its attempts under pool and model.
    """
    caller = measured.caller
    before, worker_before = await measured.orchestrator.scrape(), await measured.worker.scrape()
    async with caller.hearing("results.>") as results:
        await asyncio.gather(*(caller.ask("classify", CLASSIFY) for _ in range(5)))
        await caller.ask("embed", {"texts": ["a"]})
        tasks = [new_task() for _ in range(3)]
        await caller.submit_many("summarize", BODIES["summarize"], tasks)
        await results.until(lambda heard: set(tasks) <= set(heard.counts()))
    after, worker_after = await measured.orchestrator.scrape(), await measured.worker.scrape()

    tasks_total = "flotilla_tasks_total"
    assert 5 == grown(before, after, tasks_total, capability="classify", path="interactive", outcome="ok")
    assert 3 == grown(before, after, tasks_total, capability="summarize", path="durable", outcome="ok")
    assert 9 == grown(before, after, tasks_total)
    attempts = {"pool": "local", "model": "noop-1", "outcome": "ok"}
    assert 5 == grown(before, after, "flotilla_attempts_total", capability="classify", **attempts)
    assert 9 == grown(before, after, "flotilla_attempts_total")
    assert 9 == grown(before, after, "flotilla_attempt_duration_seconds_count", pool="local", model="noop-1")
    assert 9 == grown(before, after, "flotilla_overhead_seconds_count")
    assert 5 == grown(
        worker_before, worker_after, "flotilla_worker_attempts_total", capability="classify", outcome="ok"
    )
    name = "gen_ai_client_operation_duration_seconds_count"
    of_chat = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": "noop", "gen_ai_request_model": "noop-1"}
    assert 8 == grown(worker_before, worker_after, name, **of_chat)
    assert 1 == grown(worker_before, worker_after, name, gen_ai_operation_name="embeddings")


async def test_every_name_has_its_labels(measured: Measured):
    """
    Dashboards and alerts rest on them; a new label is a new name in all of them.
    """
    await measured.caller.ask("classify", CLASSIFY)
    await measured.caller.submit("reason", BODIES["reason"])
    scrape = await measured.orchestrator.until(lambda seen: seen.found("flotilla_backlog_tasks"))
    worker = await measured.worker.scrape()

    assert ORCHESTRATOR_COUNTS == {name: scrape.label_names(name) for name in ORCHESTRATOR_COUNTS}
    assert WORKER_COUNTS == {name: worker.label_names(name) for name in WORKER_COUNTS}
    assert {"counter", "histogram", "gauge"} == {
        scrape.kinds[name] for name in ("flotilla_tasks", "flotilla_task_duration_seconds", "flotilla_pool_slots")
    }
    assert scrape.value("process_resident_memory_bytes") > 1_000_000


async def test_tokens_and_cost_are_counted_even_of_attempts_that_failed(measured: Measured):
    """
    They were paid for.
    """
    fleet, caller = measured.fleet, measured.caller
    usage = {"input_tokens": 300, "output_tokens": 20, "cost_usd": 0.25}
    words = iter([failed("unavailable", usage=usage), finished(usage=usage)])
    replica = await fleet.connect(fleet.server.worker("local", "scripted"))
    async with scripted_worker(replica, lambda _: [next(words)], replica="paid", models=("m-paid",)):
        await fleet.until_replicas({"paid"})
        before = await measured.orchestrator.scrape()
        answer = await caller.ask("classify", CLASSIFY, headers={"Flotilla-Route": "scripted"})
        after = await measured.orchestrator.scrape()

    assert ["unavailable", "ok"] == [attempt["outcome"] for attempt in answer.result["attempts"]]
    here = {"pool": "scripted", "model": "m-paid"}
    assert 1 == grown(before, after, "flotilla_attempts_total", outcome="unavailable", **here)
    assert 600 == grown(before, after, "flotilla_tokens_total", type="input", **here)
    assert 40 == grown(before, after, "flotilla_tokens_total", type="output", **here)
    assert 0.5 == grown(before, after, "flotilla_cost_usd_total", **here)
    assert 0 == grown(before, after, "flotilla_overhead_seconds_count")


async def test_messages_that_never_became_tasks_are_counted(measured: Measured):
    """
    By way in and kind of error, each once; what they named is no label, whatever it was.
    """
    caller = measured.caller
    before = await measured.orchestrator.scrape()
    async with caller.hearing("results.>") as results:
        for _ in range(2):
            await caller.ask("classify", b"{")
        await caller.ask(f"no-{MARK}", CLASSIFY)
        await caller.submit("classify", {"labels": []})
        await caller.submit(f"no-{MARK}", CLASSIFY)
        await caller.submit("classify", CLASSIFY, headers={"Flotilla-Data-Class": MARK})
        await results.until(lambda heard: len(heard.messages) >= 3)
    after = await measured.orchestrator.until(
        lambda seen: grown(before, seen, "flotilla_tasks_total", path="durable") >= 3
    )

    tasks_total = "flotilla_tasks_total"
    assert 2 == grown(before, after, tasks_total, capability="", path="interactive", outcome="bad_request")
    assert 1 == grown(before, after, tasks_total, capability="", path="interactive", outcome="unknown_capability")
    assert 2 == grown(before, after, tasks_total, capability="", path="durable", outcome="bad_request")
    assert 1 == grown(before, after, tasks_total, capability="", path="durable", outcome="unknown_capability")
    assert 6 == grown(before, after, tasks_total)
    assert MARK not in after.text


async def test_a_worker_does_not_take_labels_from_requests(measured: Measured):
    """
    Whoever may publish requests could otherwise fill its memory with names.
    """
    fleet = measured.fleet
    orchestrator = await fleet.connect(fleet.server.orchestrator())
    heard = asyncio.Event()

    async def hear(_: object) -> None:
        heard.set()

    inbox = "_INBOX.attempts.local.local.strange.1"
    await orchestrator.nc.subscribe(inbox, cb=hear)  # pyright: ignore[reportUnknownMemberType]
    request = (
        f'{{"type":"infer","task":"t","attempt":"strange.1","capability":"{MARK}","model":"{MARK}","input":{{}},'
        '"deadline_unix_ms":99999999999999,"data_class":"internal"}'
    )
    await orchestrator.nc.publish(f"infer.local.local.{MARK}", request.encode(), reply=inbox)
    await asyncio.wait_for(heard.wait(), 60)
    scrape = await measured.worker.scrape()

    assert scrape.value("flotilla_worker_attempts_total", capability="other", outcome="refused") >= 1
    assert MARK not in scrape.text


async def test_histograms_are_cumulative_and_agree_with_the_counts(measured: Measured):
    """
    For every series of every histogram of both processes.
    """
    await measured.caller.ask("classify", CLASSIFY)
    for probe in (measured.orchestrator, measured.worker):
        scrape = await probe.scrape()
        histograms = [name for name, kind in scrape.kinds.items() if kind == "histogram"]
        assert histograms
        for name in histograms:
            for labels, count in scrape.found(f"{name}_count").items():
                buckets = [
                    (float(dict(have)["le"]), value)
                    for have, value in scrape.found(f"{name}_bucket", **dict(labels)).items()
                    if {key for key, _ in have} == {*dict(labels), "le"}
                ]
                values = [value for _, value in sorted(buckets)]
                assert values == sorted(values)
                assert values[-1] == count
                assert scrape.found(f"{name}_sum", **dict(labels))
    scrape = await measured.orchestrator.scrape()
    assert scrape.value("flotilla_task_duration_seconds_count") == scrape.value("flotilla_tasks_total") - scrape.value(
        "flotilla_tasks_total", capability=""
    )


async def test_slots_and_lines_show_what_goes_on_now(tmp_path: Path):
    """
    Of a pool with two slots and three tasks: two busy, one waiting; afterwards none.
    """
    may_end = asyncio.Event()
    async with OpenAIServer() as server, running_fleet(tmp_path, local=0, env=PROBED) as fleet:
        server.otherwise = Says("in short", hold=may_end)
        model = {"OPENAI_BASE_URL": f"{server.url}/v1", "FLOTILLA_MODELS": "m"}
        await fleet.start_worker(slots=2, engine="vllm", env=PROBED | model)
        caller = await fleet.client()
        orchestrator, worker = (probe_of(process) for process in fleet.processes)
        asking = [asyncio.ensure_future(caller.ask("summarize", BODIES["summarize"])) for _ in range(3)]
        full = await orchestrator.until(
            lambda seen: (
                seen.value("flotilla_waiting_tasks", pool="local") == 1
                and seen.value("flotilla_pool_slots", state="busy") == 2
            )
        )
        full_there = await worker.until(lambda seen: seen.value("flotilla_slots", state="busy") == 2)
        may_end.set()
        await asyncio.gather(*asking)
        idle = await orchestrator.until(lambda seen: seen.value("flotilla_pool_slots", state="busy") == 0)
        idle_there = await worker.until(lambda seen: seen.value("flotilla_slots", state="free") == 2)

    here = {"zone": "local", "pool": "local"}
    assert (2, 0) == tuple(full.value("flotilla_pool_slots", state=state, **here) for state in ("busy", "free"))
    assert (2, 0) == tuple(full_there.value("flotilla_slots", state=state, **here) for state in ("busy", "free"))
    assert (0, 2) == tuple(idle.value("flotilla_pool_slots", state=state, **here) for state in ("busy", "free"))
    assert (0, 2) == tuple(idle_there.value("flotilla_slots", state=state, **here) for state in ("busy", "free"))
    assert 3 == full.value("flotilla_asks_in_flight", scope="default")
    assert 0 == idle.value("flotilla_asks_in_flight", scope="default")
    assert full.value("flotilla_asks_in_flight_bytes", scope="default") >= 3 * len(json.dumps(BODIES["summarize"]))
    assert 0 == idle.value("flotilla_asks_in_flight_bytes", scope="default")
    assert 0 == idle.value("flotilla_waiting_tasks")
    assert 1 == idle.value("flotilla_pool_replicas", **here)


async def test_the_backlog_shows_what_waits_in_the_stream_and_falls_to_zero(measured: Measured):
    """
    Of a capability that nobody serves yet, by priority; and 0, not nothing, when it is done.
    """
    fleet, caller = measured.fleet, measured.caller
    for capability in ("translate.high", "translate", "translate", "translate.low"):
        await caller.submit(capability, BODIES["translate"])
    waiting = await measured.orchestrator.until(
        lambda seen: seen.value("flotilla_backlog_tasks", capability="translate") == 4
    )
    late = await fleet.start_worker("local", "local", env={"FLOTILLA_CAPABILITIES": "translate"})
    done = await measured.orchestrator.until(
        lambda seen: seen.value("flotilla_backlog_tasks", capability="translate") == 0
    )
    late.terminate()

    here = {"scope": "default", "capability": "translate"}
    assert 2 == waiting.value("flotilla_backlog_tasks", priority="normal", **here)
    assert 1 == waiting.value("flotilla_backlog_tasks", priority="high", **here)
    assert {"high", "normal", "low"} == {
        dict(labels)["priority"] for labels in done.found("flotilla_backlog_tasks", **here)
    }


async def test_an_open_breaker_is_a_one(measured: Measured):
    """
    A model that fails every time is left alone after a while; the gauge says which, and says 0 of the others.
    """
    fleet, caller = measured.fleet, measured.caller
    replica = await fleet.connect(fleet.server.worker("local", "scripted"))
    async with scripted_worker(replica, lambda _: [failed("unavailable")], replica="broken", models=("m-broken",)):
        await fleet.until_replicas({"broken"})
        breaker = {"pool": "scripted", "model": "m-broken"}
        before = await measured.orchestrator.scrape()
        asking = [
            asyncio.ensure_future(caller.ask("classify", CLASSIFY, headers={"Flotilla-Route": "scripted"}))
            for _ in range(10)
        ]
        opened = await measured.orchestrator.until(lambda seen: seen.value("flotilla_breaker_open", **breaker))
        await asyncio.gather(*asking)

    assert [0.0] == list(before.found("flotilla_breaker_open", **breaker).values())
    assert 1 == opened.value("flotilla_breaker_open", **breaker)
    assert [0.0] == list(opened.found("flotilla_breaker_open", pool="local").values())
