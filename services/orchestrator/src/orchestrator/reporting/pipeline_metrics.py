"""What an orchestrator measures of pipelines. Labels are bounded: the pipelines of its files, and their steps."""

from typing import Final, Protocol

from flotilla.chassis.metrics import Counter, Gauge, Histogram, Sample
from flotilla.contracts.results import Result
from orchestrator.state.tasks import Task

Outcome = str
"""`ok`, the kind of an error, or `suspended`, `put_off` or `nakked` of a run that goes on later."""


class CountsRuns(Protocol):
    """The runs that an orchestrator works on (`pipelines/executor.py`)."""

    def counts(self) -> dict[str, int]:
        """How many, of each pipeline."""
        ...

    def idle_s(self) -> dict[str, float]:
        """How long the one of each pipeline that has waited longest for a step to end has waited."""
        ...


class PipelineMetrics:
    """
    Counts runs and steps, and shows what is in hand when asked.

    Attributes:
        runs: What is in hand, once pipelines are served.
    """

    def __init__(self) -> None:
        self.runs: CountsRuns | None = None
        self._steps: Final = Counter(
            "flotilla_pipeline_steps_total",
            "Tasks of pipelines' steps, by what became of them; `kept` had its result from before.",
            ("pipeline", "step", "outcome"),
        )
        self._step_s: Final = Histogram(
            "flotilla_pipeline_step_seconds", "From a step's task to its result.", ("pipeline", "step")
        )
        self._runs: Final = Counter(
            "flotilla_pipeline_runs_total",
            "Runs, by what became of them here; `suspended`, `put_off` (for want of a route) and `nakked` ones go on later.",
            ("pipeline", "path", "outcome"),
        )
        self._run_s: Final = Histogram(
            "flotilla_pipeline_run_seconds",
            "From a run's acceptance to its result, waits for approvals included.",
            ("pipeline", "path"),
        )
        self.instruments: Final = (
            self._steps,
            self._step_s,
            self._runs,
            self._run_s,
            Gauge("flotilla_pipeline_runs", "Runs in hand here.", ("pipeline",), self._in_hand),
            Gauge(
                "flotilla_pipeline_idle_seconds",
                "How long the run in hand here that has waited longest for a step to end has waited.",
                ("pipeline",),
                self._idle,
            ),
        )

    def step_ended(self, pipeline: str, step: str, result: Result, *, kept: bool) -> None:
        """A task of a step is over."""
        error = getattr(result.error, "kind", None)
        self._steps.add((pipeline, step, "kept" if kept else "ok" if error is None else error.value))
        if not kept:
            self._step_s.add((pipeline, step), result.latency_ms / 1000)

    def run_ended(self, task: Task, result: Result) -> None:
        """A run has its result."""
        error = getattr(result.error, "kind", None)
        self.run_left(task, "ok" if error is None else error.value)
        self._run_s.add((task.capability, _path(task)), result.latency_ms / 1000)

    def run_left(self, task: Task, outcome: Outcome) -> None:
        """A run is not in hand here any more."""
        self._runs.add((task.capability, _path(task), outcome))

    def run_put_off(self, pipeline: str) -> None:
        """A run that was suspended is due, and nobody can work on it now."""
        if self.runs is not None and pipeline in self.runs.counts():
            self._runs.add((pipeline, "durable", "put_off"))

    def _in_hand(self) -> list[Sample]:
        return [] if self.runs is None else [((name,), float(count)) for name, count in self.runs.counts().items()]

    def _idle(self) -> list[Sample]:
        return [] if self.runs is None else [((name,), idle_s) for name, idle_s in self.runs.idle_s().items()]


def _path(task: Task) -> str:
    return "durable" if task.durable else "interactive"
