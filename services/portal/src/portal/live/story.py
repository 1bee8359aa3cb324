"""
One task's story, out of its events and, where somebody may ask for it, its result. Pure; nothing of a document is in it.

Events tell what happened as it does; a result tells of every attempt why its route was chosen, and of a pipeline's steps.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from flotilla.contracts.results import AttemptReport, Event, Result, StepReport
from flotilla.contracts.subjects import Zone
from portal.live.event_feed import FleetEvent, shown
from portal.live.tasks import SeenTask, TaskState

ZoneOf = Callable[[str], Zone | None]


class AttemptView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    One attempt.

    Attributes:
        status: `running`, `ok`, or the kind of its failure.
        reason: Why its route was chosen; unset where only events tell of it.
    """

    pool: str
    model: str
    status: str
    zone: str = ""
    replica: str = ""
    reason: str = ""
    message: str = ""
    latency_ms: float | None = None
    step: str = ""


class StepView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    One step of a pipeline's run.

    Attributes:
        tasks: How many it had: more than one where it ran for each item; known of a run that has a result.
    """

    step: str
    status: str
    needs: list[str] = []
    capability: str = ""
    data_class: str = ""
    zone: str = ""
    pool: str = ""
    model: str = ""
    reason: str = ""
    error: str = ""
    latency_ms: float | None = None
    tokens: int | None = None
    cost_usd: float | None = None
    tasks: int = 1
    failed: int = 0
    kept: int = 0


class Story(Struct, frozen=True, kw_only=True):
    """All that is known of a task but its documents."""

    scope: str
    task: str
    capability: str
    state: TaskState
    at_unix_ms: int
    attempts: list[AttemptView]
    steps: list[StepView]
    events: list[FleetEvent]
    events_dropped: int
    pool: str = ""
    model: str = ""
    zone: str = ""
    replica: str = ""
    latency_ms: float | None = None
    queued_ms: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    labels: dict[str, str] = {}
    error: dict[str, Any] | UnsetType = UNSET
    has_result: bool = False
    run: str = ""
    awaits_approval: bool = False


def story_of(
    scope: str,
    seen: SeenTask | None,
    result: Result | None,
    zone_of: ZoneOf,
    *,
    waiting_steps: frozenset[str] = frozenset(),
) -> Story | None:
    """
    The story of a task of which there are events, a result, or both; None where there is neither.

    `waiting_steps` are those that wait for an approval, which the run's own events do not tell.
    """
    if seen is None and result is None:
        return None
    events = [] if seen is None else seen.events
    if result is None:
        return None if seen is None else _from_events(seen, zone_of, waiting_steps)
    error = result.error if isinstance(result.error, Struct) else None
    return Story(
        scope=scope,
        task=result.task,
        capability=result.capability,
        state="ok" if result.status == "ok" else "failed",
        at_unix_ms=seen.at_unix_ms if seen else 0,
        attempts=[_reported(one, zone_of) for one in result.attempts],
        steps=[_step(one) for one in result.steps] if isinstance(result.steps, list) else [],
        events=[shown(scope, one) for one in events],
        events_dropped=seen.events_dropped if seen else 0,
        pool=result.pool,
        model=result.model,
        zone=result.zone if isinstance(result.zone, str) else "",
        replica=result.replica,
        latency_ms=result.latency_ms,
        queued_ms=result.queued_ms,
        input_tokens=result.usage.input_tokens,
        output_tokens=result.usage.output_tokens,
        cost_usd=result.usage.cost_usd,
        labels=result.labels if isinstance(result.labels, dict) else {},
        error=UNSET if error is None else {"kind": error.kind.value, "message": error.message},
        has_result=True,
        run=seen.run if seen else "",
    )


def _from_events(seen: SeenTask, zone_of: ZoneOf, waiting_steps: frozenset[str]) -> Story:
    return Story(
        scope=seen.scope,
        task=seen.task,
        capability=seen.capability,
        state=seen.state,
        at_unix_ms=seen.at_unix_ms,
        attempts=_attempts(seen.events, zone_of),
        steps=_steps(seen.events, zone_of, waiting_steps),
        awaits_approval=not seen.has_ended and bool(seen.gates or waiting_steps),
        events=[shown(seen.scope, one) for one in seen.events],
        events_dropped=seen.events_dropped,
        pool=seen.pool,
        model=seen.model,
        zone=zone_of(seen.pool) or "",
        replica=seen.replica,
        latency_ms=seen.latency_ms,
        cost_usd=seen.cost_usd,
        labels=seen.labels,
        error={"kind": seen.error, "message": ""} if seen.error else UNSET,
        run=seen.run,
    )


def _attempts(events: list[Event], zone_of: ZoneOf) -> list[AttemptView]:
    """Each that was sent, and how it ended as far as events say: one that failed is told of, the last is what ended it."""
    found: list[AttemptView] = []
    for event in events:
        if event.kind == "dispatched":
            found.append(_attempt(event, "running", zone_of))
        elif event.kind == "attempt_failed":
            open_ones = [at for at, one in enumerate(found) if (one.pool, one.status) == (event.pool, "running")]
            ended = _attempt(event, event.error or "failed", zone_of)
            if open_ones:
                found[open_ones[-1]] = ended
            else:
                found.append(ended)
        elif event.kind in ("finished", "failed", "cancelled") and found and found[-1].status == "running":
            status = "ok" if event.kind == "finished" else event.error or event.kind
            found[-1] = msgspec.structs.replace(found[-1], status=status)
    return found


def _attempt(event: Event, status: str, zone_of: ZoneOf) -> AttemptView:
    return AttemptView(
        pool=event.pool,
        model=event.model,
        status=status,
        zone=zone_of(event.pool) or "",
        replica=event.replica,
        latency_ms=event.latency_ms or None,
        step=event.step,
    )


def _reported(report: AttemptReport, zone_of: ZoneOf) -> AttemptView:
    return AttemptView(
        pool=report.pool,
        model=report.model,
        status=report.outcome,
        zone=zone_of(report.pool) or "",
        replica=report.replica,
        reason=report.reason,
        message=report.message,
        latency_ms=report.latency_ms,
    )


def _step(report: StepReport) -> StepView:
    return StepView(
        step=report.name,
        needs=report.needs,
        status=report.status,
        capability=report.capability,
        data_class=report.data_class,
        zone=report.zone if isinstance(report.zone, str) else "",
        pool=report.pool,
        model=report.model,
        reason=report.reason,
        error=report.error,
        latency_ms=report.latency_ms,
        tokens=report.usage.input_tokens + report.usage.output_tokens,
        cost_usd=report.usage.cost_usd,
        tasks=report.tasks,
        failed=report.failed,
        kept=report.kept,
    )


def _steps(events: list[Event], zone_of: ZoneOf, waiting: frozenset[str]) -> list[StepView]:
    """The newest word on each step, in the order of their first."""
    found: dict[str, StepView] = {}
    words = {"step_started": "running", "step_finished": "succeeded", "step_failed": "failed"}
    for event in events:
        status = words.get(event.kind)
        if status is None or not event.step:
            continue
        before = found.get(event.step)
        if event.kept and before is not None and before.status == status:
            # Told again by whoever took the run over: when it ended, more was said of it.
            continue
        found[event.step] = StepView(
            step=event.step,
            needs=event.needs or (before.needs if before else []),
            status="awaiting_approval" if status == "running" and event.step in waiting else status,
            zone=zone_of(event.pool) or "",
            pool=event.pool,
            model=event.model,
            error=event.error,
            latency_ms=event.latency_ms or None,
            cost_usd=event.cost_usd if status == "succeeded" and not event.kept else None,
            kept=int(event.kept),
        )
    return list(found.values())
