"""The cache before the pools: a task that may have another's answer gets it, and else runs there."""

import asyncio
import time
from typing import Any, Final

import msgspec

from flotilla.capabilities.capability import Capability
from flotilla.capabilities.catalogue import Catalogue
from flotilla.contracts.clock import unix_ms
from flotilla.contracts.failures import ErrorBody, ErrorKind
from flotilla.contracts.policy_rules import Rules
from flotilla.contracts.results import Result
from flotilla.routing.compiled import InForce
from orchestrator.caching.flights import Flight, Flights, Given, Turn, Word
from orchestrator.caching.keys import key_of
from orchestrator.caching.records import KeptAnswer, answer_of, result_of
from orchestrator.caching.rules import plan_for, wants
from orchestrator.caching.store import AnswerPlace
from orchestrator.execution.executors import Executor
from orchestrator.execution.task_reports import TaskReports
from orchestrator.reporting.metrics import OrchestratorMetrics
from orchestrator.state.attempt import OnPiece
from orchestrator.state.tasks import Task

OWN_TIME_SHARE: Final = 0.25
OWN_TIME_S_MAX: Final = 30.0
"""Of what a task has left when it begins to wait for another's answer, what it keeps to run by itself; see `patience_s`."""
PARKED_AFTER_S: Final = 0.2
"""A durable task that waits for longer leaves its room to others."""


class CachingExecutor:
    """Serves what the executor behind it serves."""

    def __init__(
        self,
        inner: Executor,
        flights: Flights,
        *,
        in_force: InForce,
        catalogue: Catalogue,
        reports: TaskReports,
        metrics: OrchestratorMetrics,
    ) -> None:
        self._inner = inner
        self._flights = flights
        self._in_force = in_force
        self._catalogue = catalogue
        self._reports = reports
        self._metrics = metrics
        self.capabilities: Final = inner.capabilities
        self.capacity: Final = inner.capacity
        self.total_capacity: Final = inner.total_capacity

    def wants(self, task: Task) -> bool:
        """Whether the caller or the policy has a task's answer kept, or another's given to it."""
        policy = self._in_force.policy
        if task.options.cache is None and not policy.caches:
            return False
        return wants(task, policy.rules_of(task.capability).cache)

    async def run(self, task: Task, on_piece: OnPiece | None = None) -> Result:
        """See `Executor`."""
        return await (self._run(task, on_piece) if self.wants(task) else self._inner.run(task, on_piece))

    async def _run(self, task: Task, on_piece: OnPiece | None) -> Result:
        policy = self._in_force.policy
        rules = policy.rules_of(task.capability)
        plan = plan_for(task, rules.cache)
        if plan is None:
            return await self._inner.run(task, on_piece)
        definition = self._catalogue.get(task.capability)
        key = key_of(task, definition, rules, policy.models_of(task.capability))
        place = AnswerPlace(scope=task.scope, capability=task.capability, key=key, ttl_s=plan.ttl_s)
        flight = None if plan.refresh else self._flights.of(place)
        if flight is None:
            return await self._run_alone(task, on_piece, place)
        word = await self._word_of(flight, task, patience_s(task, rules, time.monotonic()))
        if word is Turn.LEAD:
            return await self._lead(flight, task, on_piece)
        if word is Turn.ALONE:
            return await self._run_alone(task, on_piece, place)
        return await self._reports.of(task, self._give(task, *word, on_piece))

    async def _lead(self, flight: Flight, task: Task, on_piece: OnPiece | None) -> Result:
        """Run a task whose answer others wait for, or may come to wait for."""
        answer: KeptAnswer | None = None
        failed = False
        try:
            self._metrics.cache_missed(task.capability)
            result = await self._inner.run(task, on_piece)
            answer = answer_of(result, flight.place.key, unix_ms())
            failed = answer is None and not _was_cancelled(result)
        finally:
            flight.end(answer, failed=failed)
        return result

    async def _run_alone(self, task: Task, on_piece: OnPiece | None, place: AnswerPlace) -> Result:
        """Run a task that nobody waits for; its answer is kept all the same."""
        self._metrics.cache_missed(task.capability)
        result = await self._inner.run(task, on_piece)
        answer = answer_of(result, place.key, unix_ms())
        if answer is not None:
            self._flights.keep(place, answer)
        return result

    async def _word_of(self, flight: Flight, task: Task, patience_s: float) -> Word:
        """
        What the flight says; ALONE when it has not said anything for as long as the task may wait.

        A cancelled task is run alone too: that ends it at once.
        """
        turn = flight.join()
        try:
            await _wait(turn, task, patience_s)
        except BaseException:
            flight.leave(turn)
            raise
        if turn.done():
            return turn.result()
        flight.leave(turn)
        return Turn.ALONE

    async def _give(self, task: Task, answer: KeptAnswer, given: Given, on_piece: OnPiece | None) -> Result:
        if on_piece is not None:
            await on_piece(text_of(answer, self._catalogue.get(task.capability)))
        self._metrics.cache_hit(task.capability, kept=given is Given.KEPT, saved_usd=answer.cost_usd or 0.0)
        return result_of(answer, task, round((time.monotonic() - task.accepted_at) * 1000, 3))


def text_of(answer: KeptAnswer, definition: Capability | None) -> str:
    """An answer as the one piece of a stream: the field that pieces make up, or all of it as JSON."""
    path = None if definition is None else definition.text_field
    if path is None:
        return bytes(answer.output).decode()
    found: Any = msgspec.json.decode(answer.output)
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return found if isinstance(found, str) else bytes(answer.output).decode()


def patience_s(task: Task, rules: Rules, now_s: float) -> float:
    """How long a task may wait for another's answer: then it has time left to be run itself."""
    ends_at = task.deadline_at
    if rules.total_timeout_s is not None:
        ends_at = min(ends_at, task.accepted_at + rules.total_timeout_s)
    left_s = max(0.0, ends_at - now_s)
    return left_s - min(OWN_TIME_S_MAX, left_s * OWN_TIME_SHARE)


async def _wait(turn: "asyncio.Future[Word]", task: Task, timeout_s: float) -> None:
    """For a word, for the task's cancellation, or for so long."""
    cancelled = asyncio.ensure_future(task.cancelled.wait())
    ends: set[asyncio.Future[Any]] = {turn, cancelled}
    try:
        at_once_s = min(timeout_s, PARKED_AFTER_S)
        await asyncio.wait(ends, timeout=at_once_s, return_when=asyncio.FIRST_COMPLETED)
        if turn.done() or cancelled.done():
            return
        if task.park is not None:
            task.park(True)
        try:
            await asyncio.wait(ends, timeout=timeout_s - at_once_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if task.park is not None:
                task.park(False)
    finally:
        cancelled.cancel()


def _was_cancelled(result: Result) -> bool:
    return isinstance(result.error, ErrorBody) and result.error.kind is ErrorKind.CANCELLED
