"""
The data class of every value in a run: information flows wherever a value is read, and a class only rises with it.

A step's task has the highest class of
 - all values in its input, its texts, and the list it runs over,
 - all values that its conditions and its gate's condition read: that the step runs at all tells what they said,
 - what decided whether the steps before it ran: it is left out with them,
 - its own `data_class`, and `restricted` for capabilities of the local zone.

Its output has the class of its task, but for a field that the built-in rule or the operator's policy declassifies; a
field of a step that failed, or was left out, is not declassified. The failure that ends a run flows nowhere but to the
caller.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from flotilla.contracts.headers import DataClass
from flotilla.contracts.redaction import task_data_class
from flotilla.pipelines.definition import NESTING_MAX, Pipeline, Step
from flotilla.pipelines.references import EACH, Reference
from flotilla.routing.data_classes import NONE_OF_THE_OPERATOR, Declassified, class_of_field, highest

NO_PIPELINES: Final[Mapping[str, Pipeline]] = {}


class DataFlow:
    """
    The classes of one run, step by step in the order of the definition.

    Before a step is asked for, all that it follows must have been entered.
    """

    __slots__ = ("_classes", "_control", "_lost", "_operator", "_pipeline", "_steps", "_task_class")

    def __init__(
        self, pipeline: Pipeline, task_class: DataClass, *, operator: Declassified = NONE_OF_THE_OPERATOR
    ) -> None:
        self._pipeline = pipeline
        self._task_class: DataClass = task_class
        self._operator = operator
        self._steps = {step.name: step for step in pipeline.steps}
        self._classes: dict[str, DataClass] = {}
        self._control: dict[str, DataClass] = {}
        self._lost: set[str] = set()

    def enter(self, step: Step) -> DataClass:
        """The class of the step's task."""
        control = highest(
            (
                *self._classes_of(step.when.references if step.when else (), step),
                *(self._control[name] for name in step.reads),
            )
        )
        gate = step.approval.when.references if step.approval and step.approval.when else ()
        read = (*step.input.references, *(step.for_each.references if step.for_each else ()), *gate)
        reached = highest((control, *self._classes_of(read, step)), at_least=step.data_class)
        self._control[step.name] = control
        self._classes[step.name] = task_data_class(step.capability, reached, reached)
        return self._classes[step.name]

    def left_out(self, step: Step, *, by_its_list: bool = False, with_its_reads: bool = False) -> None:
        """
        The step did not run: that its output is null tells what kept it from running.

        Args:
            step: Which.
            by_its_list: A list that was null.
            with_its_reads: That all steps that it reads were left out, or had failed and gave null.
        """
        told: list[DataClass] = []
        if by_its_list and step.for_each is not None:
            told = self._classes_of(step.for_each.references, step)
        elif with_its_reads:
            told = [self._classes[name] for name in step.reads]
        self._control[step.name] = highest((self._control[step.name], *told))
        self._classes[step.name] = self._control[step.name]
        self._lost.add(step.name)

    def ended(self, step: Step, data_class: DataClass, *, failed: bool) -> None:
        """One of the step's tasks ended: under a class that may have been raised, with its fields or without."""
        self._classes[step.name] = highest((self._classes[step.name], data_class))
        if failed:
            self._lost.add(step.name)

    def of_output(self) -> DataClass:
        """The class of what the caller gets."""
        return highest(self._classes_of(self._pipeline.output.references, None))

    def of_reference(self, read: Reference, step: Step | None) -> DataClass:
        """The class of one value, as `step` reads it; None stands for the pipeline's output."""
        match read.root:
            case "input":
                return self._task_class
            case "item" | "index":
                listed = step.for_each.references if step and step.for_each else ()
                return highest(self._classes_of(listed, None))
            case "steps":
                return self._of_step(read)

    def _classes_of(self, references: Iterable[Reference], step: Step | None) -> list[DataClass]:
        return [self.of_reference(read, step) for read in references]

    def _of_step(self, read: Reference) -> DataClass:
        source = self._steps[read.step]
        whole = self._classes[read.step]
        field = _field(source, read)
        if field is None or read.step in self._lost:
            return whole
        lowered = class_of_field(source.capability, field, whole, operator=self._operator)
        return highest((lowered, self._control[read.step]))


def _field(source: Step, read: Reference) -> str | None:
    """The field of the source's output that is read; None for the whole."""
    path = read.path
    if source.for_each is not None:
        path = path[1:]
    elif path and path[0] == EACH:
        return None
    return path[0] if path else None


def classes(
    pipeline: Pipeline,
    task_class: DataClass,
    *,
    operator: Declassified = NONE_OF_THE_OPERATOR,
    pipelines: Mapping[str, Pipeline] = NO_PIPELINES,
) -> dict[str, DataClass]:
    """
    The class of each step's task where all goes well, by name, in the order of the definition.

    Args:
        pipeline: Whose steps.
        task_class: Of the run's task.
        operator: What the policy declassifies.
        pipelines: By name, those that steps may be: what one gives has the class of what it was made from.
    """
    flow = DataFlow(pipeline, task_class, operator=operator)
    return {step.name: enter_whole(flow, step, operator, pipelines) for step in pipeline.steps}


def enter_whole(
    flow: DataFlow, step: Step, operator: Declassified, pipelines: Mapping[str, Pipeline], *, depth: int = 1
) -> DataClass:
    """Enter a step before it has run, and the steps that it is made of; gives the class of its task."""
    data_class = flow.enter(step)
    inner = pipelines.get(step.capability)
    if inner is not None and depth <= NESTING_MAX:
        within = DataFlow(inner, data_class, operator=operator)
        for each in inner.steps:
            enter_whole(within, each, operator, pipelines, depth=depth + 1)
        flow.ended(step, highest((data_class, within.of_output())), failed=False)
    return data_class
