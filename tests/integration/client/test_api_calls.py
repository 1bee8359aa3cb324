"""API requests to the fleet, and events from it."""

import pytest

from flotilla.client import ErrorKind, Fleet, NoFleetError, TaskError, api_calls
from flotilla.contracts.api import (
    Cancelled,
    DeadEntry,
    DeadList,
    FleetStatus,
    PoolStatus,
    ReplicasReply,
    Retried,
    TaskStatus,
)
from flotilla.contracts.errors import BadRequestError
from flotilla.contracts.failures import ErrorBody
from flotilla.contracts.presence import ReplicaCard
from flotilla.contracts.results import DeadRecord, Event
from flotilla.testkit.fleet_peer import Asked, FleetPeer

ERROR = ErrorBody(kind=ErrorKind.NO_ROUTE, message="nobody can")
POOL = PoolStatus(
    zone="local", pool="ollama", provider="ollama", replicas=2, slots=8, busy=3, models=["m"], capabilities=["classify"]
)
STATUS = FleetStatus(scope="default", orchestrator="orchestrator-1", pools=[POOL], backlog=[], dead=2)
RECORD = DeadRecord(
    task="t-1",
    scope="default",
    capability="classify",
    error=ERROR,
    at_unix_ms=1,
    subject="scope.default.tasks.classify",
    headers={"Nats-Msg-Id": "t-1"},
    body=b"\x00not json",
)


async def test_every_question_is_asked_and_its_answer_decoded(fleet: Fleet, peer: FleetPeer):
    """
    One round through the verbs, with the bodies that the wire says.
    """
    entry = DeadEntry(task="t-1", capability="classify", error=ERROR, at_unix_ms=1, size_bytes=9)
    card = ReplicaCard(zone="local", pool="ollama", replica="r-1", provider="ollama", models=[], slots=4)
    failed = TaskStatus(task="t-1", state="failed", capability="classify", error=ERROR)

    async def status(asked: Asked) -> None:
        await peer.answer(asked, failed if b"t-1" in asked.body else STATUS)

    async def cancel(asked: Asked) -> None:
        await peer.answer(asked, Cancelled(task="t-1", was="running"))

    async def replicas(asked: Asked) -> None:
        await peer.answer(asked, ReplicasReply(replicas=[card]))

    async def dead(asked: Asked) -> None:
        if b"retry" in asked.body:
            await peer.answer(asked, Retried(task="t-1", retried_as="t-1-r1"))
        else:
            await peer.answer(asked, RECORD if b"show" in asked.body else DeadList(dead=[entry]))

    peer.on_question.update(status=status, cancel=cancel, replicas=replicas, dead=dead)

    assert await fleet.status() == STATUS
    assert await fleet.task_status("t-1") == failed, "a failed task's status is an answer, not a refusal"
    assert await fleet.cancel("t-1") == Cancelled(task="t-1", was="running")
    assert await fleet.replicas() == [card]
    assert await fleet.dead_list(limit=3) == [entry]
    assert await fleet.dead_show("t-1") == RECORD
    assert (await fleet.dead_retry("t-1")).retried_as == "t-1-r1"
    assert b'"limit":3' in peer.api_requests[4].body


async def test_what_is_not_known_raises_not_found(fleet: Fleet, peer: FleetPeer):
    """
    The fleet's own error, with its kind.
    """
    with pytest.raises(TaskError) as caught:
        await fleet.task_status("nobody")

    assert caught.value.kind is ErrorKind.NOT_FOUND


async def test_an_id_that_no_task_can_have_is_not_asked_for(fleet: Fleet, peer: FleetPeer):
    """
    It would not stand in a subject.
    """
    with pytest.raises(TaskError) as caught:
        await fleet.result("a.b > *", timeout_s=1)

    assert caught.value.kind is ErrorKind.BAD_REQUEST
    assert peer.api_requests == []


async def test_a_question_that_nobody_answers_ends(fleet: Fleet, peer: FleetPeer, monkeypatch: pytest.MonkeyPatch):
    """
    An orchestrator that hangs is no fleet.
    """
    monkeypatch.setattr(api_calls, "API_TIMEOUT_S", 0.2)
    peer.on_question["status"] = None

    with pytest.raises(NoFleetError, match=r"no answer on api\.status"):
        await fleet.status()


async def test_events_are_seen_from_the_moment_of_watching(fleet: Fleet, peer: FleetPeer):
    """
    Those that were asked for, in order.
    """
    async with fleet.events(capability="classify", kinds=["queued", "finished"]) as events:
        await peer.tell(Event(task="t-1", capability="classify", kind="queued", at_unix_ms=1))
        await peer.tell(Event(task="t-2", capability="translate", kind="queued", at_unix_ms=1))
        await peer.tell(Event(task="t-1", capability="classify", kind="dispatched", at_unix_ms=1))
        await peer.tell(Event(task="t-1", capability="classify", kind="finished", at_unix_ms=1))
        seen = [await anext(events), await anext(events)]

    assert [(event.task, event.kind) for event in seen] == [("t-1", "queued"), ("t-1", "finished")]
    assert events.dropped == 0


async def test_events_of_one_task_are_told_from_the_others(fleet: Fleet, peer: FleetPeer):
    """
    They come on the same subjects; whoever asked for one task sees that one.
    """
    async with fleet.events(task="t-2") as events:
        for kind in ("queued", "finished"):
            for task in ("t-1", "t-2"):
                await peer.tell(Event(task=task, capability="classify", kind=kind, at_unix_ms=1))
        seen = [await anext(events), await anext(events)]

    assert [(event.task, event.kind) for event in seen] == [("t-2", "queued"), ("t-2", "finished")]


async def test_events_of_an_id_that_no_task_can_have_are_not_watched(fleet: Fleet):
    """
    It is a mistake of the caller's, and nothing would ever come.
    """
    with pytest.raises(BadRequestError):
        fleet.events(task="a b")
