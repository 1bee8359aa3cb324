"""Events, metrics and spans of tasks that an executor answers itself, as the dispatcher tells them of its own."""

from collections.abc import Callable, Coroutine
from typing import Any

from flotilla.chassis.tracing import Span
from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorBody, ErrorKind
from flotilla.contracts.results import Result
from orchestrator.execution.crashes import crashed, goes_back
from orchestrator.reporting.events import Events
from orchestrator.reporting.metrics import OrchestratorMetrics
from orchestrator.reporting.traces import Traces
from orchestrator.state.tasks import Task

OnSpan = Callable[[Span], None]


class TaskReports:
    """Tells of the beginning and the end of every task: events, metrics and a span."""

    def __init__(self, events: Events, metrics: OrchestratorMetrics, traces: Traces) -> None:
        self._events = events
        self._metrics = metrics
        self._traces = traces

    async def of(self, task: Task, work: Coroutine[Any, Any, Result], on_span: OnSpan | None = None) -> Result:
        """
        Await the result of a task, and tell of its beginning and end; a TaskError is a failed result, and so is a crash.

        Args:
            task: What is told of.
            work: Gives its result; begins after `on_span`.
            on_span: Called with the task's span, unless traces are off: those of its parts belong under it.

        Raises:
            NoRouteNowError, FabricError: A durable task goes back to its stream.
        """
        span = self._traces.task_began(task)
        if on_span is not None and span is not None:
            on_span(span)
        self._events.tell(task, "queued")
        try:
            result = await work
        except TaskError as error:
            result = task.failed(error.body)
        except Exception as error:
            if goes_back(task, error):
                self._traces.task_nakked(span)
                raise
            result = task.failed(crashed(task).body)
        except BaseException:
            self._traces.task_nakked(span, "interrupted")
            raise
        finally:
            task.forget_input()
        if isinstance(result.error, ErrorBody):
            kind = "cancelled" if result.error.kind is ErrorKind.CANCELLED else "failed"
            self._events.tell(task, kind, error=result.error.kind.value)
        else:
            self._events.tell(
                task,
                "finished",
                latency_ms=result.latency_ms,
                cost_usd=result.usage.cost_usd,
                cached=result.cached is True,
            )
        self._metrics.task_ended(task, result, None)
        self._traces.task_ended(span, result)
        return result
