"""What the tests of pipelines share: definitions from text, and a run to its end."""

import json
from collections.abc import Callable
from typing import Any

import msgspec

from flotilla.contracts.failures import ErrorBody, ErrorKind
from flotilla.contracts.headers import DataClass
from flotilla.pipelines.definition import Pipeline
from flotilla.pipelines.plan import Done, Failed, Run, StepOutcome, StepTask
from flotilla.pipelines.planner import Planner
from flotilla.pipelines.reading import read_pipeline

HEAD = 'name = "one"\n[input]\ntype = "object"\n'


def pipeline(steps: str, output: str = 'out = "done"') -> Pipeline:
    """A pipeline of these tables."""
    return read_pipeline(f"{HEAD}{steps}\n[output]\n{output}\n", "one.toml")


def raw(value: Any) -> msgspec.Raw:
    """As a task's output stands on the wire."""
    return msgspec.Raw(json.dumps(value).encode())


def gave(value: Any, data_class: DataClass = "public") -> StepOutcome:
    """A task that went well."""
    return StepOutcome(status="succeeded", output=raw(value), data_class=data_class)


def failed(message: str = "it broke") -> StepOutcome:
    """A task that did not."""
    return StepOutcome(
        status="failed", error=ErrorBody(kind=ErrorKind.PROVIDER_FAILED, message=message, retryable=True)
    )


def value(output: msgspec.Raw) -> Any:
    """What stands there."""
    return msgspec.json.decode(output)


def run_to_end(
    planner: Planner, work: Callable[[StepTask], StepOutcome], seen: list[StepTask] | None = None
) -> Done | Failed:
    """Do the tasks one by one in the order they are named."""
    said = planner.start()
    waiting: list[StepTask] = []
    while not isinstance(said, Done | Failed):
        if isinstance(said, Run):
            waiting.extend(said.steps)
        task = waiting.pop(0)
        if seen is not None:
            seen.append(task)
        said = planner.record(task.key, work(task))
    return said
