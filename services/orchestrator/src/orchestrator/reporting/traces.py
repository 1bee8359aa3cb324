"""
A task's part in its caller's trace: a span for the task, and one for each attempt that a replica took.

Names, kinds and numbers only; no word of a document, and none of the caller's labels.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from flotilla.chassis import gen_ai
from flotilla.chassis.tracing import NO_TRACER, Span, Tracer
from flotilla.contracts.attempts import AttemptOptions, Failed, Finished
from flotilla.contracts.failures import ErrorBody
from flotilla.contracts.headers import NO_OPTIONS
from flotilla.contracts.redaction import EVERY_TYPE, LOCAL_CAPABILITIES, RedactionPolicy
from flotilla.contracts.results import Result
from flotilla.routing.types import Route
from orchestrator.state.tasks import Task

TASK: Final = "flotilla.task"
ATTEMPT: Final = "flotilla.attempt"
NAKKED: Final = "nakked"

_NO_TRACE: Final = AttemptOptions()


class Traces:
    """Begins and ends the spans of tasks and attempts; does nothing while traces are off."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self.on: Final = tracer.on

    def task_began(self, task: Task) -> Span | None:
        """A task is taken in hand; None while traces are off."""
        if not self.on:
            return None
        attributes = {
            "flotilla.task.id": task.id,
            "flotilla.capability": task.capability,
            "flotilla.scope": task.scope,
            "flotilla.priority": task.priority,
            "flotilla.data_class": task.data_class,
        }
        return self._tracer.begin(TASK, "consumer" if task.durable else "server", attributes, parent=task.options)

    def task_ended(self, span: Span | None, result: Result) -> None:
        """It has its result."""
        if span is None:
            return
        error = result.error.kind.value if isinstance(result.error, ErrorBody) else ""
        attributes: dict[str, str | int | float] = {
            "flotilla.outcome": error or "ok",
            "flotilla.attempts": len(result.attempts),
            "flotilla.queued_ms": result.queued_ms,
        }
        if not error:
            attributes |= {"flotilla.zone": str(result.zone), "flotilla.pool": result.pool}
        span.end(attributes, error=error)

    def task_nakked(self, span: Span | None, why: str = NAKKED) -> None:
        """It leaves this orchestrator without a result: a durable one goes back to its stream. Nothing if it has one."""
        if span is not None:
            span.end({"flotilla.outcome": why}, error="" if why == NAKKED else why)

    def attempt_began(self, task: Task, route: Route, parent: Span | None) -> Span | None:
        """A request goes out; its span is shown only if it is ended: one that finds no slot is no attempt."""
        if parent is None:
            return None
        attributes = {
            gen_ai.OPERATION: gen_ai.operation_of(task.capability),
            gen_ai.REQUEST_MODEL: route.model,
            "flotilla.capability": task.capability,
            "flotilla.zone": route.zone,
            "flotilla.pool": route.pool,
        }
        return self._tracer.begin(ATTEMPT, "client", attributes, parent=parent)


def options_of(task: Task, span: Span | None, redaction: Callable[[], RedactionPolicy]) -> AttemptOptions:
    """What the worker gets: see `_context`; with vaults or a grant also whose task it is, and what belongs to these."""
    if task.capability in LOCAL_CAPABILITIES:
        said = redaction()
        return msgspec.structs.replace(
            _context(task, span), scope=task.scope, redaction=None if said == EVERY_TYPE else said
        )
    if task.options.approval is not None:
        return msgspec.structs.replace(_context(task, span), scope=task.scope, approval=task.options.approval)
    return _context(task, span)


def _context(task: Task, span: Span | None) -> AttemptOptions:
    """The attempt's own context, or the caller's when traces are off here."""
    if span is not None:
        return AttemptOptions(traceparent=span.traceparent, tracestate=span.tracestate)
    given = task.options
    if given is NO_OPTIONS:
        return _NO_TRACE
    return AttemptOptions(traceparent=given.traceparent, tracestate=given.tracestate)


def end_attempt(span: Span, replica: str, last_word: Finished | Failed | str) -> None:
    """An attempt has the worker's last word, or ended without one in the way that is named."""
    attributes: dict[str, str | int] = {"flotilla.replica": replica}
    if isinstance(last_word, str):
        span.end({**attributes, "flotilla.outcome": last_word}, error=last_word)
        return
    usage = last_word.usage
    if usage.input_tokens or usage.output_tokens:
        attributes |= {gen_ai.INPUT_TOKENS: usage.input_tokens, gen_ai.OUTPUT_TOKENS: usage.output_tokens}
    if isinstance(last_word, Finished):
        attributes |= {gen_ai.PROVIDER: last_word.provider, gen_ai.RESPONSE_MODEL: last_word.model}
        span.end({**attributes, "flotilla.outcome": "ok"})
    else:
        span.end({**attributes, "flotilla.outcome": last_word.kind.value}, error=last_word.kind.value)


NO_TRACES: Final = Traces(NO_TRACER)
