"""
What of a run comes next: pure, without a clock.

`Planner` holds what it was told, so that each outcome costs the step it belongs to and not the run. `plan` is the same
over all outcomes at once.
"""

import hashlib
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec

from flotilla.contracts.failures import ErrorBody, ErrorKind
from flotilla.contracts.headers import DataClass
from flotilla.pipelines.data_flow import DataFlow
from flotilla.pipelines.definition import ITEMS_MAX, Approval, Pipeline, Step
from flotilla.pipelines.errors import MissingFieldError, StepError, ValueBoundError
from flotilla.pipelines.plan import Done, Failed, Plan, Run, StepKey, StepOutcome, StepTask, Waiting
from flotilla.pipelines.references import AbsentError, Reference, reach
from flotilla.pipelines.step_state import StepState
from flotilla.pipelines.values import OutOfBoundsError, Template, encoded
from flotilla.routing.data_classes import NONE_OF_THE_OPERATOR, Declassified

OUTPUT: Final = "output"
"""Stands for the step where the pipeline's own output could not be made."""


class Planner:
    """
    The state of one run.

    Args:
        task_input: The task's input, decoded and valid for the pipeline's schema.
        task_class: The task's data class.
        operator: What the policy declassifies.
    """

    __slots__ = (
        "_end",
        "_failed_whole",
        "_flow",
        "_followers",
        "_input",
        "_left",
        "_new",
        "_pipeline",
        "_states",
        "_steps",
        "_waits_for",
    )

    def __init__(
        self,
        pipeline: Pipeline,
        task_input: Any,
        task_class: DataClass,
        *,
        operator: Declassified = NONE_OF_THE_OPERATOR,
    ) -> None:
        self._pipeline = pipeline
        self._input = task_input
        self._flow = DataFlow(pipeline, task_class, operator=operator)
        self._steps = {step.name: step for step in pipeline.steps}
        self._states: dict[str, StepState] = {}
        self._waits_for = {step.name: len(step.follows) for step in pipeline.steps}
        self._followers: dict[str, list[Step]] = {step.name: [] for step in pipeline.steps}
        for step in pipeline.steps:
            for name in step.follows:
                self._followers[name].append(step)
        self._left = len(pipeline.steps)
        self._new: list[StepTask] = []
        self._end: Done | Failed | None = None
        self._failed_whole: dict[str, str] = {}

    def start(self) -> Plan:
        """What a run begins with; to be called once, first."""
        self._begin(deque(step for step in self._pipeline.steps if not step.follows))
        return self._said()

    def record(self, key: StepKey, outcome: StepOutcome) -> Plan:
        """
        Take the outcome of a task that was to be started, and say what is new.

        Raises:
            ValueError: No such task was named, or it has ended before.
        """
        state = self._states.get(key.step)
        if state is None or not state.is_running(key.index):
            raise ValueError(f"{key} is no task of this run that is under way")
        if self._end is None:
            step = self._steps[key.step]
            self._flow.ended(step, outcome.data_class, failed=outcome.status != "succeeded")
            self._take(step, state, key, outcome)
            self._begin(deque(self._ended(step) if state.is_over else ()))
        return self._said()

    def _said(self) -> Plan:
        if self._end is not None:
            return self._end
        if not self._new:
            return Waiting()
        new = tuple(self._new)
        self._new.clear()
        return Run(new)

    def _begin(self, free: deque[Step]) -> None:
        """Begin the steps that are free, those that become free when some of them end at once, and so on."""
        while free and self._end is None:
            step = free.popleft()
            data_class = self._flow.enter(step)
            state = StepState(data_class)
            self._states[step.name] = state
            self._open(step, state)
            if state.is_over:
                free.extend(self._ended(step))
        if self._left == 0 and self._end is None:
            self._finish()

    def _ended(self, step: Step) -> list[Step]:
        """Count a step that is over; those that wait for nothing else now."""
        self._left -= 1
        free: list[Step] = []
        for follower in self._followers[step.name]:
            self._waits_for[follower.name] -= 1
            if self._waits_for[follower.name] == 0:
                free.append(follower)
        return free

    def _open(self, step: Step, state: StepState) -> None:
        """Leave the step out, fail it, or name its first tasks."""
        try:
            if step.reads and all(self._states[name].is_left_out for name in step.reads):
                self._leave_out(step, state, with_its_reads=True)
                return
            if step.when is not None and not step.when.holds(step.name, self._resolver()):
                self._leave_out(step, state)
                return
            items = self._items(step)
        except StepError as error:
            self._fail_whole(step, state, error)
            return
        if step.for_each is not None and items is None:
            self._leave_out(step, state, by_its_list=True)
            return
        state.open(items)
        self._name_tasks(step, state)

    def _leave_out(
        self, step: Step, state: StepState, *, by_its_list: bool = False, with_its_reads: bool = False
    ) -> None:
        state.close(None)
        self._flow.left_out(step, by_its_list=by_its_list, with_its_reads=with_its_reads)

    def _items(self, step: Step) -> list[Any] | None:
        if step.for_each is None:
            return None
        items = self._rendered(step.for_each, step.name, self._resolver())
        if items is None:
            return None
        if not isinstance(items, list):
            raise ValueBoundError(step.name, "for_each: what stands there in this run is no list")
        listed = cast("list[Any]", items)
        if len(listed) > ITEMS_MAX:
            raise ValueBoundError(step.name, f"for_each: {len(listed)} items, expected at most {ITEMS_MAX}")
        return listed

    def _name_tasks(self, step: Step, state: StepState) -> None:
        for index in state.starts(step.parallel):
            key = StepKey(step.name, index)
            try:
                self._new.append(self._task(step, state, key))
            except StepError as error:
                self._flow.ended(step, state.data_class, failed=True)
                self._take_failure(step, state, key, _body(error))
                if self._end is not None:
                    return

    def _task(self, step: Step, state: StepState, key: StepKey) -> StepTask:
        resolve = self._resolver(step.name, key.index)
        given = self._encoded(self._rendered(step.input, step.name, resolve), step.name)
        gate: Approval | None = step.approval
        if gate is not None and gate.when is not None and not gate.when.holds(step.name, resolve):
            gate = None
        return StepTask(
            key=key,
            capability=step.capability,
            input=given,
            data_class=state.data_class,
            approval=gate,
            input_digest=hashlib.sha256(given).hexdigest(),
        )

    def _take(self, step: Step, state: StepState, key: StepKey, outcome: StepOutcome) -> None:
        match outcome.status:
            case "succeeded":
                state.end(key.index, outcome.output or msgspec.Raw(b"null"))
            case "skipped":
                state.end(key.index, None)
            case "failed":
                error = outcome.error or ErrorBody(
                    kind=ErrorKind.INTERNAL, message="the step failed", retryable=ErrorKind.INTERNAL.retryable
                )
                self._take_failure(step, state, key, error)
        self._name_tasks(step, state)

    def _take_failure(self, step: Step, state: StepState, key: StepKey, error: ErrorBody) -> None:
        if step.on_failure == "fail":
            self._end = Failed(key, error)
        state.end(key.index, _collected(error) if step.on_failure == "collect" else None)

    def _fail_whole(self, step: Step, state: StepState, error: StepError) -> None:
        """The step fails before it has tasks."""
        self._flow.ended(step, state.data_class, failed=True)
        self._failed_whole[step.name] = error.message
        body = _body(error)
        if step.on_failure == "fail":
            self._end = Failed(StepKey(step.name), body)
        state.close(_collected(body) if step.on_failure == "collect" else None)

    def _finish(self) -> None:
        try:
            output = self._encoded(self._rendered(self._pipeline.output, OUTPUT, self._resolver()), OUTPUT)
        except StepError as error:
            self._end = Failed(StepKey(OUTPUT), _body(error))
            return
        self._end = Done(output, self._flow.of_output())

    def _resolver(self, step: str = "", index: int | None = None) -> "_Values":
        """The values as a task sees them; without an item, as a step and the output do."""
        item = None if index is None else self._states[step].item(index)
        return _Values(self._input, self._states, item, index, self._failed_whole)

    @staticmethod
    def _rendered(template: Template, step: str, resolve: "_Values") -> Any:
        try:
            return template.render(resolve.required(step))
        except OutOfBoundsError as error:
            raise ValueBoundError(step, str(error)) from None

    @staticmethod
    def _encoded(value: Any, step: str) -> msgspec.Raw:
        try:
            return encoded(value)
        except OutOfBoundsError as error:
            raise ValueBoundError(step, str(error)) from None


class _Values:
    """The values of a run as one task sees them. Called with a path, raises AbsentError where it leads to nothing."""

    __slots__ = ("_failed_whole", "_index", "_input", "_item", "_states")

    def __init__(
        self, task_input: Any, states: dict[str, StepState], item: Any, index: int | None, failed_whole: dict[str, str]
    ) -> None:
        self._failed_whole = failed_whole
        self._input = task_input
        self._states = states
        self._item = item
        self._index = index

    def __call__(self, read: Reference) -> Any:
        match read.root:
            case "input":
                return reach(self._input, read.path)
            case "steps":
                return reach(self._states[read.step].output(), read.path)
            case "item":
                return reach(self._item, read.path)
            case "index":
                return self._index

    def required(self, step: str) -> Any:
        def resolve(read: Reference) -> Any:
            try:
                return self(read)
            except AbsentError:
                failed = self._failed_whole.get(read.step)
                because = "" if failed is None else f"step {read.step} failed: {failed}"
                raise MissingFieldError(step, str(read), because=because) from None

        return resolve


def plan(
    pipeline: Pipeline,
    task_input: Any,
    task_class: DataClass,
    outcomes: Mapping[StepKey, StepOutcome],
    *,
    operator: Declassified = NONE_OF_THE_OPERATOR,
) -> Plan:
    """
    What comes next in a run of which all this is known; `Run` names every task that is to run and has no outcome.

    Outcomes of tasks that the run does not come to are passed over.
    """
    planner = Planner(pipeline, task_input, task_class, operator=operator)
    known: deque[StepKey] = deque()
    new: list[StepTask] = []
    said = planner.start()
    while not isinstance(said, Done | Failed):
        for task in said.steps if isinstance(said, Run) else ():
            if task.key in outcomes:
                known.append(task.key)
            else:
                new.append(task)
        if not known:
            return Run(tuple(new))
        key = known.popleft()
        said = planner.record(key, outcomes[key])
    return said


def _body(error: StepError) -> ErrorBody:
    details: dict[str, Any] = {"step": error.step}
    if isinstance(error, MissingFieldError):
        details["path"] = error.path
    return ErrorBody(kind=ErrorKind.BAD_REQUEST, message=error.message, details=details)


def _collected(error: ErrorBody) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode({"error": {"kind": error.kind.value, "message": error.message}}))
