"""What a pipeline is, once its file has been read (`reading.py`) and found right in itself."""

from typing import Any, Final, Literal

import msgspec

from flotilla.contracts.headers import DataClass
from flotilla.pipelines.conditions import Condition
from flotilla.pipelines.values import Template

STEPS_MAX: Final = 64
ITEMS_MAX: Final = 1_000
"""That a step runs over."""
FILE_BYTES_MAX: Final = 262_144
NESTING_MAX: Final = 4
"""Of pipelines whose steps are pipelines, the outermost counted."""
PARALLEL_DEFAULT: Final = 8
PARALLEL_MAX: Final = 64
DEADLINE_S_MAX: Final = 30 * 86_400
EXPIRES_S_DEFAULT: Final = 86_400
EXPIRES_S_MAX: Final = 30 * 86_400
GROUP_LENGTH_MAX: Final = 63

OnFailure = Literal["fail", "skip", "collect"]


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """
    A gate before a step's input leaves.

    Attributes:
        when: None stands for always.
        group: Of the approvers who may decide; empty for all of the scope.
        four_eyes: Whether nobody may decide on what they submitted themselves.
    """

    when: Condition | None = None
    group: str = ""
    expires_s: int = EXPIRES_S_DEFAULT
    four_eyes: bool = True


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """
    One step.

    Attributes:
        capability: What it asks for; the name of another pipeline makes it a run of its own.
        input: A template of an object.
        needs: Steps that must have ended before, beside those that it reads.
        when: None stands for always; a step for which it does not hold is left out, and its output is null.
        for_each: A template of a list, over whose items the step runs; None stands for one run.
        parallel: How many items run at a time.
        on_failure: `fail` fails the run, `skip` makes the output null, `collect` puts `{"error": ...}` in its place;
            of a step that runs for each item, per item.
        data_class: Raises the class of its task; nothing lowers it.
    """

    name: str
    capability: str
    input: Template
    needs: tuple[str, ...] = ()
    when: Condition | None = None
    for_each: Template | None = None
    parallel: int = PARALLEL_DEFAULT
    on_failure: OnFailure = "fail"
    approval: Approval | None = None
    data_class: DataClass = "public"

    @property
    def reads(self) -> tuple[str, ...]:
        """The steps that its input and its list are made of, and those it needs: left out with all of them."""
        read = (*self.input.references, *(self.for_each.references if self.for_each else ()))
        return tuple(dict.fromkeys([*(one.step for one in read if one.step), *self.needs]))

    @property
    def follows(self) -> tuple[str, ...]:
        """All steps that must have ended before: those that it reads, and those its conditions read."""
        conditions = (self.when, self.approval.when if self.approval else None)
        read = (one.step for each in conditions if each for one in each.references if one.step)
        return tuple(dict.fromkeys([*self.reads, *read]))


class Pipeline(msgspec.Struct, frozen=True, kw_only=True):
    """
    A whole definition.

    Attributes:
        deadline_s: Of a run, where its caller gives none; None leaves it to the fleet's default.
        steps: Each after all that it follows.
        output: What the caller gets.
        digest: SHA-256 of the canonical definition, in hexadecimal.
        source_text: The file, from which `reading.read_pipeline` makes the same again.
    """

    name: str
    description: str
    deadline_s: float | None
    input_schema: dict[str, Any]
    output_schema: dict[str, Any]
    steps: tuple[Step, ...]
    output: Template
    digest: str
    source_text: str

    def step(self, name: str) -> Step:
        """The step of that name; KeyError when there is none."""
        for step in self.steps:
            if step.name == name:
                return step
        raise KeyError(name)
