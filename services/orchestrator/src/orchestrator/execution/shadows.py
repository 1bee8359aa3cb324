"""
Shadows: a share of the tasks goes to another route too, whose answer is compared with the result and never returned.

It happens after the caller has the result, in the background, and costs a slot only where one is free. What is kept of a task
meanwhile is its input and its output, within a bound; what is told is whether they agree, how long it took and what it cost.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from flotilla.contracts.clock import unix_ms
from flotilla.contracts.policy_rules import Shadow
from flotilla.contracts.results import Result
from flotilla.fabric.per_item import guarded
from flotilla.routing.types import Choice, Route
from orchestrator.economy.spend import SpendLedger
from orchestrator.execution.dependencies import Dependencies
from orchestrator.execution.parts import run_part, stop_parts
from orchestrator.execution.run_state import PartEnded
from orchestrator.execution.task_run import TaskRun
from orchestrator.reporting.events import NoEvents
from orchestrator.reporting.metrics import OrchestratorMetrics
from orchestrator.state.tasks import NO_USAGE, Task

logger = structlog.get_logger("orchestrator")

SHADOWS_MAX: Final = 16
"""In flight at a time, of one orchestrator."""
SHADOWS_BYTES_MAX: Final = 16 * 1024 * 1024
"""Of their inputs and of the outputs that they are compared with."""
SHADOW_DEADLINE_S: Final = 60.0
SHADOW_LABEL: Final = "shadow"
"""What is spent on shadows has it in the ledger, besides the task's own labels."""


class Shadows:
    """Sends tasks to shadows, and compares."""

    def __init__(
        self,
        dependencies: Dependencies,
        metrics: OrchestratorMetrics,
        spend: SpendLedger | None = None,
        *,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._with = dependencies
        # Callers and dashboards hear of a task's own attempts; those of a shadow are not its.
        self._silent = dependencies.with_events(NoEvents())
        self._metrics = metrics
        self._spend = spend
        self._draw = draw
        self._running: set[asyncio.Task[PartEnded]] = set()
        self._held_bytes = 0

    def consider(self, task: Task, result: Result, shadow: Shadow) -> None:
        """
        Have the shadow serve a task too that went well, if it is one of the share; returns at once.

        What needs an approval has one for the task's own routes, or none. Raises nothing: the task has its result already.
        """
        with guarded("shadows", task.id):
            self._consider(task, result, shadow)

    def _consider(self, task: Task, result: Result, shadow: Shadow) -> None:
        if self._draw() >= shadow.share or task.is_gated or task.options.approval is not None:
            return
        output = result.output
        if not isinstance(output, msgspec.Raw):
            return
        fleet = self._with.fleet
        size_bytes = len(task.body) + len(output)
        room = len(self._running) < SHADOWS_MAX and self._held_bytes + size_bytes <= SHADOWS_BYTES_MAX
        route = self._with.router.shadow_of(task.view, fleet.view, fleet.busy) if room else None
        if route is None or len(fleet.lane(route.pool)):
            self._metrics.shadowed(
                task.capability, pool=shadow.pool, model=shadow.model or "", outcome="skipped", cost_usd=None
            )
            return
        choice = Choice(route=route, reason="shadow")
        run = TaskRun.limited(self._silent, _again(task), choice, once=True)
        running = asyncio.ensure_future(run_part(run, choice))
        self._running.add(running)
        self._held_bytes += size_bytes

        def ended(done: "asyncio.Task[PartEnded]") -> None:
            self._running.discard(done)
            self._held_bytes -= size_bytes
            run.task.forget_input()
            with guarded("shadows", task.id):
                if self._spend is not None:
                    self._spend.record(run.task, run.state.paid)
                if not done.cancelled():
                    self._compare(task, output, route, done)

        running.add_done_callback(ended)

    async def stop(self) -> None:
        """End those in flight; nothing is told of them."""
        await stop_parts(tuple(self._running))

    def _compare(self, task: Task, output: msgspec.Raw, route: Route, done: "asyncio.Task[PartEnded]") -> None:
        error = done.exception()
        if error is not None:
            logger.warning("shadow_failed", task=task.id, capability=task.capability, error=type(error).__name__)
        part = None if error is not None else done.result()
        outcome = self._outcome(task.capability, output, part)
        report = part.state.attempts[-1] if part is not None and part.state.attempts else None
        if report is None:
            # The last slot was taken meanwhile.
            outcome = "skipped"
        usage = NO_USAGE if part is None else part.state.usage
        self._metrics.shadowed(
            task.capability, pool=route.pool, model=route.model, outcome=outcome, cost_usd=usage.cost_usd
        )
        if report is not None:
            self._with.events.tell(
                task,
                "shadow_compared",
                route=route,
                replica=report.replica,
                latency_ms=report.latency_ms,
                cost_usd=usage.cost_usd,
                outcome=outcome,
            )

    def _outcome(self, capability: str, output: msgspec.Raw, part: PartEnded | None) -> str:
        if part is None or part.finished is None:
            return "failed"
        key_of = self._with.attempts.outputs.agreement_key
        agree = key_of(output, capability=capability) == key_of(part.finished.output, capability=capability)
        return "agreed" if agree else "differed"


def _again(task: Task) -> Task:
    """The same task for a shadow: its input outlives the task's own end, and its deadline is the shadow's."""
    labels = {**task.options.labels, SHADOW_LABEL: "true"}
    return Task(
        task_id=task.id,
        scope=task.scope,
        capability=task.capability,
        priority="low",
        data_class=task.data_class,
        body=task.body,
        options=msgspec.structs.replace(task.options, labels=labels),
        accepted_unix_ms=unix_ms(),
        deadline_ms=round(SHADOW_DEADLINE_S * 1000),
        durable=False,
    )
