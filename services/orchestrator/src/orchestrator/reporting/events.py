"""Events of tasks: published without waiting, for dashboards. The truth is in TASKS, RESULTS and DEAD."""

from collections.abc import Sequence
from functools import partial
from typing import Final

import msgspec

from flotilla.contracts import subjects
from flotilla.contracts.clock import unix_ms
from flotilla.contracts.headers import EVENT_TASK
from flotilla.contracts.results import Event
from flotilla.contracts.subjects import EventKind
from flotilla.routing.types import Route
from orchestrator.reporting.background_publisher import BackgroundPublisher, Outgoing
from orchestrator.state.tasks import Task

_encode: Final = msgspec.json.Encoder().encode


class Events:
    """Publishes the steps of tasks, in their order, after what callers and workers wait for."""

    def __init__(self, publisher: BackgroundPublisher) -> None:
        self._publisher = publisher

    def tell(
        self,
        task: Task,
        kind: EventKind,
        *,
        route: Route | None = None,
        replica: str = "",
        error: str = "",
        latency_ms: float = 0.0,
        cost_usd: float | None = 0.0,
        step: str = "",
        needs: Sequence[str] = (),
        cached: bool = False,
        kept: bool = False,
        outcome: str = "",
    ) -> None:
        """Publish one event; it is never waited for, and a lost one loses nothing else."""
        event = Event(
            task=task.id,
            capability=task.capability,
            kind=kind,
            at_unix_ms=unix_ms(),
            pool=route.pool if route else "",
            model=route.model if route else "",
            replica=replica,
            error=error,
            latency_ms=latency_ms,
            cost_usd=cost_usd,
            labels=task.options.labels,
            step=step,
            needs=list(needs),
            cached=cached,
            kept=kept,
            outcome=outcome,
            data_class=task.data_class if kind == "dispatched" else "",
        )
        self._publisher.publish(partial(_message, task.scope, event))


class NoEvents(Events):
    """For attempts that nobody outside hears of: tells nothing."""

    def __init__(self) -> None:
        """Without a way out."""

    def tell(self, task: Task, kind: EventKind, **_more: object) -> None:
        """Tell nobody."""


def _message(scope: str, event: Event) -> Outgoing:
    return subjects.events(scope, event.capability, event.kind), _encode(event), {EVENT_TASK: event.task}
