"""
What the planner is told and what it says.

A step whose capability is a pipeline is one step here. Whoever runs it starts a run of its own for it, whose id is made of
this run's id and the step's key, with the task's input and class; its `Done` or `Failed` is the step's outcome. Runs are
nested `definition.NESTING_MAX` deep at most, which `check` sees and whoever runs them counts.
"""

from typing import Literal

import msgspec

from flotilla.contracts.failures import ErrorBody
from flotilla.contracts.headers import DataClass
from flotilla.pipelines.definition import Approval


class StepKey(msgspec.Struct, frozen=True):
    """A task of a run: the step, and which item from 0 where it runs for each."""

    step: str
    index: int | None = None

    def __str__(self) -> str:
        return self.step if self.index is None else f"{self.step}.{self.index}"


class StepOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """
    How a step's task ended.

    Attributes:
        status: `skipped` is for a task that was not to run after all; its output counts as null.
        output: Valid for its capability; only where it succeeded.
        error: Only where it failed.
        data_class: That it ran under; never lowers what was planned.
    """

    status: Literal["succeeded", "failed", "skipped"]
    output: msgspec.Raw | None = None
    error: ErrorBody | None = None
    data_class: DataClass = "public"


class StepTask(msgspec.Struct, frozen=True, kw_only=True):
    """
    A step to run now.

    Attributes:
        input: JSON with sorted keys.
        approval: The gate that stands before it; None where there is none, or its condition does not hold.
        input_digest: SHA-256 of `input`, in hexadecimal: what was committed for another input is not this step's.
    """

    key: StepKey
    capability: str
    input: msgspec.Raw
    data_class: DataClass
    approval: Approval | None
    input_digest: str


class Run(msgspec.Struct, frozen=True):
    """Start these; each is named once."""

    steps: tuple[StepTask, ...]


class Done(msgspec.Struct, frozen=True):
    """All steps have ended; this is for the caller."""

    output: msgspec.Raw
    data_class: DataClass


class Failed(msgspec.Struct, frozen=True):
    """The run has failed at a task, whatever the others come to. The step is `output` where that could not be made."""

    step: StepKey
    error: ErrorBody


class Waiting(msgspec.Struct, frozen=True):
    """Nothing new to start before one of those that were started has ended."""


Plan = Run | Done | Failed | Waiting
