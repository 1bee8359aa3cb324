"""The tasks that a run gives to the executor below: one for each step, or for each of its items."""

import hashlib
from collections.abc import Container
from typing import Final

import msgspec

from flotilla.chassis.tracing import Context
from flotilla.contracts.clock import unix_ms
from flotilla.contracts.headers import NO_OPTIONS, DataClass
from flotilla.pipelines.plan import StepKey, StepTask
from orchestrator.approvals.gate import Opened
from orchestrator.state.tasks import Task

STEM_LENGTH_MAX: Final = 40


def task_of(
    step: StepTask,
    run: Task,
    data_class: DataClass,
    *,
    context: Context,
    pipelines: Container[str],
    opened: Opened | None = None,
) -> Task:
    """
    The task of a step.

    Args:
        step: Whose.
        run: The task that the run is the answer to: its scope, its deadline and its wishes are the step's too.
        data_class: That the step runs under.
        context: Of the trace that it belongs to.
        pipelines: Names of those capabilities that are pipelines.
        opened: The gate that it has passed; none may be used any more when its time is over.
    """
    now_ms = unix_ms()
    until_ms = run.deadline_unix_ms if opened is None else min(run.deadline_unix_ms, opened.until_unix_ms)
    task = Task(
        task_id=id_of(run.id, step.key),
        scope=run.scope,
        capability=step.capability,
        priority=run.priority,
        data_class=data_class,
        body=bytes(step.input),
        options=msgspec.structs.replace(
            NO_OPTIONS,
            labels=run.options.labels,
            sticky=run.options.sticky,
            cache=run.options.cache,
            approval=None if opened is None else opened.grant,
            traceparent=context.traceparent,
            tracestate=context.tracestate,
        ),
        accepted_unix_ms=now_ms,
        deadline_ms=max(1, until_ms - now_ms),
        durable=run.durable,
    )
    task.park = run.park
    task.away = run.away if opened is None else None
    origin = run.origin
    if origin is not None:
        # Of a step that runs for each item the record has the index, but those around it have it in their path.
        name = str(step.key) if step.capability in pipelines else step.key.step
        task.origin = lambda: origin().below(name)
    return task


def id_of(run_id: str, key: StepKey) -> str:
    """The same for the same step of the same run, and no other's."""
    digest = hashlib.sha256(f"{run_id}\0{key}".encode()).hexdigest()[:20]
    return f"{run_id[:STEM_LENGTH_MAX]}-{digest}"
