"""What a run's result tells of its steps."""

import time
from collections.abc import Sequence
from typing import Final

import msgspec

from flotilla.contracts.attempts import Usage
from flotilla.contracts.failures import ErrorBody
from flotilla.contracts.headers import DataClass
from flotilla.contracts.results import Result, StepReport
from flotilla.pipelines.plan import StepTask
from orchestrator.state.tasks import NO_USAGE


class StepTally:
    """
    One step's tasks, counted.

    Attributes:
        name: Of the step.
        needs: The steps that had to end before it.
        usage: Of the tasks that this run made.
    """

    def __init__(self, step: StepTask, data_class: DataClass, needs: Sequence[str]) -> None:
        self._step = step
        self.name: Final = step.key.step
        self.needs: Final = list(needs)
        self._has_begun = False
        self._data_class: DataClass = data_class
        self._began_at = time.monotonic()
        self._ended_at = self._began_at
        self._last: Result | None = None
        self._tasks = 0
        self._failed = 0
        self._kept = 0
        self._cached = 0
        self._error = ""
        self._longest_ms = 0.0
        self.usage: Usage = NO_USAGE

    def begins(self) -> bool:
        """Say that a task of it is worked on now; whether it is the first."""
        begins, self._has_begun = not self._has_begun, True
        return begins

    def ended(self, result: Result, *, kept: bool, own: bool = True) -> None:
        """
        A task of it is over.

        Args:
            result: How.
            kept: Whether it was not worked on, since its result was there.
            own: Whether this run made it; what was made by a run that this one goes on with was paid for by that.
        """
        self._ended_at = time.monotonic()
        self._tasks += 1
        self._last = result
        self._kept += kept
        if own:
            self._cached += result.cached is True
            self.usage = self.usage + result.usage
            self._longest_ms = max(self._longest_ms, result.latency_ms)
        if isinstance(result.error, ErrorBody):
            self._failed += 1
            self._error = result.error.kind.value

    def report(self) -> StepReport:
        """For the run's result."""
        last = self._last
        return StepReport(
            name=self.name,
            capability=self._step.capability,
            status="failed" if self._failed else "succeeded" if self._tasks else "skipped",
            data_class=self._data_class,
            needs=self.needs,
            tasks=self._tasks,
            failed=self._failed,
            kept=self._kept,
            cached=self._cached,
            pool=last.pool if last else "",
            model=last.model if last else "",
            zone=last.zone if last else msgspec.UNSET,
            # Since the run was taken up, which was after its kept results were made.
            latency_ms=round(max((self._ended_at - self._began_at) * 1000, self._longest_ms), 3),
            usage=self.usage,
            reason=last.attempts[-1].reason if last and last.attempts else "",
            error=self._error,
        )
