"""How a step's task ended."""

from typing import NamedTuple

from flotilla.contracts.headers import DataClass
from flotilla.contracts.results import Result


class StepEnded(NamedTuple):
    """How a step's task ended, and the class of what its result was made from: at least the task's."""

    result: Result
    data_class: DataClass
