"""
Two runs whose inputs differ in nothing but restricted values: tasks of lower classes cannot tell them apart.

What a mark in a value cannot show is looked for here: conditions, lists that are null, paths that lead to nothing, and all
that is left out with them. The field that `redact` declassifies is the same in both; and it is no flow that a step ran since
those that it needs had not failed.
"""

from collections.abc import Sequence
from typing import Any, Final

import hypothesis
import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from flotilla.contracts.failures import ErrorBody
from flotilla.contracts.headers import DataClass
from flotilla.pipelines.definition import Pipeline, Step
from flotilla.pipelines.errors import PipelineError, StepError
from flotilla.pipelines.plan import Done, Failed, Run, StepKey, StepOutcome, StepTask
from flotilla.pipelines.planner import Planner
from flotilla.pipelines.step_state import StepState
from flotilla.routing.data_classes import ORDER, highest
from flotilla.testkit.examples import examples
from flotilla.testkit.pipeline_runs import failed, gave, pipeline

RESTRICTED: Final[DataClass] = "restricted"
INPUTS: Final = ["input.text", "input.maybe", "input.maybe.k", "input.list"]
INNER_INPUTS: Final = ["input.r0", "input.r1", "input.item"]
CAPABILITIES: Final = ["c0", "c1", "redact", "restore"]
INNER: Final = "inner"
"""The capability that is a pipeline."""
TESTS: Final = ["{0} != null", "{0} == null", "{0} == 'x'", "size({0}) > 1", "{0}.contains('A')"]
TOO_MANY: Final = ["item"] * 1001
MAYBE: Final = st.sampled_from(
    [{}, *({"maybe": each} for each in (None, [], ["x"], ["x", "y"], "AB", {"k": 1}, TOO_MANY))]
)
"""A field that is absent, null, a list (of too many items, too), a text or an object."""
FAILS: Final = st.sets(st.tuples(st.integers(0, 6).map("s{}".format), st.sampled_from([None, 0])), max_size=2)
# The engine of conditions is imported with the first one: while an example is drawn, that would disturb hypothesis.
pipeline('[steps.warm]\ncapability = "a"\nwhen = "true"')


class Watched(Planner):
    """A planner that knows whether anything has failed."""

    __slots__ = ("has_failed",)

    def _take_failure(self, step: Step, state: StepState, key: StepKey, error: ErrorBody) -> None:
        self.has_failed = True
        super()._take_failure(step, state, key, error)

    def _fail_whole(self, step: Step, state: StepState, error: StepError) -> None:
        self.has_failed = True
        super()._fail_whole(step, state, error)


class Ran:
    """
    A run from its start to its end.

    Attributes:
        low: Its tasks, and those of runs within it, that are not restricted: class, input, and whether a gate stands before.
        classes: Of all that it has come to.
        is_whole: Whether nothing has failed.
    """

    def __init__(
        self,
        definition: Pipeline,
        value: dict[str, Any],
        fails: set[tuple[str, int | None]],
        *,
        vault: str,
        inner: Pipeline | None = None,
        data_class: DataClass = RESTRICTED,
    ) -> None:
        planner = Watched(definition, value, data_class)
        planner.has_failed = False
        self.low: dict[tuple[StepKey, ...], tuple[DataClass, bytes, bool]] = {}
        self.classes: list[DataClass] = [data_class]
        self.is_whole = True
        self._fails, self._vault, self._inner = fails, vault, inner
        self.end = planner.start()
        waiting: list[StepTask] = []
        while not isinstance(self.end, Done | Failed):
            for task in self.end.steps if isinstance(self.end, Run) else ():
                waiting.append(task)
                if task.data_class != RESTRICTED:
                    self.low[task.key,] = task.data_class, bytes(task.input), task.approval is not None
            task = waiting.pop()
            outcome = self._outcome(task)
            self.classes.append(outcome.data_class)
            self.end = planner.record(task.key, outcome)
        self.is_whole = self.is_whole and not planner.has_failed

    def _outcome(self, task: StepTask) -> StepOutcome:
        if (task.key.step, task.key.index) in self._fails:
            return msgspec.structs.replace(failed(), data_class=task.data_class)
        if task.capability != INNER or self._inner is None:
            return _gave(task, self._vault)
        within = Ran(
            self._inner, msgspec.json.decode(task.input), self._fails, vault=self._vault, data_class=task.data_class
        )
        self.low.update({(task.key, *keys): low for keys, low in within.low.items()})
        self.is_whole = self.is_whole and within.is_whole
        if isinstance(within.end, Done):
            return StepOutcome(status="succeeded", output=within.end.output, data_class=within.end.data_class)
        # As an orchestrator has it: of what has failed, the highest of all that it came to.
        return msgspec.structs.replace(failed(), data_class=highest(within.classes))


def _gave(task: StepTask, vault: str) -> StepOutcome:
    """What the task read is in all that it gives, but for what `redact` declassifies; `restore` has it from the vault."""
    text = f"{task.capability} {bytes(task.input).decode()} A"
    document = {"redact": "redacted", "restore": vault}.get(task.capability, text)
    return gave({"document": document, "other": text}, task.data_class)


@st.composite
def _reference(draw: st.DrawFn, below: int, fans: set[int], inputs: Sequence[str]) -> str:
    if below == 0 or draw(st.integers(0, 3)) == 0:
        return draw(st.sampled_from(inputs))
    number = draw(st.integers(0, below - 1))
    field = draw(st.sampled_from(["", "", ".document", ".other"]))
    middle = draw(st.sampled_from([".*", ".0", ".7"])) if number in fans and field else ""
    return f"steps.s{number}{middle}{field}"


@st.composite
def _step(draw: st.DrawFn, number: int, fans: set[int], inputs: Sequence[str], capabilities: Sequence[str]) -> str:
    def rarely(one_in: int) -> bool:
        return draw(st.integers(1, one_in)) == 1

    def condition() -> str:
        read = draw(_reference(number, fans, inputs).filter(lambda each: ".*" not in each))
        return draw(st.sampled_from(TESTS)).format(read)

    reads = [] if rarely(4) else draw(st.lists(_reference(number, fans, inputs), max_size=3))
    fields = [f'r{index} = "${{{read}}}"' for index, read in enumerate(reads)]
    lines = [f"[steps.s{number}]", f'capability = "{draw(st.sampled_from(capabilities))}"']
    if number and rarely(3):
        lines.append(f'needs = ["s{draw(st.integers(0, number - 1))}"]')
    if rarely(3):
        lines.append(f'when = "{condition()}"')
    if rarely(5):
        lines.append(f'approval = {{ when = "{condition()}" }}')
    if rarely(4):
        listed = st.sampled_from(['["a", "b"]', "[]"]) | _reference(number, fans, inputs).map('"${{{}}}"'.format)
        lines.append(f"for_each = {draw(listed)}\nparallel = {draw(st.integers(1, 3))}")
        fans.add(number)
        if reads:
            fields.append('item = "${item}"')
    lines.append(f"input = {{ {', '.join(fields)} }}")
    lines.append(f'on_failure = "{draw(st.sampled_from(["skip", "collect", "fail"]))}"')
    if rarely(6):
        lines.append(f'data_class = "{draw(st.sampled_from(ORDER))}"')
    return "\n".join(lines)


@st.composite
def pipelines(
    draw: st.DrawFn, inputs: Sequence[str] = INPUTS, capabilities: Sequence[str] = CAPABILITIES, steps_max: int = 7
) -> Pipeline:
    """Some steps, of which some read nothing that is restricted."""
    fans: set[int] = set()
    tables = [draw(_step(number, fans, inputs, capabilities)) for number in range(draw(st.integers(1, steps_max)))]
    read = [draw(_reference(len(tables), fans, inputs)) for _ in range(2)]
    try:
        return pipeline("\n".join(tables), f'document = "${{{read[0]}}}"\nother = "${{{read[1]}}}"')
    except PipelineError:
        hypothesis.reject()


def _tells_nothing(one: Ran, other: Ran) -> None:
    both = one.low.keys() & other.low.keys()
    assert [one.low[key] for key in both] == [other.low[key] for key in both]
    if one.is_whole and other.is_whole:
        assert one.low.keys() == other.low.keys()
    ends = [each.end for each in (one, other) if isinstance(each.end, Done)]
    assert len({bytes(end.output) for end in ends if end.data_class != RESTRICTED}) <= 1


@given(pipelines(), MAYBE, MAYBE, FAILS)
@settings(max_examples=examples(60), deadline=None)
def test_no_task_of_a_lower_class_tells_what_is_restricted(
    definition: Pipeline, maybe: dict[str, Any], other_maybe: dict[str, Any], fails: set[tuple[str, int | None]]
):
    one = Ran(definition, {"text": "secret A", "list": ["p", "q"], **maybe}, fails, vault="x")
    other = Ran(definition, {"text": "x", "list": ["p", "q"], **other_maybe}, fails, vault="yyy A")

    _tells_nothing(one, other)


@given(
    pipelines(capabilities=["c0", INNER, INNER], steps_max=4),
    pipelines(INNER_INPUTS, ["c0", "restore", "restore"], steps_max=3),
    FAILS,
)
@settings(max_examples=examples(100), deadline=None)
def test_nor_does_one_of_a_run_within_a_run(definition: Pipeline, inner: Pipeline, fails: set[tuple[str, int | None]]):
    """
    Which has the class of its task, and gives what has the class of what it was made from: nothing here is restricted but
    what comes from the vault.
    """
    value = {"text": "x", "list": ["p", "q"], "maybe": {"k": 1}}
    one = Ran(definition, value, fails, vault="x", inner=inner, data_class="internal")
    other = Ran(definition, value, fails, vault="yyy A", inner=inner, data_class="internal")

    _tells_nothing(one, other)
