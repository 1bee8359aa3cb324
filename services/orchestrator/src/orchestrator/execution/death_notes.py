"""
How many replicas have died of a durable task: told to every orchestrator, so that whoever gets the task next knows.

The notes are keys of the stats bucket, which every orchestrator follows. Nothing is written for a task that nobody dies of.
"""

import time
from typing import Final

from flotilla.contracts import subjects
from flotilla.fabric.connection import Connection
from orchestrator.execution.poison_tasks import DEATHS_MAX
from orchestrator.state.tasks import Task

PREFIX: Final = "deaths."
NOTES_MAX: Final = 10_000
REMEMBERED_S: Final = 600.0
"""A task is delivered again within seconds; later its id may be another's."""


class DeathNotes:
    """Writes and hears the notes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._deaths: dict[str, tuple[int, float]] = {}

    def of(self, task: Task) -> int:
        """How many replicas are known to have died of a task."""
        if not self._deaths:
            return 0
        deaths, noted_at = self._deaths.get(_key(task), (0, 0.0))
        return deaths if time.monotonic() - noted_at < REMEMBERED_S else 0

    async def note(self, task: Task, deaths: int) -> None:
        """So many have, or may have; written when it is another number than before."""
        if deaths == self.of(task):
            return
        key = _key(task)
        self._remember(key, deaths)
        await self._connection.publish(subjects.key(subjects.STATS_BUCKET, key), b"%d" % deaths)

    def heard(self, key: str, body: bytes | None) -> bool:
        """Take in a key of the stats bucket; False when it is not a note."""
        if not key.startswith(PREFIX):
            return False
        # That a key has expired says nothing: the bucket forgets sooner than is needed here.
        if body and len(body) == 1 and body.isdigit():
            self._remember(key, min(int(body), DEATHS_MAX))
        return True

    def _remember(self, key: str, deaths: int) -> None:
        if key not in self._deaths and len(self._deaths) >= NOTES_MAX:
            del self._deaths[next(iter(self._deaths))]
        self._deaths[key] = deaths, time.monotonic()


def _key(task: Task) -> str:
    return f"{PREFIX}{task.scope}.{task.id}"
