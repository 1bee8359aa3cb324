"""What is asked: a task as intake has accepted it. What happens to it is in `run_state.py`."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

import msgspec

from flotilla.contracts.attempts import Usage
from flotilla.contracts.failures import ErrorBody
from flotilla.contracts.headers import DataClass, TaskOptions
from flotilla.contracts.results import AttemptReport, Result, StepMessage, input_digest
from flotilla.contracts.subjects import Priority, Zone
from flotilla.routing.types import TaskView
from orchestrator.state.origins import Origin

NO_USAGE: Final = Usage()
NO_ZONES: Final[frozenset[Zone]] = frozenset()


class Task:
    """
    One accepted task; what changes are `cancelled`, `park`, `on_step`, and `body` and `origin`, which are dropped at the end.

    Attributes:
        body: The capability's input, as the caller sent it; checked at intake, and empty once the task is over.
        accepted_unix_ms: When the stream or this orchestrator accepted it.
        deadline_at: By the loop's clock, in seconds.
        durable: Whether it came from the task stream.
        park: Of a durable task: called with True when it begins to wait for a route to come back, and with False when
            it goes on.
        away: The same for the run that it is a step of, which is suspended when it waits for long; None where it must not
            be, since a grant is used up by the message that brought it.
        origin: Of a durable task: where it comes from, computed when a gate asks.
        on_step: Of an asked task whose caller wants a stream: told of its steps, if it is a run of a pipeline.
        cancelled: Set when the caller wants it no more.
        is_gated: Whether a gate has a say in where it goes: it goes nowhere besides.
        shut_zones: That it may not enter before a person has approved it.
    """

    __slots__ = (
        "_input_sha256",
        "accepted_at",
        "accepted_unix_ms",
        "away",
        "body",
        "cancelled",
        "capability",
        "data_class",
        "deadline_at",
        "deadline_unix_ms",
        "durable",
        "id",
        "is_gated",
        "on_step",
        "options",
        "origin",
        "park",
        "priority",
        "scope",
        "shut_zones",
        "view",
    )

    def __init__(
        self,
        *,
        task_id: str,
        scope: str,
        capability: str,
        priority: Priority,
        data_class: DataClass,
        body: bytes,
        options: TaskOptions,
        accepted_unix_ms: int,
        deadline_ms: int,
        durable: bool,
    ) -> None:
        waited_s = max(0.0, time.time() - accepted_unix_ms / 1000)
        now = time.monotonic()
        self.id: Final = task_id
        self.scope: Final = scope
        self.capability: Final = capability
        self.priority: Final[Priority] = priority
        self.data_class: Final[DataClass] = data_class
        self.body = body
        self._input_sha256: str | msgspec.UnsetType | None = None
        self.options: Final = options
        self.accepted_unix_ms: Final = accepted_unix_ms
        self.accepted_at: Final = now - waited_s
        self.deadline_unix_ms: Final = accepted_unix_ms + deadline_ms
        self.deadline_at: Final = self.accepted_at + deadline_ms / 1000
        self.durable: Final = durable
        self.view: Final = TaskView(
            capability=capability,
            scope=scope,
            data_class=data_class,
            wanted_pool=options.route_pool,
            wanted_model=options.route_model,
            sticky=options.sticky,
            labels=options.labels,
            input_bytes=len(body),
        )
        self.park: Callable[[bool], None] | None = None
        self.away: Callable[[bool], None] | None = None
        self.origin: Callable[[], Origin] | None = None
        self.on_step: Callable[[StepMessage], None] | None = None
        self.cancelled: asyncio.Event = asyncio.Event()
        self.is_gated = False
        self.shut_zones = NO_ZONES

    @property
    def input_sha256(self) -> str | msgspec.UnsetType:
        """See `Result`; known also when the input is not kept any more."""
        if self._input_sha256 is None:
            self._input_sha256 = input_digest(self.body) if self.durable else msgspec.UNSET
        return self._input_sha256

    def forget_input(self) -> None:
        """It is over: whoever still knows of it does not keep its input, but what it is a result of can be said."""
        _ = self.input_sha256
        self.body = b""
        self.origin = None

    def approved(self, grant: str | None, until_unix_ms: int) -> "Task":
        """The same task, to be worked on with a grant and until its time at the latest; cancelled together with this one."""
        options = self.options if grant is None else msgspec.structs.replace(self.options, approval=grant)
        return self._gated(options, min(self.deadline_unix_ms, until_unix_ms))

    def kept_out_of(self, zones: frozenset[Zone]) -> "Task":
        """The same task, to be worked on elsewhere than in these zones; cancelled together with this one."""
        task = self._gated(self.options, self.deadline_unix_ms)
        task.shut_zones = zones
        return task

    def _gated(self, options: TaskOptions, until_unix_ms: int) -> "Task":
        task = Task(
            task_id=self.id,
            scope=self.scope,
            capability=self.capability,
            priority=self.priority,
            data_class=self.data_class,
            body=self.body,
            options=options,
            accepted_unix_ms=self.accepted_unix_ms,
            deadline_ms=max(1, until_unix_ms - self.accepted_unix_ms),
            durable=self.durable,
        )
        task.cancelled = self.cancelled
        task.park = self.park
        task.away = self.away
        task.is_gated = True
        return task

    def failed(
        self,
        error: ErrorBody,
        *,
        attempts: list[AttemptReport] | None = None,
        usage: Usage = NO_USAGE,
        queued_ms: float | None = None,
    ) -> Result:
        """The result of a task that failed; without attempts, of one that no run had or that crashed."""
        latency_ms = round((time.monotonic() - self.accepted_at) * 1000, 3)
        return Result(
            task=self.id,
            capability=self.capability,
            status="failed",
            error=error,
            latency_ms=latency_ms,
            queued_ms=latency_ms if queued_ms is None else round(queued_ms, 3),
            usage=usage,
            attempts=attempts or [],
            labels=self.options.labels or msgspec.UNSET,
            input_sha256=self.input_sha256,
        )
