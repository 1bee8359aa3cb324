"""Tasks in hand: each is run to exactly one result, and can be found, asked about and cancelled while it is held."""

from collections.abc import Callable
from typing import Final

from flotilla.contracts.errors import TaskError
from flotilla.contracts.experiments import SPLIT
from flotilla.contracts.failures import ErrorKind
from flotilla.contracts.policy_rules import Rules
from flotilla.contracts.results import Result, encode
from orchestrator.economy.spend import SpendLedger
from orchestrator.execution.crashes import crashed, goes_back
from orchestrator.execution.dependencies import Dependencies
from orchestrator.execution.shadows import Shadows
from orchestrator.execution.task_run import TaskRun
from orchestrator.reporting.metrics import OrchestratorMetrics
from orchestrator.reporting.traces import NO_TRACES, Traces
from orchestrator.state.attempt import OnPiece
from orchestrator.state.outcomes import Ended
from orchestrator.state.tasks import Task

HEADERS_BYTES_MAX: Final = 1024
"""Of a result, which the server counts too."""
ENVELOPE_BYTES_MAX: Final = 64 * 1024
"""Around an output: a result that has so much room needs no closer look."""


class Dispatcher:
    """
    Runs tasks.

    Attributes:
        shadows: Compares other routes with the results.
        held: The runs of tasks in hand, by scope and id.
        on_split: Called with each task that a split has routed, its result, and the rules that it had.
    """

    def __init__(
        self,
        dependencies: Dependencies,
        metrics: OrchestratorMetrics,
        traces: Traces = NO_TRACES,
        *,
        payload_bytes_max: int,
        spend: SpendLedger | None = None,
    ) -> None:
        self._with = dependencies
        self._result_bytes_max = payload_bytes_max - HEADERS_BYTES_MAX
        self._metrics = metrics
        self._traces = traces
        self._spend = spend
        self.shadows: Final = Shadows(dependencies, metrics, spend)
        self.held: Final[dict[tuple[str, str], TaskRun]] = {}
        self.on_split: Callable[[Task, Result, Rules], None] = _nothing

    async def cancel(self, scope: str, task_id: str) -> str | None:
        """Cancel a task that is held here; gives `running` or `waiting`, None when it is not."""
        run = self.held.get((scope, task_id))
        if run is None:
            return None
        run.task.cancelled.set()
        running = run.running()
        for attempt in running:
            await self._with.attempts.abandon(attempt, Ended.CANCELLED)
        return "running" if running else "waiting"

    async def run(self, task: Task, on_piece: OnPiece | None = None) -> Result:
        """
        Take a task to its result; failures are results too, and so is a crash.

        Raises:
            FabricError: Of a durable task: the server could not be asked or told.
        """
        key = (task.scope, task.id)
        run = self.held[key] = TaskRun(self._with, task, on_piece)
        span = run.state.span = self._traces.task_began(task)
        self._with.events.tell(task, "queued")
        try:
            result = await run.run()
            self._check_size(result)
        except TaskError as error:
            return self._failed(run, error)
        except Exception as error:
            if goes_back(task, error):
                self._traces.task_nakked(span)
                raise
            return self._failed(run, crashed(task))
        except BaseException:
            self._traces.task_nakked(span, "interrupted")
            raise
        else:
            if run.state.rules.shadow is not None:
                self.shadows.consider(task, result, run.state.rules.shadow)
        finally:
            run.leave()
            if self.held.get(key) is run:
                del self.held[key]
            # An attempt that was abandoned is listened to for a while yet, and nobody counts what it would keep.
            task.forget_input()
        if run.state.paid:
            self._record_spend(run)
        # Counted and told of after the caller has its answer.
        self._with.attempts.loop.call_soon(self._finished, run, result)
        return result

    def crashed(self, task: Task) -> Result:
        """The result of a task whose executor raised what is being handled now, and told nothing of it."""
        result = task.failed(crashed(task).body)
        self._metrics.task_ended(task, result, None)
        return result

    def _failed(self, run: TaskRun, error: TaskError) -> Result:
        kind = "cancelled" if error.kind is ErrorKind.CANCELLED else "failed"
        self._with.events.tell(run.task, kind, error=error.kind.value)
        self._record_spend(run)
        # The attempt may have gone well: then its result was too large.
        run.record_success()
        result = run.state.failed(error.body)
        self._ended(run, result, None)
        return result

    def _record_spend(self, run: TaskRun) -> None:
        """Before the result is sent or committed: should this process die, the server has had both, or not the result."""
        if self._spend is not None and run.state.paid:
            self._spend.record(run.task, run.state.paid)

    def _finished(self, run: TaskRun, result: Result) -> None:
        route = run.route
        run.record_success()
        self._with.events.tell(
            run.task,
            "finished",
            route=route,
            replica=result.replica,
            latency_ms=result.latency_ms,
            cost_usd=result.usage.cost_usd,
        )
        finished = run.finished if len(result.attempts) == 1 else None
        # The model's time in the attempt that went well.
        self._ended(run, result, None if finished is None else finished.timings.provider_ms)

    def _check_size(self, result: Result) -> None:
        """The worker kept its output within what can be sent; labels and attempts come on top of that here."""
        if len(result.output or b"") <= self._result_bytes_max - ENVELOPE_BYTES_MAX:
            return
        size_bytes = len(encode(result))
        if size_bytes > self._result_bytes_max:
            raise TaskError(
                ErrorKind.TOO_LARGE,
                f"the result has {size_bytes} bytes; at most {self._result_bytes_max} can be sent",
                details={"limit_bytes": self._result_bytes_max, "size_bytes": size_bytes},
            )

    def _ended(self, run: TaskRun, result: Result, provider_ms: float | None) -> None:
        self._metrics.task_ended(run.task, result, provider_ms)
        if run.state.rules.strategy == SPLIT:
            self.on_split(run.task, result, run.state.rules)
        if run.state.kept is not None:
            self._metrics.escalated(run.task.capability)
        self._traces.task_ended(run.state.span, result)


def _nothing(_task: Task, _result: Result, _rules: Rules) -> None:
    pass
