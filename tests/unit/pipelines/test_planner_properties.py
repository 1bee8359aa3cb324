"""Random pipelines: restricted values stay in restricted tasks, each task runs once and in order, each outcome is cheap."""

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from flotilla.contracts.headers import DataClass
from flotilla.pipelines.definition import Pipeline
from flotilla.pipelines.plan import Done, Failed, Run, StepKey, StepOutcome, StepTask
from flotilla.pipelines.planner import Planner, plan
from flotilla.routing.data_classes import ORDER
from flotilla.testkit.examples import examples
from flotilla.testkit.pipeline_runs import failed, gave, pipeline

CLASSES = st.sampled_from(ORDER)
DECLASSIFIED: dict[tuple[str, str], DataClass] = {("c1", "low"): "internal"}
"""Beside the built-in `redact.document`."""
# The engine of conditions is imported with the first one: while an example is drawn, that would disturb hypothesis.
pipeline('[steps.warm]\ncapability = "a"\nwhen = "true"')
MARK = "@{0}@"
"""What a value looks like here: it holds the marks of the classes that it was made from."""


@st.composite
def pipelines(draw: st.DrawFn) -> Pipeline:
    """Up to eight steps that read the input and each other in every way there is."""
    count = draw(st.integers(1, 8))
    fans: set[int] = set()
    tables = [draw(_step(number, fans)) for number in range(count)]
    fields = draw(st.lists(_reference(count, fans), min_size=1, max_size=3))
    output = "\n".join(f'f{number} = "${{{read}}}"' for number, read in enumerate(fields))
    return pipeline("\n".join(tables), output)


@st.composite
def _reference(draw: st.DrawFn, below: int, fans: set[int]) -> str:
    if below == 0 or draw(st.integers(0, 3)) == 0:
        return "input.text"
    number = draw(st.integers(0, below - 1))
    field = draw(st.sampled_from(["", "document", "low", "other"]))
    middle = ".*" if number in fans and field else ""
    return f"steps.s{number}{middle}" + (f".{field}" if field else "")


@st.composite
def _step(draw: st.DrawFn, number: int, fans: set[int]) -> str:
    reads = draw(st.lists(_reference(number, fans), max_size=3))
    inputs = [f'r{index} = "${{{read}}}"' for index, read in enumerate(reads)]
    inputs += [f't{index} = "about ${{{read}}}."' for index, read in enumerate(reads[:1])]
    lines = [f"[steps.s{number}]", f'capability = "{draw(st.sampled_from(["c0", "c1", "redact", "restore"]))}"']
    if draw(st.booleans()):
        condition = draw(_reference(number, fans).filter(lambda read: ".*" not in read))
        lines.append(f"when = \"{condition} {draw(st.sampled_from(['!=', '==']))} 'x'\"")
    if draw(st.integers(0, 2)) == 0:
        listed = draw(st.sampled_from(["${input.list}", *(f"${{steps.s{fan}}}" for fan in sorted(fans))]))
        lines.append(f'for_each = "{listed}"\nparallel = {draw(st.integers(1, 3))}')
        inputs.append('item = "${item}"')
        fans.add(number)
    lines.append(f"input = {{ {', '.join(inputs)} }}")
    lines.append(f'on_failure = "{draw(st.sampled_from(["skip", "collect", "fail"]))}"')
    lines.append(f'data_class = "{draw(CLASSES)}"')
    return "\n".join(lines)


def marked(data_class: DataClass) -> str:
    return MARK.format(data_class)


def marks(text: bytes) -> list[int]:
    return [level for level, name in enumerate(ORDER) if marked(name).encode() in text]


def output_of(task: StepTask) -> dict[str, str]:
    """What the task read is in every field but those that declassify, which hold the mark of their own class alone."""
    everything = marked(task.data_class) + bytes(task.input).decode()
    level = ORDER.index(task.data_class)
    fields = {"document": everything, "low": everything, "other": everything}
    if task.capability == "redact":
        fields["document"] = marked(ORDER[min(level, 1)])
    if task.capability == "c1":
        fields["low"] = marked(ORDER[min(level, 1)])
    return fields


@given(pipelines(), CLASSES, st.data())
@settings(max_examples=examples(150), deadline=None)
def test_no_value_comes_into_a_task_of_a_lower_class_and_every_task_runs_once_and_in_order(
    definition: Pipeline, task_class: DataClass, data: st.DataObject
):
    value = {"text": marked(task_class), "list": [marked(task_class), "x"]}
    planner = Planner(definition, value, task_class, operator=DECLASSIFIED)
    said = planner.start()
    outcomes: dict[StepKey, StepOutcome] = {}
    named: set[StepKey] = set()
    waiting: list[StepTask] = []
    while not isinstance(said, Done | Failed):
        for task in said.steps if isinstance(said, Run) else ():
            assert task.key not in named
            named.add(task.key)
            waiting.append(task)
            _check_task(definition, task, {key.step for key in named - outcomes.keys()})
        task = waiting.pop(data.draw(st.integers(0, len(waiting) - 1)))
        fails = data.draw(st.integers(0, 7)) == 0
        outcomes[task.key] = failed() if fails else gave(output_of(task), task.data_class)
        said = planner.record(task.key, outcomes[task.key])
    if isinstance(said, Done):
        assert all(level <= ORDER.index(said.data_class) for level in marks(bytes(said.output)))
        assert not waiting
        assert said == plan(definition, value, task_class, outcomes, operator=DECLASSIFIED)


def _check_task(definition: Pipeline, task: StepTask, under_way: set[str]) -> None:
    assert all(level <= ORDER.index(task.data_class) for level in marks(bytes(task.input)))
    step = definition.step(task.key.step)
    assert not under_way & set(step.follows)
    if task.capability in ("redact", "restore"):
        assert "restricted" == task.data_class


class _Counted(list[Any]):
    """A list that counts how often its elements are looked at."""

    looks = 0

    def __getitem__(self, index: Any) -> Any:
        self.looks += 1
        return super().__getitem__(index)


def test_an_outcome_costs_its_own_item_and_not_the_others():
    steps = '[steps.all]\ncapability = "a"\nfor_each = "${input.list}"\nparallel = 8\ninput = { item = "${item}" }\n'
    items = _Counted(range(1_000))
    planner = Planner(pipeline(steps, 'all = "${steps.all}"'), {"list": items}, "internal")
    said = planner.start()
    waiting: list[StepTask] = []
    steps_said = 0
    while isinstance(said, Run):
        waiting.extend(said.steps)
        steps_said += len(said.steps)
        assert len(waiting) <= 8
        before = items.looks
        said = planner.record(waiting.pop(0).key, gave(1))
        assert items.looks - before <= 1
        while waiting and not isinstance(said, Run | Done | Failed):
            said = planner.record(waiting.pop(0).key, gave(1))
    assert isinstance(said, Done)
    assert 1_000 == steps_said
    assert {"all": [1] * 1_000} == msgspec.json.decode(said.output)
