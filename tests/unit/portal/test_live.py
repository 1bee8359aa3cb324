"""What is kept of a fleet's events: rates, sums, tasks and frames, each within its bound."""

import json
from collections import Counter
from typing import Any, cast

from flotilla.contracts.results import Event, encode
from flotilla.contracts.stats import RouteKey
from flotilla.contracts.subjects import EventKind
from flotilla.fabric.message import Message
from flotilla.fabric.stored import StoredMessage
from portal.live import event_feed
from portal.live.event_feed import EventFeed
from portal.live.history import HOUR_S, MOVES_MAX, History
from portal.live.route_views import with_idle
from portal.live.snapshot import RouteStatus, RouteView
from portal.live.story import story_of
from portal.live.tasks import EVENTS_PER_TASK_MAX, SeenTasks


def event(kind: EventKind, task: str = "t1", at: int = 1, **more: object) -> Event:
    return Event(task=task, capability="classify", kind=kind, at_unix_ms=at, **more)  # pyright: ignore[reportArgumentType]


def ignore(scope: str, what: Event) -> None:
    del scope, what


def ignore_kind(kind: str) -> None:
    del kind


def message(what: Event, scope: str = "default") -> Message:
    return Message(f"scope.{scope}.events.{what.capability}.{what.kind}", "", encode(what))


def stored(sequence: int, what: Event, scope: str = "default") -> StoredMessage:
    subject = f"scope.{scope}.events.{what.capability}.{what.kind}"
    return StoredMessage(
        subject=subject, sequence=sequence, stored_unix_ms=what.at_unix_ms, headers={}, body=encode(what)
    )


def test_a_task_is_what_its_events_say():
    """
    Where it ran last, how it ended, how long it took; a cost that nobody told is unknown, not nothing.
    """
    tasks = SeenTasks()
    for one in (
        event("queued"),
        event("dispatched", pool="local", model="m", replica="w1"),
        event("attempt_failed", pool="local", model="m", error="timeout"),
        event("dispatched", pool="cloud", model="n", replica="w2"),
        event("finished", latency_ms=12.5, cost_usd=None),
    ):
        tasks.take("default", one)
    seen = tasks.get("default", "t1")

    assert seen is not None
    assert ("ok", "cloud", "n", "w2", 12.5, None) == (
        seen.state,
        seen.pool,
        seen.model,
        seen.replica,
        seen.latency_ms,
        seen.cost_usd,
    )
    assert tasks.get("acme", "t1") is None


def test_a_step_is_known_by_its_run():
    """
    By the run's id, which is in its own, also where the run is heard of later; not what is only called alike, nor one of
    another scope's run.
    """
    tasks, step = SeenTasks(), "0123456789abcdef0123"
    early = tasks.take("default", event("queued", f"seq-3-0{step[1:]}"))
    assert "" == tasks.run_of(early)
    tasks.take("default", event("queued", "seq-3"))
    assert "seq-3" == tasks.run_of(early)
    found = {
        (scope, task): tasks.take(scope, event("queued", task)).run
        for scope, task in (
            ("default", f"seq-3-{step}"),
            ("default", f"seq-4-{step}"),
            ("acme", f"seq-3-{step}"),
            ("default", "seq-3-of-somebody-elses"),
            ("default", f"-{step}"),
        )
    }

    assert {("default", f"seq-3-{step}"): "seq-3"} == {key: run for key, run in found.items() if run}


def test_the_step_of_a_run_that_waits_for_an_approval_is_told():
    """
    By the events of the step's own task; no more when it was decided, and of this run alone.
    """
    tasks, digest = SeenTasks(), "0123456789abcdef0123"
    run = tasks.take("default", event("queued", "run-1"))
    for one in (event("step_started", "run-1", step="short"), event("step_started", "run-1", step="german")):
        tasks.take("default", one)
    tasks.take("default", event("awaiting_approval", f"run-1-{digest}", step="german"))
    waiting = tasks.waiting_steps("default", "run-1")
    story = story_of("default", run, None, lambda pool: "local" if pool else None, waiting_steps=waiting)

    assert {"german"} == waiting
    assert story is not None
    assert story.awaits_approval
    assert [("short", "running"), ("german", "awaiting_approval")] == [(one.step, one.status) for one in story.steps]
    assert not tasks.waiting_steps("default", "run-2")
    assert not tasks.waiting_steps("acme", "run-1")
    tasks.take("default", event("approval_decided", f"run-1-{digest}", step="german"))
    assert not tasks.waiting_steps("default", "run-1")


def test_a_run_that_waits_at_a_gate_does_not_stand_still():
    """
    Neither it nor its step; from the decision on it has time again, and then it does.
    """
    tasks, step = SeenTasks(), "run-1-0123456789abcdef0123"
    for one in (event("queued", "run-1"), event("step_started", "run-1", step="german"), event("queued", "other")):
        tasks.take("default", one)
    tasks.take("default", event("awaiting_approval", step, step="german"))

    assert ["other"] == [seen.task for seen in tasks.standing(300)]
    assert {("default", "run-1"), ("default", step)} == tasks.awaiting_approval()
    tasks.take("default", event("approval_decided", step, at=400, step="german"))
    assert ["other"] == [seen.task for seen in tasks.standing(400)]
    assert set() == tasks.awaiting_approval()
    assert ["run-1", "other", step] == [seen.task for seen in tasks.standing(401)]


def test_tasks_and_their_events_have_bounds():
    """
    The oldest task goes; of a task with too many events those in between do, and the one that ended it stays.
    """
    tasks = SeenTasks(tasks_max=3)
    for number in range(10):
        tasks.take("default", event("queued", f"t{number}"))
    for _ in range(2 * EVENTS_PER_TASK_MAX):
        tasks.take("default", event("attempt_failed", "t9"))
    seen = tasks.take("default", event("failed", "t9", error="timeout"))
    for _ in range(4):
        tasks.take("default", event("failed", "t9", error="timeout"))

    assert ["t9", "t8", "t7"] == [one.task for one in tasks.newest_first()]
    assert "failed" == seen.events[-1].kind
    assert EVENTS_PER_TASK_MAX + 1 == len(seen.events)
    assert EVENTS_PER_TASK_MAX + 1 + 4 == seen.events_dropped


def test_events_of_all_tasks_have_a_bound_and_labels_are_kept_once():
    """
    However many events each has, and however long the labels are that stand in every one.
    """
    tasks = SeenTasks(events_max=50)
    for number in range(30):
        for _ in range(10):
            seen = tasks.take("default", event("attempt_failed", f"t{number}", labels={"a": "b"}))
            assert {"a": "b"} == seen.labels
            assert not [one for one in seen.events if one.labels]

    assert 50 >= sum(len(one.events) for one in tasks.newest_first()) > 40


def id_of(chunk: bytes) -> str:
    return chunk.partition(b"id: ")[2].partition(b"\n")[0].decode()


def data_of(chunk: bytes) -> dict[str, Any]:
    return json.loads(chunk.split(b"data: ", 1)[1])


async def test_a_frame_holds_the_newest_events_and_counts_the_others():
    """
    Also those that were not even read: an orchestrator can send faster than anybody looks.
    """
    read: list[str] = []
    counted: list[str] = []
    feed = EventFeed(on_event=lambda _scope, one: read.append(one.task), on_counted=counted.append)
    for number in range(event_feed.EVENTS_READ_MAX + 500):
        await feed.take(message(event("queued", f"t{number}")))
    feed.end_frame()
    found = feed.after(0)
    assert found is not None
    data = data_of(found[0])

    assert event_feed.EVENTS_READ_MAX == len(read)
    assert event_feed.EVENTS_READ_MAX + 500 == len(counted) == feed.total
    assert 200 == len(data["events"])
    assert event_feed.EVENTS_READ_MAX + 300 == data["dropped"]


async def test_a_slow_viewer_is_told_what_he_has_missed_and_gets_what_is_new():
    """
    However long he was away, there is no more for him than the frames that are kept for everybody. The id of a message
    counts what he has seen with it: a connection that breaks between two of them loses nothing.
    """
    feed = EventFeed(on_event=ignore, on_counted=ignore_kind)
    for number in range(100):
        await feed.take(message(event("queued", f"t{number}")))
        feed.end_frame()
    got: list[dict[str, Any]] = []
    places: list[int | None] = []
    seen = 10
    while (found := feed.after(seen)) is not None:
        got.append(data_of(found[0]))
        seen = found[1]
        places.append(feed.place_of(id_of(found[0])))
    lately = feed.after(95)

    assert [{"events": [], "dropped": 89}] == got[:1]
    assert [99, 100] == places
    assert 100 == feed.place_of(id_of(feed.recent()))
    assert ["t99"] == [one["task"] for frame in got[1:] for one in frame["events"]]
    assert lately is not None
    assert (["t95"], 96) == ([one["task"] for one in data_of(lately[0])["events"]], lately[1])
    assert feed.total == seen


async def test_what_was_before_is_taken_before_what_came_meanwhile_and_nothing_twice():
    """
    A task of the past that ended, one that ended while the past was read, and one that was known already.
    """
    tasks, counted = SeenTasks(), Counter[str]()

    def take(scope: str, one: Event) -> None:
        tasks.take(scope, one)

    def take_past(scope: str, one: Event) -> bool:
        is_new = tasks.take_past(scope, one) is not None
        counted[one.kind] += is_new
        return is_new

    feed = EventFeed(on_event=take, on_counted=ignore_kind)

    for one in (event("queued", "known", at=9), event("dispatched", "known", at=9)):
        await feed.take(message(one))
    feed.hold()
    for one in (event("finished", "meanwhile", at=8), event("queued", "new", at=10)):
        await feed.take(message(one))
    past = [
        *(event(kind, "old", at=1) for kind in ("queued", "dispatched", "failed")),
        *(event(kind, "meanwhile", at=7) for kind in ("queued", "dispatched")),
        event("finished", "meanwhile", at=8),
        *(event(kind, "known", at=9) for kind in ("queued", "dispatched", "finished")),
    ]
    await feed.go_on([stored(number, one) for number, one in enumerate(past)], take_past)
    tasks.in_order()

    assert [("new", "waiting"), ("known", "ok"), ("meanwhile", "ok"), ("old", "failed")] == [
        (seen.task, seen.state) for seen in tasks.newest_first()
    ]
    assert [1, 3, 3, 3] == [len(seen.events) for seen in tasks.newest_first()]
    assert {"queued": 2, "dispatched": 2, "failed": 1, "finished": 2} == counted


async def test_what_is_no_event_is_passed_over():
    """
    Bytes of any kind, on any subject that the subscription lets through.
    """
    read: list[str] = []
    feed = EventFeed(on_event=lambda _scope, one: read.append(one.task), on_counted=ignore_kind)
    for subject, body in (
        ("scope.default.events.classify.queued", b"\xff"),
        ("scope.default.events.classify.queued", b"{}"),
        ("scope.default.events.classify.queued", b"[" * 1000),
        ("scope.-.events.classify.queued", encode(event("queued"))),
        ("scope.default.events", encode(event("queued"))),
    ):
        await feed.take(Message(subject, "", body))
    feed.end_frame()

    assert [] == read


def test_an_id_of_another_portal_or_of_none_is_no_place():
    """
    A browser gives back what it was given, and somebody else anything.
    """
    feed = EventFeed(on_event=ignore, on_counted=ignore_kind)
    boot = feed.recent().partition(b"id: ")[2].partition(b"-")[0].decode()

    assert 0 == feed.place_of(f"{boot}-0")
    for text in (
        "",
        "-",
        f"{boot}-1",
        f"{boot}-",
        f"{boot}-²",
        f"{boot}--1",
        "x-0",
        "0" * 10_000,
    ):
        assert feed.place_of(text) is None


def test_the_steps_of_a_run_that_goes_on_know_what_they_need():
    """
    From the event that says that one has begun, also once another says how it ended.
    """
    tasks = SeenTasks()
    for what in (
        event("step_started", step="short"),
        event("step_started", step="german", needs=["short"]),
        event("step_finished", step="german"),
    ):
        seen = tasks.take("default", what)
    story = story_of("default", seen, None, lambda _pool: None)

    assert story is not None
    assert [("short", "running", []), ("german", "succeeded", ["short"])] == [
        (step.step, step.status, step.needs) for step in story.steps
    ]


def test_what_a_run_that_is_taken_over_tells_again_of_a_step_says_no_more_than_was_said():
    """
    Of a step that another run has given it is all that is known.
    """
    tasks = SeenTasks()
    for what in (
        event("step_finished", step="short", latency_ms=20.0),
        event("step_finished", step="short", kept=True),
        event("step_finished", step="german", needs=["short"], kept=True),
    ):
        seen = tasks.take("default", what)
    story = story_of("default", seen, None, lambda _pool: None)

    assert story is not None
    assert [("short", 20.0, 0, []), ("german", None, 1, ["short"])] == [
        (step.step, step.latency_ms, step.kept, step.needs) for step in story.steps
    ]


def route(status: RouteStatus, words: str = "", pool: str = "local") -> RouteView:
    return RouteView(capability="classify", pool=pool, model="m", zone="local", status=status, words=words, share=1.0)


async def test_a_route_that_comes_to_stand_otherwise_has_moved():
    """
    Not one that is seen for the first time, or again after a while; of the last hour alone, and within a bound.
    """
    history = History(cast("Any", None), cast("Any", None))
    for at_s, routes in enumerate(
        [
            [route("healthy")],
            [route("healthy")],
            [route("ejected", "p95 over its guard"), route("open", pool="cloud")],
            [],
            [route("healthy")],
            [route("half_open", "returning")],
        ]
    ):
        history.stand(routes, float(at_s))
    told = [(move.at_unix_s, move.status, move.words) for move in history.moves(10.0, capability="classify")]

    assert [(2.0, "ejected", "p95 over its guard"), (5.0, "half_open", "returning")] == told
    assert [] == history.moves(10.0, pool="cloud")
    assert [5.0] == [move.at_unix_s for move in history.moves(2.0 + HOUR_S)]
    for at_s in range(2 * MOVES_MAX):
        history.stand([route("open" if at_s % 2 else "healthy")], float(at_s))
    assert MOVES_MAX == len(history.moves(0.0))


def test_a_route_that_is_used_no_more_is_still_listed():
    """
    For as long as there is something of its last hour to see; once, and without figures of now.
    """
    used = [RouteKey("local", "m", "classify"), RouteKey("cloud", "n", "classify"), RouteKey("cloud", "n", "answer")]
    listed = with_idle([route("ejected")], used, None, {"cloud": "cloud"})

    assert [("answer", "cloud", "idle"), ("classify", "local", "ejected"), ("classify", "cloud", "idle")] == [
        (one.capability, one.pool, one.status) for one in listed
    ]
    assert ("cloud", None, None) == (listed[0].zone, listed[0].share, listed[0].p95_ms)
