"""
What goes wrong with a benchmark.

    flotilla.contracts.errors.FlotillaError
     └─ BenchError              no figures can be given; the text is one line
         ├─ FleetNotUpError     `flotilla up` did not come up
         └─ WrongAnswerError    a task was answered with something else than its result
"""

from flotilla.contracts.errors import FlotillaError


class BenchError(FlotillaError):
    """The benchmark could not be run."""


class FleetNotUpError(BenchError):
    """The fleet to be measured did not come up; holds what `flotilla up` said last."""

    def __init__(self, said: str) -> None:
        super().__init__(f"the fleet to be measured did not come up: {said or 'no reason given'}")
        self.said = said


class WrongAnswerError(BenchError):
    """A task was not answered with its result: figures of a fleet that fails mean nothing."""
