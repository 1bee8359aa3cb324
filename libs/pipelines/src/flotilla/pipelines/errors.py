"""
What is wrong with a pipeline, or with one of its runs.

    flotilla.contracts.errors.FlotillaError
     ├─ SettingsError
     │   ├─ PipelineError         a file is no pipeline; carries every fault with the key it stands at
     │   └─ PipelinesError        the same of several files
     └─ StepError                 a run cannot go on at a step; carries the step and a text that is safe to show
         ├─ MissingFieldError     a path leads to nothing in the values of this run
         ├─ ConditionError        a condition could not be evaluated, or is neither true nor false
         └─ ValueBoundError       what a step was to be given is too large, too deep, or no list to run over
"""

from collections.abc import Sequence
from typing import Final

from flotilla.contracts.errors import FlotillaError, SettingsError
from flotilla.contracts.toml_lines import located_all

FAULT_LENGTH_MAX: Final = 500
"""Of what is told of one fault: a name in a file may be as long as the file."""


class PipelineError(SettingsError):
    """
    A file is no pipeline.

    Attributes:
        faults: All that was found, each beginning with its key (`steps.report.input.document`).
        located: The same, each with the file and, where it is known, the line before it.
    """

    def __init__(self, file_name: str, faults: Sequence[str], text: str = "") -> None:
        """
        Say what is wrong.

        Args:
            file_name: As it is shown.
            faults: At least one.
            text: Of the file, to say on which lines; empty where it is not known.
        """
        self.faults = tuple(
            fault if len(fault) <= FAULT_LENGTH_MAX else f"{fault[:FAULT_LENGTH_MAX]}..." for fault in faults
        )
        self.located = located_all(file_name, self.faults, text)
        super().__init__("; ".join(self.located))
        self.file_name = file_name


class PipelinesError(SettingsError):
    """Files are no pipelines; every fault with the file, the key and what was expected."""

    def __init__(self, errors: Sequence[PipelineError]) -> None:
        super().__init__("; ".join(str(error) for error in errors))
        self.errors = tuple(errors)


class StepError(FlotillaError):
    """
    A run cannot go on at a step.

    Attributes:
        step: The step's name; `output` where the pipeline's own output could not be made.
        message: Never holds a value of the run, only names and paths of the definition.
    """

    def __init__(self, step: str, message: str) -> None:
        super().__init__(f"{step}: {message}")
        self.step = step
        self.message = message


class MissingFieldError(StepError):
    """A path leads to nothing in the values of this run."""

    def __init__(self, step: str, path: str, *, because: str = "") -> None:
        """
        Say what is missing.

        Args:
            step: That needs it.
            path: What it needs.
            because: Why there is none, where the step that should have given it failed before it had tasks.
        """
        super().__init__(
            step, f"there is no {path}: {because or f'a condition with has({path}) can leave the step out'}"
        )
        self.path = path


class ConditionError(StepError):
    """A condition could not be evaluated, or is neither true nor false."""


class ValueBoundError(StepError):
    """What a step was to be given is too large, too deep, or no list to run over."""
