"""
Tasks that replicas may have died of twice are tried one at a time.

What was lost at the same time is tried again at the same time: a harmless task that was twice with a replica while a deadly
one ended it would be there the third time, too, and be taken for deadly itself.
"""

from typing import Final

from orchestrator.state.tasks import Task

ALONE_S: Final = 5.0
"""Whoever works for so long has not been ended at once, and may go on beside others."""


class Isolation:
    """One place, for one task."""

    def __init__(self) -> None:
        self._task: Task | None = None
        self._until = 0.0

    def take(self, task: Task, now_s: float) -> bool:
        """Take the place for a try; False while another has it. The time is the loop's clock's."""
        if self._task is not None and self._task is not task and now_s < self._until:
            return False
        self._task = task
        self._until = now_s + ALONE_S
        return True

    def leave(self, task: Task) -> None:
        """The try is over."""
        if self._task is task:
            self._task = None
