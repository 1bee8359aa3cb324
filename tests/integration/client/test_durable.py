"""Durable tasks over a real JetStream."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import msgspec
import pytest

from flotilla.client import (
    Fleet,
    NoFleetError,
    ResultTimeoutError,
    TaskError,
    TaskFailedError,
    UnconfirmedError,
    batches,
    feeds,
    submission,
)
from flotilla.contracts.failures import ErrorBody, ErrorKind
from flotilla.provisioning.topology import TopologyLimits
from flotilla.testkit.fleet_peer import FleetPeer, result_of
from flotilla.testkit.orchestrator_here import until

DOCUMENT = {"document": "My card was charged twice", "labels": ["billing", "login"]}
FAILURE = ErrorBody(kind=ErrorKind.NO_ROUTE, message="nobody can")


@pytest.fixture
async def working(peer: FleetPeer) -> FleetPeer:
    """
    A peer that does every task of `classify` as soon as it is published, its input being the output.
    """

    async def work(_subject: str, body: bytes, headers: dict[str, str]) -> None:
        output = msgspec.json.decode(body)
        failed = FAILURE if output.get("document") == "fail" else None
        await peer.commit(result_of(headers["Nats-Msg-Id"], "classify", output=output, error=failed))

    await peer.make_streams()
    await peer.hold_tasks("classify", work)
    return peer


async def test_a_task_without_an_id_is_called_after_its_place_in_the_stream(fleet: Fleet, peer: FleetPeer):
    """
    The acknowledgement is the proof that it is safe.
    """
    await peer.make_streams()

    first = await fleet.submit("classify", DOCUMENT)
    second = await fleet.submit("classify", DOCUMENT, priority="high")

    assert (first.task, first.stream, first.seq, first.duplicate) == ("seq-1", "TASKS_default", 1, False)
    assert second.task == "seq-2"


async def test_the_same_id_makes_one_task(fleet: Fleet, peer: FleetPeer):
    """
    A caller that is not sure may repeat itself.
    """
    await peer.make_streams()

    first = await fleet.submit("classify", DOCUMENT, task_id="mail-1")
    again = await fleet.submit("classify", DOCUMENT, task_id="mail-1")

    assert (first.task, first.duplicate) == ("mail-1", False)
    assert (again.task, again.seq, again.duplicate) == ("mail-1", first.seq, True)


async def test_priority_stands_in_the_subject(fleet: Fleet, peer: FleetPeer):
    """
    Bare is normal.
    """
    seen: list[str] = []

    async def note(subject: str, _body: bytes, _headers: dict[str, str]) -> None:
        seen.append(subject)

    await peer.make_streams()
    await peer.hold_tasks("classify", note)

    for priority in ("low", "normal", "high"):
        await fleet.submit("classify", DOCUMENT, priority=priority)
    await peer.connection.settle()

    assert seen == [
        "scope.default.tasks.classify.low",
        "scope.default.tasks.classify",
        "scope.default.tasks.classify.high",
    ]


async def test_a_full_backlog_refuses_with_its_own_kind(fleet: Fleet, peer: FleetPeer):
    """
    The stream says so itself; the task is not lost silently.
    """
    await peer.make_streams(TopologyLimits(backlog_max=1))
    await fleet.submit("classify", DOCUMENT)

    with pytest.raises(TaskError) as caught:
        await fleet.submit("classify", DOCUMENT)

    assert caught.value.kind is ErrorKind.BACKLOG_FULL


async def test_without_a_task_stream_there_is_no_fleet(fleet: Fleet):
    """
    Nobody acknowledges, and the caller knows at once.
    """
    with pytest.raises(NoFleetError, match=r"nobody answers on tasks\.classify"):
        await fleet.submit("classify", DOCUMENT)


async def test_an_acknowledgement_that_does_not_come_is_told_apart(
    fleet: Fleet, peer: FleetPeer, monkeypatch: pytest.MonkeyPatch
):
    """
    With an id the submission is repeated; without one the caller must decide.
    """
    monkeypatch.setattr(submission, "ACK_TIMEOUT_S", 0.15)
    seen: list[str | None] = []

    async def note(_subject: str, _body: bytes, headers: dict[str, str]) -> None:
        seen.append(headers.get("Nats-Msg-Id"))

    # A subscriber without a stream: the server finds a responder, which stays silent.
    await peer.hold_tasks("classify", note)

    with pytest.raises(UnconfirmedError, match="may run twice"):
        await fleet.submit("classify", DOCUMENT)
    with pytest.raises(UnconfirmedError, match="is safe"):
        await fleet.submit("classify", DOCUMENT, task_id="mail-1")
    # What the caller has given up on may not have come to another connection yet.
    await until(lambda: len(seen) >= 4)
    assert seen == [None, "mail-1", "mail-1", "mail-1"]


async def test_a_result_that_is_there_comes_at_once(fleet: Fleet, peer: FleetPeer):
    """
    Committed before anybody waited.
    """
    await peer.commit(result_of("seq-1", "classify", output={"label": "billing"}))

    answer = await fleet.result("seq-1", timeout_s=60)

    assert answer.output == {"label": "billing"}


async def test_a_result_that_comes_later_is_waited_for(fleet: Fleet, peer: FleetPeer):
    """
    The subscription is made before the question, so that nothing falls between them.
    """
    waiting = asyncio.create_task(fleet.result("seq-1", timeout_s=60))
    await peer.arrived.wait()

    await peer.commit(result_of("seq-2", "classify", output={"label": "other"}))
    await peer.commit(result_of("seq-1", "classify", output={"label": "billing"}))

    assert (await waiting).output == {"label": "billing"}


async def test_a_result_that_was_missed_is_asked_for_again(
    fleet: Fleet, peer: FleetPeer, monkeypatch: pytest.MonkeyPatch
):
    """
    A message that a reconnect swallowed costs a few seconds, not the result.
    """
    monkeypatch.setattr(feeds, "RECHECK_EVERY_S", 0.05)
    waiting = asyncio.create_task(fleet.result("seq-1", timeout_s=60))
    await peer.arrived.wait()

    await peer.commit(result_of("seq-1", "classify", output={"label": "billing"}), announce=False)

    assert (await waiting).output == {"label": "billing"}


async def test_a_failed_result_raises(fleet: Fleet, peer: FleetPeer):
    """
    With the answer, which tells of the attempts.
    """
    await peer.commit(result_of("seq-1", "classify", error=FAILURE))

    with pytest.raises(TaskFailedError) as caught:
        await fleet.result("seq-1", timeout_s=5)

    assert caught.value.kind is ErrorKind.NO_ROUTE
    assert caught.value.answer.task == "seq-1"


async def test_waiting_for_a_result_ends(fleet: Fleet, peer: FleetPeer):
    """
    The task goes on; the caller does not.
    """
    with pytest.raises(ResultTimeoutError, match="seq-9"):
        await fleet.result("seq-9", timeout_s=0.1)


async def test_many_are_submitted_in_the_order_of_their_inputs(fleet: Fleet, peer: FleetPeer):
    """
    Several are unacknowledged at a time; the ids say which is which.
    """
    await peer.make_streams()

    found = [
        submitted
        async for submitted in fleet.submit_many(
            "classify", ({"document": str(n)} for n in range(40)), batch="night", in_flight_max=8
        )
    ]

    assert [submitted.task for submitted in found] == [f"night-{n}" for n in range(40)]
    assert {submitted.seq for submitted in found} == set(range(1, 41))


async def test_results_of_many_tasks_come_on_one_subscription(fleet: Fleet, working: FleetPeer):
    """
    Those that were there before, and those that come after.
    """
    tasks = [s.task async for s in fleet.submit_many("classify", ({"document": str(n)} for n in range(30)))]
    subscribed: list[str] = []
    subscribe = fleet._link.connection.subscribe  # pyright: ignore[reportPrivateUsage]

    async def count(subject: str, *args: object, **kwargs: object) -> object:
        subscribed.append(subject)
        return await subscribe(subject, *args, **kwargs)  # pyright: ignore[reportArgumentType]

    fleet._link.connection.subscribe = count  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
    answers = [answer async for answer in fleet.results("classify", tasks, timeout_s=60)]

    assert {answer.task for answer in answers} == set(tasks)
    assert subscribed == ["results.classify.*"]


async def test_results_that_do_not_come_end_with_the_timeout(fleet: Fleet, working: FleetPeer):
    """
    What is there is given first.
    """
    await working.commit(result_of("here", "classify", output={}))
    found = fleet.results("classify", ["absent", "here"], timeout_s=1.5)

    assert (await anext(found)).task == "here"
    with pytest.raises(ResultTimeoutError, match="absent"):
        await anext(found)


async def test_a_batch_gives_one_answer_per_input_and_goes_on_after_failures(fleet: Fleet, working: FleetPeer):
    """
    Failed tasks, and inputs that the fleet refuses, are answers too.
    """
    huge = "x" * working.connection.payload_bytes_max
    inputs = [{"document": text} for text in ("one", "fail", huge, "two")]

    done = {each.index: each.answer async for each in fleet.run_many("classify", inputs, in_flight_max=2)}

    assert sorted(done) == [0, 1, 2, 3]
    assert done[0].output == {"document": "one"}
    assert done[3].output == {"document": "two"}
    errors = [done[index].error for index in (1, 2)]
    assert [error.kind if error else None for error in errors] == [ErrorKind.NO_ROUTE, ErrorKind.TOO_LARGE]


async def test_a_batch_takes_inputs_no_faster_than_tasks_end(fleet: Fleet, peer: FleetPeer):
    """
    The memory of a batch does not grow with its length.
    """
    await peer.make_streams()
    published: list[str] = []
    full = asyncio.Event()

    async def hold(_subject: str, _body: bytes, headers: dict[str, str]) -> None:
        published.append(headers["Nats-Msg-Id"])
        if len(published) == 4:
            full.set()

    taken = 0

    def inputs() -> Iterator[dict[str, str]]:
        nonlocal taken
        for n in range(1000):
            taken += 1
            yield {"document": str(n)}

    await peer.hold_tasks("classify", hold)
    batch = fleet.run_many("classify", inputs(), in_flight_max=4)
    async with aclosing(batch):  # pyright: ignore[reportArgumentType]
        first = asyncio.ensure_future(anext(batch))
        await full.wait()
        await fleet.submit("translate", {"text": "a round trip", "target": "de"})
        assert len(published) == 4
        assert taken <= 5

        await peer.commit(result_of(published[2], "classify", output={"n": 2}))
        assert (await first).answer.task == published[2]


async def test_a_batch_waits_out_a_full_backlog(fleet: Fleet, peer: FleetPeer, monkeypatch: pytest.MonkeyPatch):
    """
    Two inputs wait until the backlog limit is lifted, instead of failing.
    """
    monkeypatch.setattr(batches, "BACKLOG_PAUSE_S", 0.02)
    await peer.make_streams(TopologyLimits(backlog_max=1))

    refused = asyncio.Event()
    tries: list[str] = []

    async def work(_subject: str, _body: bytes, headers: dict[str, str]) -> None:
        tries.append(headers["Nats-Msg-Id"])
        if len(tries) == 6:
            refused.set()

    await fleet.submit("classify", DOCUMENT)
    await peer.hold_tasks("classify", work)
    collecting = asyncio.ensure_future(_collect(fleet.run_many("classify", [{"document": "one"}, {"document": "two"}])))
    async with asyncio.timeout(60):
        await refused.wait()
    assert not collecting.done()

    await peer.make_streams(TopologyLimits(backlog_max=100))
    await peer.until_stored(3)
    for task in dict.fromkeys(tries):
        await peer.commit(result_of(task, "classify", output={}))

    assert len(await collecting) == 2


async def test_repeating_a_batch_makes_no_task_twice(fleet: Fleet, peer: FleetPeer, monkeypatch: pytest.MonkeyPatch):
    """
    After a crash of the caller the batch is simply run again: what was done is there at once.
    """
    monkeypatch.setattr(feeds, "RECHECK_EVERY_S", 60.0)
    seen: set[str] = set()

    async def work_once(_subject: str, body: bytes, headers: dict[str, str]) -> None:
        task = headers["Nats-Msg-Id"]
        if task not in seen:
            seen.add(task)
            await peer.commit(result_of(task, "classify", output=msgspec.json.decode(body)))

    await peer.make_streams()
    await peer.hold_tasks("classify", work_once)
    inputs = [{"document": "one"}, {"document": "two"}]
    first = [each async for each in fleet.run_many("classify", inputs, batch="night")]

    async with asyncio.timeout(60):
        again = [each async for each in fleet.run_many("classify", inputs, batch="night")]

    assert {each.answer.task for each in again} == {each.answer.task for each in first} == {"night-0", "night-1"}


async def test_a_broken_source_of_inputs_ends_the_batch(fleet: Fleet, working: FleetPeer):
    """
    The error is the source's own.
    """

    async def inputs() -> AsyncIterator[dict[str, str]]:
        yield {"document": "one"}
        raise LookupError("the file is gone")

    with pytest.raises(LookupError, match="the file is gone"):
        await _collect(fleet.run_many("classify", inputs()))


async def _collect(batch: AsyncIterator[object]) -> list[object]:
    return [each async for each in batch]
