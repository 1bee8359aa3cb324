"""How far one step of a run is."""

from collections.abc import Iterator
from typing import Any

import msgspec

from flotilla.contracts.headers import DataClass


class StepState:
    """
    One step: the items it runs over, which of its tasks are under way, and what they gave.

    Attributes:
        data_class: Of its tasks.
        is_over: Whether no task of it is to come.
        is_left_out: Whether its output is null because it did not run, or was to be null when it failed.
    """

    __slots__ = ("_decoded", "_items", "_left", "_next", "_outputs", "_running", "data_class", "is_left_out", "is_over")

    def __init__(self, data_class: DataClass) -> None:
        self.data_class: DataClass = data_class
        self.is_over = False
        self.is_left_out = False
        self._items: list[Any] | None = None
        self._outputs: list[msgspec.Raw | None] = []
        self._running: set[int] = set()
        self._next = 0
        self._left = 0
        self._decoded: Any = msgspec.UNSET

    def open(self, items: list[Any] | None) -> None:
        """Begin: over a list, or once."""
        self._items = items
        self._left = 1 if items is None else len(items)
        self._outputs = [None] * self._left
        self.is_over = self._left == 0

    def close(self, output: msgspec.Raw | None) -> None:
        """End without tasks, with one output for the whole; None stands for null."""
        self._items = None
        self._outputs = [output]
        self.is_over = True
        self.is_left_out = output is None

    def item(self, index: int) -> Any:
        """What a task runs over."""
        return None if self._items is None else self._items[index]

    def starts(self, parallel: int) -> Iterator[int | None]:
        """Start tasks, as many as may run at a time: their indexes, as they stand in keys."""
        while not self.is_over and self._next < len(self._outputs) and len(self._running) < parallel:
            at = self._next
            self._running.add(at)
            self._next += 1
            yield None if self._items is None else at

    def is_running(self, index: int | None) -> bool:
        """Whether a task was started and has not ended."""
        return (index is None) == (self._items is None) and (index or 0) in self._running

    def end(self, index: int | None, output: msgspec.Raw | None) -> None:
        """A task has ended; None stands for null."""
        at = index or 0
        self._running.discard(at)
        self._outputs[at] = output
        self._left -= 1
        self.is_over = self._left == 0
        self.is_left_out = self._items is None and output is None

    def output(self) -> Any:
        """The step's output, decoded once: of a step that runs for each item, the outputs in order."""
        if self._decoded is msgspec.UNSET:
            decoded = [None if output is None else msgspec.json.decode(output) for output in self._outputs]
            self._decoded = decoded[0] if self._items is None else decoded
        return self._decoded
