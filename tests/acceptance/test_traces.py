"""Traces of real processes, as a real collector gets them over OTLP/HTTP."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from flotilla.contracts.subjects import Zone
from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.fleet_process import FleetProcess
from flotilla.testkit.otlp_collector import OtlpCollector, SeenSpan, otlp_collector
from flotilla.testkit.plain_client import BODIES, Json, PlainClient, new_task
from flotilla.testkit.scripted_worker import Line, failed, finished, scripted_worker

pytestmark = pytest.mark.asyncio(loop_scope="session")

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
CLASSIFY = BODIES["classify"]
MARK = "Zaphod-4711-Beeblebrox"
MARKED = {"document": f"Dear {MARK}, your invoice.", "labels": [MARK, "other"]}
SERVER, CLIENT, CONSUMER = 2, 3, 5
TWICE = """
name = "twice"
[input]
type = "object"
[steps.first]
capability = "classify"
input = { document = "${input.document}", labels = ["billing", "other"] }
[steps.second]
capability = "classify"
input = { document = "${steps.first.label}", labels = ["billing", "other"] }
[output]
label = "${steps.second.label}"
"""
DEAD_SERVER = {"FLOTILLA_NATS_URL": "nats://127.0.0.1:1"}


def sent_to(collector: OtlpCollector) -> dict[str, str]:
    """Settings of a service that sends its traces here, soon."""
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}


class Traced:
    """A fleet that sends its traces to a collector, and a caller."""

    def __init__(self, fleet: RunningFleet, caller: PlainClient, collector: OtlpCollector) -> None:
        self.fleet = fleet
        self.caller = caller
        self.collector = collector

    async def spans_of(self, task: str, number: int) -> list[SeenSpan]:
        """The spans of a task's trace, once there are so many; in the order of their beginning."""
        await self.collector.until(lambda seen: len(seen.of_task(task)) >= number)
        return sorted(self.collector.of_task(task), key=lambda span: span.started_ns)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def traced(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Traced]:
    """
    Shared by the tests of this module; each has tasks and traces of its own.
    """
    async with otlp_collector() as collector:
        env = sent_to(collector)
        pools: tuple[tuple[Zone, str], ...] = (("local", "local"), ("local", "scripted"), ("local", "slow"))
        directory = tmp_path_factory.mktemp("traced")
        files = directory / "capabilities"
        files.mkdir()
        (files / "twice.toml").write_text(TWICE)
        own = {**env, "FLOTILLA_CAPABILITY_FILES": str(files)}
        async with running_fleet(directory, env=own, worker_env=env, pools=pools) as fleet:
            yield Traced(fleet, await fleet.client(), collector)


@asynccontextmanager
async def _scripted(traced: Traced, *turns: Sequence[Line]) -> AsyncGenerator[list[Json]]:
    """A worker in the pool `scripted` that says one of these to each request; gives the requests."""
    said = iter(turns)
    replica = await traced.fleet.connect(traced.fleet.server.worker("local", "scripted"))
    async with scripted_worker(replica, lambda _: next(said)) as worker:
        await traced.fleet.until_replicas({"scripted-w1"})
        yield worker.requests


@asynccontextmanager
async def _hanging() -> AsyncGenerator[str]:
    """A server that takes connections and never says a word."""
    held: list[asyncio.StreamWriter] = []

    async def hold(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    for writer in held:
        writer.close()
    server.close()
    await server.wait_closed()


async def test_the_steps_of_a_pipeline_are_under_the_run(traced: Traced):
    """
    Each with its attempt below it.
    """
    task = new_task()
    result = (await traced.caller.ask("twice", {"document": "An invoice."}, headers={"Nats-Msg-Id": task})).result
    await traced.collector.until(lambda seen: len(seen.of_task(task)) >= 7)
    spans = traced.collector.of_task(task)

    run = next(span for span in spans if span.attributes.get("flotilla.task.id") == task)
    steps = [span for span in spans if span.name == "flotilla.task" and span is not run]
    assert "ok" == result["status"]
    assert [run.span] * 2 == [step.parent for step in steps]
    assert {step.span for step in steps} == {span.parent for span in spans if span.name == "flotilla.attempt"}


async def test_one_trace_goes_from_the_caller_through_the_orchestrator_to_the_worker(traced: Traced):
    """
    Each span under the one that caused it, in the service where it happened, within its parent's time.
    """
    task = new_task()
    headers = {"Nats-Msg-Id": task, "traceparent": f"00-{TRACE}-{CALLER}-01", "tracestate": "vendor=value"}
    await traced.caller.ask("classify", CLASSIFY, headers=headers)
    spans = await traced.spans_of(task, 3)

    of_task, of_attempt, of_worker = spans
    assert ["flotilla.task", "flotilla.attempt", "chat noop-1"] == [span.name for span in spans]
    assert {TRACE} == {span.trace for span in spans}
    assert [CALLER, of_task.span, of_attempt.span] == [span.parent for span in spans]
    assert {"vendor=value"} == {span.tracestate for span in spans}
    assert [SERVER, CLIENT, SERVER] == [span.kind for span in spans]
    assert ["orchestrator", "orchestrator", "local-inference"] == [span.service for span in spans]
    assert ["o1", "o1", "local-w1"] == [span.resource["service.instance.id"] for span in spans]
    assert [""] * 3 == [span.error for span in spans]
    assert of_task.started_ns <= of_attempt.started_ns <= of_worker.started_ns
    assert of_worker.ended_ns <= of_attempt.ended_ns <= of_task.ended_ns


async def test_spans_say_who_did_what_with_which_model(traced: Traced):
    """
    Under the names of the GenAI conventions where they have one; tokens once in a trace, on the attempt.
    """
    usage = {"input_tokens": 300, "output_tokens": 20}
    async with _scripted(traced, [finished(usage=usage)]):
        task = new_task()
        await traced.caller.ask(
            "classify", CLASSIFY, headers={"Nats-Msg-Id": task, "Flotilla-Route": "scripted", "Flotilla-Label-a": MARK}
        )
        of_task, of_attempt = await traced.spans_of(task, 2)

    assert {
        "flotilla.task.id": task,
        "flotilla.capability": "classify",
        "flotilla.scope": "default",
        "flotilla.priority": "high",
        "flotilla.data_class": "internal",
        "flotilla.outcome": "ok",
        "flotilla.attempts": 1,
        "flotilla.zone": "local",
        "flotilla.pool": "scripted",
    } == {name: value for name, value in of_task.attributes.items() if name != "flotilla.queued_ms"}
    assert {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "scripted",
        "gen_ai.request.model": "m1",
        "gen_ai.response.model": "m1",
        "gen_ai.usage.input_tokens": 300,
        "gen_ai.usage.output_tokens": 20,
        "flotilla.capability": "classify",
        "flotilla.zone": "local",
        "flotilla.pool": "scripted",
        "flotilla.replica": "scripted-w1",
        "flotilla.outcome": "ok",
    } == of_attempt.attributes


async def test_a_durable_task_without_a_trace_begins_one(traced: Traced):
    """
    Its span is a consumer's, and a root.
    """
    task = new_task()
    await traced.caller.submit("embed", {"texts": ["a"]}, task=task)
    of_task, of_attempt, of_worker = await traced.spans_of(task, 3)

    assert (CONSUMER, "") == (of_task.kind, of_task.parent)
    assert (of_task.span, of_attempt.span) == (of_attempt.parent, of_worker.parent)
    assert "embeddings noop-1" == of_worker.name
    assert TRACE != of_task.trace


async def test_a_failed_attempt_and_its_successor_stand_in_one_trace(traced: Traced):
    """
    The status of each is its kind of failure; the task's own is well when a later attempt was.
    """
    async with _scripted(traced, [failed("unavailable", f"no {MARK}")], [finished()]):
        task = new_task()
        await traced.caller.ask("classify", MARKED, headers={"Nats-Msg-Id": task, "Flotilla-Route": "scripted"})
        of_task, first, second = await traced.spans_of(task, 3)

    assert ("unavailable", "unavailable") == (first.error, first.attributes["error.type"])
    assert ["unavailable", "ok"] == [span.attributes["flotilla.outcome"] for span in (first, second)]
    assert [of_task.span] * 2 == [first.parent, second.parent]
    assert ("", 2) == (of_task.error, of_task.attributes["flotilla.attempts"])


async def test_a_failed_task_has_the_kind_of_its_failure_as_status(traced: Traced):
    """
    With every route tried.
    """
    async with _scripted(traced, [failed("refused", f"no {MARK}")]):
        task = new_task()
        await traced.caller.ask("classify", MARKED, headers={"Nats-Msg-Id": task, "Flotilla-Route": "scripted"})
        of_task, of_attempt = await traced.spans_of(task, 2)

    assert ("provider_failed", "provider_failed") == (of_task.error, of_task.attributes["error.type"])
    assert "refused" == of_attempt.error


async def test_a_cancelled_task_ends_its_spans_everywhere(traced: Traced):
    """
    In the orchestrator as cancelled, in the worker as interrupted: nothing is left open.
    """
    # A pool of its own: the replicas of one pool serve the same.
    slow = await traced.fleet.start_worker(
        "local",
        "slow",
        latency_ms=20_000,
        env={**sent_to(traced.collector), "FLOTILLA_CAPABILITIES": "reason", "FLOTILLA_MODELS": "slow-1"},
    )
    try:
        task = new_task()
        route = {"Nats-Msg-Id": task, "Flotilla-Route": "slow/slow-1"}
        asking = asyncio.ensure_future(traced.caller.ask("reason", BODIES["reason"], headers=route))
        await traced.caller.until_status(task, "running")
        await traced.caller.api("cancel", {"task": task})
        await asking
        of_task, of_attempt, of_worker = await traced.spans_of(task, 3)
    finally:
        slow.kill()

    assert ("cancelled", "cancelled", "interrupted") == (of_task.error, of_attempt.error, of_worker.error)


async def test_a_caller_that_does_not_sample_is_not_sampled(traced: Traced):
    """
    Nothing is sent, while the trace's id is still passed on.
    """
    trace = "1bf7651916cd43dd8448eb211c80319c"
    async with _scripted(traced, [finished()]) as requests:
        headers = {"Flotilla-Route": "scripted", "traceparent": f"00-{trace}-{CALLER}-00"}
        await traced.caller.ask("classify", CLASSIFY, headers=headers)
        after = new_task()
        await traced.caller.submit("embed", {"texts": ["a"]}, task=after)
        await traced.spans_of(after, 3)

    passed_on = requests[0]["options"]["traceparent"]
    assert (f"00-{trace}", "00") == (passed_on[:35], passed_on[-2:])
    assert trace not in {span.trace for span in traced.collector.spans}


async def test_no_text_of_a_document_leaves_in_a_trace(traced: Traced):
    """
    Not of good tasks or bad ones, in any byte that is sent; nor labels, which are the caller's own.
    """
    caller = traced.caller
    task = new_task()
    await caller.ask("classify", MARKED, headers={"Flotilla-Label-x": MARK, "Flotilla-Sticky": MARK})
    await caller.ask("classify", {"document": [MARK]})
    await caller.ask(f"no-{MARK.lower()}", MARKED)
    await caller.ask("classify", MARKED, headers={"Flotilla-Route": f"local/{MARK}"})
    await caller.ask("classify", MARKED, headers={"Flotilla-Stream": "true", "traceparent": f"00-{MARK}-{MARK}-01"})
    await caller.submit("classify", MARKED, task=task)
    await traced.spans_of(task, 3)

    assert traced.collector.bodies
    assert [] == [body for body in traced.collector.bodies if b"Zaphod" in body or b"zaphod" in body]


async def test_what_is_queued_is_sent_when_a_service_leaves(tmp_path: Path):
    """
    The last task's spans come, though the next batch was a minute away.
    """
    async with otlp_collector() as collector:
        env = {**sent_to(collector), "OTEL_BSP_SCHEDULE_DELAY": "60000", "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}
        async with running_fleet(tmp_path, env=env, worker_env=env) as fleet:
            client = await fleet.client()
            await client.ask("classify", CLASSIFY)
            before = len(collector.spans)
            for process in fleet.processes:
                process.terminate()
            codes = [await process.wait() for process in fleet.processes]

    assert (0, [0, 0]) == (before, codes)
    assert {"flotilla.task", "flotilla.attempt", "chat noop-1"} == {span.name for span in collector.spans}


@pytest.mark.parametrize("trouble", ["gone", "refuses", "hangs"])
async def test_a_collector_in_trouble_disturbs_nothing(tmp_path: Path, trouble: str):
    """
    Tasks are served as ever, one line says so, and each service leaves well.
    """
    async with otlp_collector() as collector, _hanging() as hanging:
        url = {"gone": "http://127.0.0.1:1", "refuses": collector.url, "hangs": hanging}[trouble]
        collector.status = 500
        env = {**sent_to(collector), "OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "8"}
        env["OTEL_BSP_MAX_QUEUE_SIZE"] = "16"
        async with running_fleet(tmp_path, env=env, worker_env=env) as fleet:
            client = await fleet.client()
            for _ in range(3):
                answers = await asyncio.gather(*(client.ask("classify", CLASSIFY) for _ in range(20)))
                assert {""} == {answer.kind for answer in answers}
            for process in fleet.processes:
                process.terminate()
            codes = [await process.wait() for process in fleet.processes]
            logs = [process.log_text() for process in fleet.processes]

    assert [0, 0] == codes
    for log in logs:
        lines = [json.loads(line) for line in log.splitlines()]
        assert len([line for line in lines if line["event"] == "traces_not_sent"]) == 1
        usual = {"traces", "ready", "traces_not_sent", "leaving", "stopped"}
        assert [] == [line for line in lines if line["event"] not in usual]


async def test_traces_are_off_by_default(tmp_path: Path):
    """
    A process is connected to NATS and nothing else.
    """
    async with running_fleet(tmp_path) as fleet:
        client = await fleet.client()
        await client.ask("classify", CLASSIFY, headers={"traceparent": f"00-{TRACE}-{CALLER}-01"})
        sockets = [psutil.Process(process.pid).net_connections() for process in fleet.processes]
        logs = "".join(process.log_text() for process in fleet.processes)
        nats = int(fleet.url.rsplit(":", 1)[1])
    assert [{nats}, {nats}] == [{end.raddr.port for end in ends if end.raddr} for ends in sockets]
    assert "traces" not in logs


async def test_a_service_loads_neither_traces_nor_colours_that_it_does_not_need(tmp_path: Path):
    """
    Although both are installed here: OpenTelemetry is a third of a start, rich a fifth.
    """
    services = "cloud_inference.__main__, local_inference.__main__, portal.__main__, orchestrator.__main__"
    code = f"import sys, {services}; print({{'opentelemetry', 'rich', 'structlog'}} & sys.modules.keys())"
    process = await FleetProcess.spawn("import", ("-c", code), {"PYTHONPATH": ""}, tmp_path / "imported", fork=False)
    await process.wait()

    assert "{'structlog'}" == process.log_text().strip()


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "ftp://x"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL",
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_BSP_MAX_QUEUE_SIZE": "-1"}, "OTEL_*"),
    ],
)
async def test_a_wrong_setting_of_traces_is_refused_at_the_start(tmp_path: Path, environ: dict[str, str], named: str):
    """
    In one line, before anything is connected: traces that silently go nowhere help nobody.
    """
    process = await FleetProcess.spawn("o", ("-m", "orchestrator"), {**environ, **DEAD_SERVER}, tmp_path / "log")

    assert 2 == await process.wait()
    assert [True] == [named in line for line in process.log_text().splitlines()]
