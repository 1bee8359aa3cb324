"""One run of a pipeline, from its input to its result: performs what the planner names, and tells it what came of it."""

import asyncio
import time
from typing import Final

import msgspec

from flotilla.capabilities.errors import AttemptError
from flotilla.capabilities.json_schema import check_transport
from flotilla.chassis.tracing import Context, Span
from flotilla.contracts.clock import unix_ms
from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorBody, ErrorKind
from flotilla.contracts.headers import DataClass
from flotilla.contracts.redaction import task_data_class
from flotilla.contracts.results import Result, encode
from flotilla.fabric.errors import FabricError
from flotilla.pipelines.definition import Pipeline
from flotilla.pipelines.plan import Done, Failed, Plan, Run, StepKey, StepOutcome, StepTask, Waiting
from flotilla.pipelines.planner import OUTPUT, Planner
from flotilla.routing.data_classes import highest
from orchestrator.approvals.elsewhere import run_elsewhere
from orchestrator.approvals.terms import Terms
from orchestrator.execution.dependencies import AwaitingApprovalError, NoRouteNowError
from orchestrator.pipelines.dependencies import PipelineDependencies, RunStep
from orchestrator.pipelines.keeping import keep
from orchestrator.pipelines.routes_away import RoutesAway
from orchestrator.pipelines.step_ended import StepEnded
from orchestrator.pipelines.step_gates import enter, gate_of, whole
from orchestrator.pipelines.step_messages import began, over, tell_end
from orchestrator.pipelines.step_results import RunResults
from orchestrator.pipelines.step_tally import StepTally
from orchestrator.pipelines.step_tasks import id_of, task_of
from orchestrator.state.attempt import OnPiece
from orchestrator.state.tasks import NO_USAGE, Task

DEADLINE_MARGIN_S: Final = 0.5
"""The steps have the run's deadline and say so themselves; whoever does not is not waited for longer."""
OUTPUTS_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of the steps of one run, all of which it holds until its end."""

_AS_THEY_ARE: Final = frozenset(
    {ErrorKind.DEADLINE_EXCEEDED, ErrorKind.CANCELLED, ErrorKind.APPROVAL_DENIED, ErrorKind.APPROVAL_EXPIRED}
)
"""Kinds of a step's failure that are the run's too."""

ROUTE_LOOK_S: Final = 30.0
"""When a run that waits for a route is looked at again; it is not begun while its capability has no capacity."""

GIVE_BACK_S: Final = 30.0
"""A run that goes back to its stream waits so long for what is under way: what that gives is kept, and not asked again."""

_Ended = tuple[StepTask, StepOutcome] | BaseException | None
"""None: whatever is under way is not waited for any longer."""


class PipelineRun:
    """One run of a pipeline, from its task to the result."""

    def __init__(
        self,
        task: Task,
        pipeline: Pipeline,
        dependencies: PipelineDependencies,
        run_step: RunStep,
        *,
        run_id: str,
        depth: int,
    ) -> None:
        self._task = task
        self._pipeline = pipeline
        self._needs = dependencies
        self._run_step = run_step
        self._run_id = run_id
        self._depth = depth
        self._kept: RunResults | None = None
        self._ended: asyncio.Queue[_Ended] = asyncio.Queue()
        self._children: set[asyncio.Task[None]] = set()
        self._tallies: dict[str, StepTally] = {}
        self._outputs_bytes = 0
        self._context: Context = task.options
        self._under_way = 0
        self.went_on_at = time.monotonic()
        self._awaiting: list[AwaitingApprovalError] = []
        self._classes: list[DataClass] = [task.data_class]
        self._away = RoutesAway(lambda: self._under_way, lambda: self._ended.put_nowait(None))
        self._goes_back: NoRouteNowError | FabricError | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._streamed: str | None = None
        self._on_piece: OnPiece | None = None

    @property
    def data_class(self) -> DataClass:
        """Of what the result was made from, once there is one; doubt means the highest of all of the run."""
        return highest(self._classes)

    def trace_under(self, span: Span) -> None:
        """Have the spans of the steps under the run's own."""
        self._context = span

    def stream(self, step: str | None, on_piece: OnPiece) -> None:
        """Pass on the pieces of a step; None where none of them are the run's own."""
        self._streamed, self._on_piece = step, on_piece

    async def result(self) -> Result:
        """
        Work until the run has its result; failures are results too.

        Raises:
            NoRouteNowError: A durable run cannot go on now and may later: it goes back to its stream, and goes on there.
            AwaitingApprovalError: Nothing is left to do before somebody has decided, or a route is back.
        """
        task = self._task
        left_s = max(0.0, task.deadline_at - time.monotonic()) + DEADLINE_MARGIN_S
        cancelled = asyncio.ensure_future(self._tell_when_cancelled())
        # No `asyncio.timeout`: a task's coroutine begins without a task of asyncio (`fabric/eager.py`).
        later = asyncio.get_running_loop().call_later
        self._timers = [later(left_s, lambda: self._ended.put_nowait(self._overdue()))]
        try:
            return await self._work()
        finally:
            for timer in self._timers:
                timer.cancel()
            self._away.stop()
            cancelled.cancel()
            for child in self._children:
                child.cancel()
            if self._children:
                await asyncio.wait(self._children)
            self._needs.outputs.give_back(task.scope, self._outputs_bytes)
            if self._kept is not None:
                self._kept.close()

    async def _work(self) -> Result:
        task = self._task
        if task.durable:
            self._kept = await self._needs.results.begin(task.scope, task.id, self._run_id, self._pipeline)
            self._pipeline = self._kept.pipeline
        try:
            await self._pass_gate()
        except TaskError as error:
            return self._failed(error.body)
        planner = Planner(
            self._pipeline, msgspec.json.decode(task.body), task.data_class, operator=self._needs.policy().declassified
        )
        said: Plan = planner.start()
        while True:
            if isinstance(said, Done):
                self._classes[1:] = [said.data_class]
                return self._succeeded(said)
            if isinstance(said, Failed):
                return self._failed_at(said)
            if isinstance(said, Run) and self._goes_back is None:
                for step in said.steps:
                    self._start(step)
            try:
                said = await self._heard(planner)
            except TaskError as error:
                return self._failed(error.body)

    async def _pass_gate(self) -> None:
        """Have the run's input approved, where the policy says so; a run that is a step has passed the gate before it."""
        needs, task = self._needs, self._task
        step = whole(task) if self._depth == 1 and needs.policy().gates else None
        gate = None if step is None else gate_of(needs, step, task.scope, task.data_class)
        if step is not None and gate is not None:
            await enter(needs, step, gate, task, self._kept)

    async def _heard(self, planner: Planner) -> Plan:
        """
        What follows from the next task of a step that ends.

        Raises:
            TaskError: The run is over.
            NoRouteNowError: See `result`.
        """
        if self._goes_back is not None and (not self._under_way or self._away.are_all):
            raise self._goes_back
        if not self._under_way and self._awaiting:
            raise _soonest(self._awaiting)
        ended = await self._ended.get()
        if ended is None:
            if self._goes_back is not None:
                raise self._goes_back
            if not self._away.are_all:
                return Waiting()
            until_ms = unix_ms() + int(ROUTE_LOOK_S * 1000)
            raise _soonest([*self._awaiting, AwaitingApprovalError(until_ms, capability=self._away.capability)])
        self._under_way -= 1
        self.went_on_at = time.monotonic()
        if isinstance(ended, AwaitingApprovalError):
            self._awaiting.append(ended)
            return Waiting()
        if self._task.durable and isinstance(ended, NoRouteNowError | FabricError):
            if self._goes_back is None:
                self._goes_back = ended
                self._timers.append(asyncio.get_running_loop().call_later(GIVE_BACK_S, self._ended.put_nowait, None))
            return Waiting()
        if isinstance(ended, BaseException):
            raise ended
        step, outcome = ended
        return planner.record(step.key, outcome)

    async def _tell_when_cancelled(self) -> None:
        await self._task.cancelled.wait()
        self._ended.put_nowait(TaskError(ErrorKind.CANCELLED, "cancelled by the caller"))

    def _start(self, step: StepTask) -> None:
        self._under_way += 1
        self.went_on_at = time.monotonic()
        planned = highest((step.data_class, self._needs.at_least))
        data_class = task_data_class(step.capability, planned, planned)
        tally = self._tallies.get(step.key.step)
        if tally is None:
            follows = next((one.follows for one in self._pipeline.steps if one.name == step.key.step), ())
            tally = self._tallies[step.key.step] = StepTally(step, data_class, follows)
        kept = self._kept.of(step, data_class) if self._kept is not None else None
        if kept is not None:
            self._end(step, tally, kept, kept=True)
            return
        if tally.begins():
            self._needs.events.tell(self._task, "step_started", step=tally.name, needs=tally.needs)
            if self._task.on_step is not None:
                self._task.on_step(began(step))
        child = asyncio.ensure_future(self._step(step, data_class, tally))
        self._children.add(child)
        child.add_done_callback(self._children.discard)

    async def _step(self, step: StepTask, data_class: DataClass, tally: StepTally) -> None:
        try:
            gate = gate_of(self._needs, step, self._task.scope, data_class)
            ended = await self._worked(step, data_class, gate)
            if self._kept is not None:
                ended = await keep(self._kept, step, data_class, ended, gated=gate is not None)
            self._end(step, tally, ended, kept=False)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001  (whoever waits for the run raises it)
            self._ended.put_nowait(error)

    async def _worked(self, step: StepTask, data_class: DataClass, gate: Terms | None) -> StepEnded:
        """How a step's task ended; of one that was refused too."""
        task, context, needs = self._task, self._context, self._needs
        child = task_of(step, task, data_class, context=context, pipelines=needs.pipelines)
        self._away.follow(child)
        capability = needs.catalogue.get(step.capability)
        opened = None
        run_id, depth = id_of(self._run_id, step.key), self._depth
        on_piece = self._on_piece if step.key.step == self._streamed else None
        try:
            check_transport(step.input, is_decoded=True)
            if capability is not None:
                capability.decode_input(step.input)
            if gate is not None:
                passed_by = await run_elsewhere(
                    child,
                    gate.zones,
                    lambda kept_out: self._run_step(kept_out, on_piece, run_id=run_id, depth=depth),
                    goes_elsewhere=needs.goes_elsewhere,
                )
                if passed_by is not None:
                    return passed_by
                opened = await enter(needs, step, gate, child, self._kept)
        except TaskError as error:
            return StepEnded(child.failed(error.body), data_class)
        if opened is not None:
            child = task_of(step, task, data_class, context=context, pipelines=needs.pipelines, opened=opened)
        ended = await self._run_step(child, on_piece, run_id=run_id, depth=depth)
        return ended if opened is None else StepEnded(opened.on_time(ended.result), ended.data_class)

    def _end(self, step: StepTask, tally: StepTally, ended: StepEnded, *, kept: bool) -> None:
        """A task of a step is over."""
        result, data_class = ended
        self._classes.append(data_class)
        tally.ended(result, kept=kept, own=not kept or self._run_id == self._task.id)
        if self._task.on_step is not None:
            self._task.on_step(over(step, result))
        self._needs.metrics.step_ended(self._pipeline.name, tally.name, result, kept=kept)
        if isinstance(result.output, msgspec.Raw):
            refusal = self._hold(len(result.output), tally.name)
            if refusal is not None:
                self._ended.put_nowait(refusal)
                return
            tell_end(self._needs.events, self._task, tally, result, kept=kept)
            outcome = StepOutcome(status="succeeded", output=result.output, data_class=data_class)
        else:
            error = result.error
            body = error if isinstance(error, ErrorBody) else _body(ErrorKind.INTERNAL, "the step gave no output")
            tell_end(self._needs.events, self._task, tally, result, kept=kept, error=body.kind.value)
            if (
                body.kind is ErrorKind.DEADLINE_EXCEEDED
                and time.monotonic() >= self._task.deadline_at - DEADLINE_MARGIN_S
            ):
                # The run's own deadline: no step may be passed over for it.
                self._ended.put_nowait(self._overdue())
                return
            outcome = StepOutcome(status="failed", error=body, data_class=data_class)
        self._ended.put_nowait((step, outcome))

    def _hold(self, size_bytes: int, step: str) -> Exception | None:
        """Hold an output until the run is over; why not, where there is no room for it."""
        if self._outputs_bytes + size_bytes > OUTPUTS_BYTES_MAX:
            text = f"the outputs of the run's steps have more than {OUTPUTS_BYTES_MAX} bytes"
            return TaskError(ErrorKind.TOO_LARGE, text, details={"step": step})
        if not self._needs.outputs.take(self._task.scope, size_bytes):
            if self._task.durable:
                return NoRouteNowError()
            return TaskError(ErrorKind.NO_CAPACITY, "this orchestrator holds no more outputs of runs now")
        self._outputs_bytes += size_bytes
        return None

    def _overdue(self) -> TaskError:
        details = {"pipeline": self._pipeline.name}
        return TaskError(ErrorKind.DEADLINE_EXCEEDED, "the run's deadline passed", details=details)

    def _succeeded(self, done: Done) -> Result:
        capability = self._needs.catalogue.get(self._task.capability)
        try:
            if capability is not None:
                capability.check_form(done.output)
        except AttemptError as error:
            return self._failed_at(Failed(StepKey(OUTPUT), _body(ErrorKind.BAD_REQUEST, str(error))))
        result = self._whole(self._task.failed(_body(ErrorKind.INTERNAL, "")))
        result = msgspec.structs.replace(result, status="ok", output=done.output, error=msgspec.UNSET)
        size_bytes = len(encode(result))
        if size_bytes > self._needs.payload_bytes_max:
            text = f"the result has {size_bytes} bytes; at most {self._needs.payload_bytes_max} can be sent"
            return self._failed(_body(ErrorKind.TOO_LARGE, text))
        return result

    def _failed_at(self, failed: Failed) -> Result:
        inner = failed.error
        if inner.kind in _AS_THEY_ARE:
            return self._failed(msgspec.structs.replace(inner, details={**inner.details, "step": failed.step.step}))
        details = {**inner.details, "step": failed.step.step, "kind": inner.kind.value}
        if failed.step.index is not None:
            details["index"] = failed.step.index
        text = f"step {failed.step}: {inner.message}"
        return self._failed(
            ErrorBody(kind=ErrorKind.STEP_FAILED, message=text, retryable=inner.retryable, details=details)
        )

    def _failed(self, error: ErrorBody) -> Result:
        return self._whole(self._task.failed(error))

    def _whole(self, result: Result) -> Result:
        """With what its steps were, and cost."""
        usage = NO_USAGE
        for tally in self._tallies.values():
            usage = usage + tally.usage
        steps = [tally.report() for tally in self._tallies.values()]
        return msgspec.structs.replace(result, queued_ms=0.0, usage=usage, steps=steps)


def _body(kind: ErrorKind, message: str) -> ErrorBody:
    return ErrorBody(kind=kind, message=message, retryable=kind.retryable)


def _soonest(awaiting: list[AwaitingApprovalError]) -> AwaitingApprovalError:
    """All that a run waits for, as one."""
    requests = tuple(request for each in awaiting for request in each.requests)
    # Where a decision is waited for too, what it lets go on must not wait for a route.
    capability = "" if requests else next((each.capability for each in awaiting if each.capability), "")
    return AwaitingApprovalError(min(each.until_unix_ms for each in awaiting), requests, capability=capability)
