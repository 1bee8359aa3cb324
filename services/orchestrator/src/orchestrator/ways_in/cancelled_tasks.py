"""Tasks of one scope that were cancelled while they waited in the stream."""

from typing import Final

CANCELLED_MAX: Final = 10_000
"""Of a scope; the oldest is forgotten first."""


class CancelledTasks:
    """Remembers them until they are delivered: somebody may have pulled one in the moment of its cancellation."""

    def __init__(self) -> None:
        self._ids: dict[str, None] = {}

    def remember(self, task_id: str) -> None:
        """Do not begin it when it comes."""
        self._ids.pop(task_id, None)
        self._ids[task_id] = None
        while len(self._ids) > CANCELLED_MAX:
            del self._ids[next(iter(self._ids))]

    def take(self, task_id: str) -> bool:
        """Whether it is one; it is forgotten."""
        if task_id not in self._ids:
            return False
        del self._ids[task_id]
        return True
