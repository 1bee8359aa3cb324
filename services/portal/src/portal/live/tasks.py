"""The newest tasks, put together from their events; the oldest are forgotten."""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final, Literal

from msgspec import Struct, structs

from flotilla.contracts.results import Event
from flotilla.contracts.subjects import EventKind

TASKS_MAX: Final = 5_000
EVENTS_PER_TASK_MAX: Final = 100
EVENTS_MAX: Final = 50_000
"""Of all tasks together: some 35 MB at most. Labels, which may be long, are kept once for each task."""

STEP_DIGEST_LENGTH: Final = 20
"""Of the id of a step's task, which orchestrators make of the run's."""
HEXADECIMAL: Final = frozenset("0123456789abcdef")

TaskState = Literal["waiting", "running", "ok", "failed", "cancelled", "unknown"]
"""`unknown`: nobody knows the task any more, and of its end no event came."""
STATE_AFTER: Final[dict[EventKind, TaskState]] = {
    "queued": "waiting",
    "awaiting_approval": "waiting",
    "dispatched": "running",
    "step_started": "running",
    "finished": "ok",
    "failed": "failed",
    "cancelled": "cancelled",
}
GATES: Final[dict[EventKind, int]] = {"awaiting_approval": 1, "approval_decided": -1}
ENDED: Final = ("ok", "failed", "cancelled", "unknown")


class SeenTask:
    """
    One task, as its events have told of it.

    Attributes:
        run: Of which it is a step, as far as that is known yet (`SeenTasks.run_of`); empty otherwise.
        pool: Of the last attempt, as model and replica.
        cost_usd: None where it is not known.
        heard_unix_ms: When its newest event happened.
        gates: How many approvals it waits for.
        events: The first EVENTS_PER_TASK_MAX, and the one that ended it.
        events_dropped: How many came after those.
    """

    __slots__ = (
        "at_unix_ms",
        "capability",
        "cost_usd",
        "error",
        "events",
        "events_dropped",
        "gates",
        "heard_unix_ms",
        "labels",
        "latency_ms",
        "model",
        "pool",
        "replica",
        "run",
        "scope",
        "state",
        "task",
    )

    def __init__(self, scope: str, event: Event) -> None:
        self.scope: Final = scope
        self.run = ""
        self.task: Final = event.task
        self.capability: Final = event.capability
        self.labels: Final = event.labels
        self.at_unix_ms = self.heard_unix_ms = event.at_unix_ms
        self.gates = 0
        self.state: TaskState = "waiting"
        self.pool = self.model = self.replica = self.error = ""
        self.latency_ms: float | None = None
        self.cost_usd: float | None = None
        self.events: Final[list[Event]] = []
        self.events_dropped = 0

    @property
    def has_ended(self) -> bool:
        """Whether it has a result."""
        return self.state in ENDED

    def take(self, event: Event) -> None:
        """Take what happened next."""
        self.heard_unix_ms = max(self.heard_unix_ms, event.at_unix_ms)
        if event.kind in GATES:
            self.gates = max(0, self.gates + GATES[event.kind])
        ends = not self.has_ended and STATE_AFTER.get(event.kind) in ENDED
        if ends or len(self.events) < EVENTS_PER_TASK_MAX:
            self.events.append(structs.replace(event, labels={}) if event.labels else event)
        else:
            self.events_dropped += 1
        self.state = STATE_AFTER.get(event.kind, self.state)
        if event.kind == "dispatched":
            self.pool, self.model, self.replica = event.pool, event.model, event.replica
        elif self.has_ended:
            self.error = event.error
            if event.latency_ms:
                self.latency_ms = event.latency_ms
            # Nothing is said of the cost of what failed: unknown is not free.
            self.cost_usd = event.cost_usd if event.kind == "finished" else None

    def end_unseen(self, state: Literal["ok", "failed", "unknown"]) -> None:
        """It has ended without an event that said so, or nobody knows it."""
        if not self.has_ended:
            self.state = state


class TaskSummary(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line of the list of tasks."""

    scope: str
    task: str
    capability: str
    state: TaskState
    at_unix_ms: int
    pool: str = ""
    model: str = ""
    zone: str = ""
    error: str = ""
    latency_ms: float | None = None
    cost_usd: float | None = None
    labels: dict[str, str] = {}
    run: str = ""
    awaits_approval: bool = False


class SeenTasks:
    """The newest tasks by scope and id: TASKS_MAX, and fewer where their events are more than EVENTS_MAX."""

    def __init__(self, tasks_max: int = TASKS_MAX, events_max: int = EVENTS_MAX) -> None:
        self._tasks_max: Final = tasks_max
        self._events_max: Final = events_max
        self._events = 0
        self._tasks: Final[OrderedDict[tuple[str, str], SeenTask]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tasks)

    def take(self, scope: str, event: Event) -> SeenTask:
        """Take an event; gives its task as it stands after it."""
        key = (scope, event.task)
        seen = self._tasks.get(key)
        if seen is None:
            if len(self._tasks) >= self._tasks_max:
                self._forget_oldest()
            seen = self._tasks[key] = SeenTask(scope, event)
            self.run_of(seen)
        held = len(seen.events)
        seen.take(event)
        run = self._tasks.get((scope, self.run_of(seen))) if event.kind == "approval_decided" else None
        if run is not None:
            # It goes on from now: its own events say nothing of the time at the gate.
            run.heard_unix_ms = max(run.heard_unix_ms, event.at_unix_ms)
        self._events += len(seen.events) - held
        while self._events > self._events_max and len(self._tasks) > 1:
            self._forget_oldest()
        return seen

    def take_past(self, scope: str, event: Event) -> SeenTask | None:
        """
        Take an event that may have been taken already; None where it was, or where its task has ended after it.

        Call `in_order` after the last of them.
        """
        seen = self._tasks.get((scope, event.task))
        if seen is not None:
            has_ended_since = seen.has_ended and event.at_unix_ms < seen.heard_unix_ms
            if has_ended_since or structs.replace(event, labels={}) in seen.events:
                return None
        return self.take(scope, event)

    def in_order(self) -> None:
        """Have the newest be the last again, where older ones have come after newer ones."""
        for key, _ in sorted(self._tasks.items(), key=lambda item: item[1].at_unix_ms):
            self._tasks.move_to_end(key)

    def run_of(self, seen: SeenTask) -> str:
        """The run that a task is a step of: its id is the run's and a digest. A run that is not known here is none."""
        if not seen.run:
            stem, _, digest = seen.task.rpartition("-")
            is_digest = len(digest) == STEP_DIGEST_LENGTH and set(digest) <= HEXADECIMAL
            seen.run = stem if is_digest and (seen.scope, stem) in self._tasks else ""
        return seen.run

    def _forget_oldest(self) -> None:
        _, oldest = self._tasks.popitem(last=False)
        self._events -= len(oldest.events)

    def get(self, scope: str, task: str) -> SeenTask | None:
        """One task; None where it is not known, or not any more."""
        return self._tasks.get((scope, task))

    def standing(self, since_unix_ms: int) -> list[SeenTask]:
        """
        Those that have not ended and of which nothing has been heard since, the oldest first.

        What waits for an approval is none of them, nor is the run that it is a step of.
        """
        waiting = self.awaiting_approval()
        return [
            seen
            for seen in self._tasks.values()
            if not seen.has_ended and seen.heard_unix_ms < since_unix_ms and (seen.scope, seen.task) not in waiting
        ]

    def awaiting_approval(self) -> set[tuple[str, str]]:
        """Scope and id of the tasks that wait for one, and of the runs of which a step does."""
        waiting = [seen for seen in self._tasks.values() if seen.gates and not seen.has_ended]
        return {(seen.scope, task) for seen in waiting for task in (seen.task, self.run_of(seen)) if task}

    def waiting_steps(self, scope: str, run: str) -> frozenset[str]:
        """The steps of a run that wait for an approval."""
        return frozenset(
            event.step
            for seen in self._tasks.values()
            if seen.gates and not seen.has_ended and seen.scope == scope and self.run_of(seen) == run
            for event in seen.events
            if event.kind == "awaiting_approval" and event.step
        )

    def newest_first(self) -> Iterator[SeenTask]:
        """All of them, by their first event."""
        return reversed(self._tasks.values())
