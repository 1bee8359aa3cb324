"""The kept results of runs that are taken over or resumed: read again as far as there is room, with a real server."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import msgspec
import pytest

from flotilla.contracts import subjects
from flotilla.contracts.results import Result
from flotilla.fabric.api_requests import ask_api
from flotilla.fabric.connection import connected
from flotilla.fabric.errors import FabricError
from flotilla.fabric.inbox import Requests
from flotilla.fabric.jetstream_api import stream_create, stream_update
from flotilla.fabric.stored import StoredMessage, last_of_each
from flotilla.pipelines.plan import StepKey, StepTask
from flotilla.pipelines.reading import read_pipeline
from flotilla.provisioning.streams import ensure
from flotilla.provisioning.topology import steps_stream
from flotilla.testkit.nats_server import RunningServer
from flotilla.testkit.patient_client import WAIT_S
from orchestrator.execution.dependencies import NoRouteNowError
from orchestrator.pipelines.step_ended import StepEnded
from orchestrator.pipelines.step_results import RunResults, StepResults
from orchestrator.state.shared_quota import Room

SCOPE: Final = "default"
OUTPUT: Final = msgspec.Raw(b'"' + b"x" * 998 + b'"')
STEPS: Final = 3
PIPELINE: Final = read_pipeline(
    """
name = "report"
[input]
type = "object"
[steps.sort]
capability = "classify"
input = { document = "${input.document}", labels = ["a", "b"] }
[output]
label = "${steps.sort.label}"
""",
    "report",
)


@pytest.fixture
async def requests(nats_server: RunningServer) -> AsyncIterator[Requests]:
    """
    Of an orchestrator, with the stream.
    """
    async with connected(nats_server.orchestrator(), name="o1") as connection:
        requests = Requests(connection)
        await requests.start()
        await ensure(requests, [steps_stream(SCOPE)])
        yield requests
        await requests.stop()


def step(number: int) -> StepTask:
    """One of a step's tasks."""
    return StepTask(
        key=StepKey(step="sort", index=number),
        capability="classify",
        input=msgspec.Raw(b"{}"),
        data_class="internal",
        approval=None,
        input_digest=str(number),
    )


async def a_run(requests: Requests, run: str) -> None:
    """A run that ended STEPS tasks of a step, and whose orchestrator died then."""
    room = Room((SCOPE,), total_max=1_000_000, share_max=1.0)
    results = StepResults(requests, outputs=room, payload_bytes_max=1_000_000)
    kept = await results.begin(SCOPE, run, run, PIPELINE)
    for number in range(STEPS):
        result = Result(task=f"{run}-{number}", capability="classify", status="ok", output=OUTPUT)
        await kept.keep(step(number), "internal", StepEnded(result, "internal"))


async def test_of_two_results_of_a_step_the_first_counts_whatever_replicas_have_heard_of(requests: Requests):
    """
    By the stream's leader: here its replicas answer nothing at all.
    """
    stream = steps_stream(SCOPE)
    config = msgspec.to_builtins(msgspec.structs.replace(stream, allow_direct=False))
    await ask_api(requests, stream_update(stream.name), config)
    await a_run(requests, "taken-over")
    room = Room((SCOPE,), total_max=1_000_000, share_max=1.0)
    results = StepResults(requests, outputs=room, payload_bytes_max=1_000_000)
    late = RunResults(results, SCOPE, PIPELINE, {}, run="taken-over", task_id="taken-over")
    result = Result(task="late", capability="classify", status="ok", output=OUTPUT)
    counts = await late.keep(step(0), "internal", StepEnded(result, "internal"))

    assert counts is not None
    assert "taken-over-0" == counts.result.task


async def test_what_the_replica_that_answers_has_not_heard_of_is_not_worked_on_again(requests: Requests):
    """
    In the place of the replicas a mirror answers, which has the first of the step's results and no more.
    """
    await a_run(requests, "taken-over")
    stream = steps_stream(SCOPE)
    first = subjects.pipeline_step(SCOPE, "taken-over", "sort", "0", "*")
    mirror = {"name": stream.name, "filter_subject": first}
    await ask_api(requests, stream_create("LAGS"), {"name": "LAGS", "mirror": mirror, "mirror_direct": True})
    # Not before the mirror is made: it takes after its stream.
    config = msgspec.to_builtins(msgspec.structs.replace(stream, allow_direct=False))
    await ask_api(requests, stream_update(stream.name), config)
    async with asyncio.timeout(WAIT_S):
        while not (found := await answered(requests)):
            await asyncio.sleep(0.05)

    room = Room((SCOPE,), total_max=1_000_000, share_max=1.0)
    results = StepResults(requests, outputs=room, payload_bytes_max=1_000_000)
    kept = await results.begin(SCOPE, "taken-over", "taken-over", PIPELINE)

    assert 1 == len(found)
    assert [True] * STEPS == [kept.of(step(number), "internal") is not None for number in range(STEPS)]


async def answered(requests: Requests) -> list[StoredMessage]:
    """What whoever answers for the stream's replicas has of the run; nothing while nobody does."""
    pattern = subjects.pipeline_step(SCOPE, "taken-over", "*", "*", "*")
    try:
        return await last_of_each(requests, steps_stream(SCOPE).name, pattern) or []
    except FabricError:
        return []


async def test_what_is_read_again_has_room_or_the_run_waits(requests: Requests):
    """
    It is counted like what runs hold: no room, no run, and nothing stays counted; with room, each is passed on once.
    """
    await a_run(requests, "taken-over")
    small = Room((SCOPE,), total_max=2 * len(OUTPUT), share_max=1.0)
    with pytest.raises(NoRouteNowError):
        await StepResults(requests, outputs=small, payload_bytes_max=1_000_000).begin(
            SCOPE, "taken-over", "taken-over", PIPELINE
        )
    assert {SCOPE: 0} == small.held()

    room = Room((SCOPE,), total_max=STEPS * len(OUTPUT), share_max=1.0)
    results = StepResults(requests, outputs=room, payload_bytes_max=1_000_000)
    kept = await results.begin(SCOPE, "taken-over", "taken-over", PIPELINE)
    assert {SCOPE: STEPS * len(OUTPUT)} == room.held()
    assert kept.of(step(0), "internal") is not None
    assert {SCOPE: (STEPS - 1) * len(OUTPUT)} == room.held()
    kept.close()
    assert {SCOPE: 0} == room.held()


async def test_many_that_are_resumed_at_once_hold_no_more_than_there_is_room_for(requests: Requests):
    """
    However many of a tenant's tasks name one large run: the others wait, as they do for any room.
    """
    await a_run(requests, "large")
    room = Room((SCOPE,), total_max=2 * STEPS * len(OUTPUT), share_max=1.0)
    results = StepResults(requests, outputs=room, payload_bytes_max=1_000_000)
    begun = await asyncio.gather(
        *(results.begin(SCOPE, f"again-{number}", "large", PIPELINE) for number in range(20)), return_exceptions=True
    )

    assert 18 == sum(isinstance(each, NoRouteNowError) for each in begun)
    assert room.held()[SCOPE] <= 2 * STEPS * len(OUTPUT)
