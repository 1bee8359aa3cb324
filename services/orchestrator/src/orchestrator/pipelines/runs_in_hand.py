"""The runs that this orchestrator works on now: how many, and whether each goes on."""

import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Protocol


class GoesOn(Protocol):
    """A run, as far as it is watched."""

    @property
    def went_on_at(self) -> float:
        """When a step of it began or ended last, on the monotonic clock."""
        ...


class RunsInHand:
    """Counts runs; each of them is in it while its block runs."""

    def __init__(self, pipelines: Iterable[str]) -> None:
        self._of: dict[str, set[GoesOn]] = {name: set() for name in pipelines}

    @contextmanager
    def holding(self, pipeline: str, run: GoesOn) -> Generator[None]:
        """Have a run in hand while the block runs."""
        held = self._of[pipeline]
        held.add(run)
        try:
            yield
        finally:
            held.discard(run)

    def counts(self) -> dict[str, int]:
        """How many there are, of each pipeline; none is 0."""
        return {name: len(held) for name, held in self._of.items()}

    def idle_s(self) -> dict[str, float]:
        """How long the one of each pipeline that has waited longest for a step to end has waited; none is 0."""
        now = time.monotonic()
        return {name: max((now - run.went_on_at for run in held), default=0.0) for name, held in self._of.items()}
