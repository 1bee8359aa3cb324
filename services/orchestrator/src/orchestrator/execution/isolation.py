"""
Tasks that replicas may have died of twice are tried one at a time in each orchestrator, each for its first ALONE_S.

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
        self._held: tuple[Task, float] | None = None

    def take(self, task: Task, now_s: float) -> bool:
        """Take the place for a try; False while another has it. The time is the loop's clock's."""
        if self._held is not None:
            holder, until = self._held
            if holder is not task and now_s < until:
                return False
        self._held = task, now_s + ALONE_S
        return True

    def leave(self, task: Task) -> None:
        """The try is over."""
        if self._held is not None and self._held[0] is task:
            self._held = None
