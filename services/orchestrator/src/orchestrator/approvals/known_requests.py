"""What is known of one scope's requests for approval: who waits, and what was decided and is not acted on. Pure."""

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from flotilla.contracts.approval_requests import decode_record
from flotilla.contracts.errors import DecodeFailedError
from flotilla.fabric.keyvalue import Entry

WOKEN_AFTER_S: Final = 10.0
"""A decision that is older and not acted on has its task woken; once, since what is due stays in its stream until it is."""
WOKEN_AT_ONCE_MAX: Final = 100


class Waiting(Struct, frozen=True):
    """One request that nobody has decided."""

    created_unix_ms: int
    expires_unix_ms: int
    task: str


class KnownRequests:
    """
    The requests of one scope, as far as their bucket was read.

    Attributes:
        revision: Of the last write that was read.
    """

    def __init__(self) -> None:
        self.revision = 0
        self._waiting: dict[str, Waiting] = {}
        # Every gated task that ends asks for its own, however many others wait.
        self._of_task: dict[str, set[str]] = {}
        self._decided: dict[str, tuple[str, float]] = {}

    def forget(self) -> None:
        """The bucket vanished and was made again: nothing of it is known."""
        self.revision = 0
        self._waiting.clear()
        self._of_task.clear()
        self._decided.clear()

    def decided_s(self, now_s: float) -> float:
        """Since when what is read next counts as decided: what was there before the first look has waited long enough."""
        return now_s - (WOKEN_AFTER_S if self.revision == 0 else 0.0)

    def see(self, entries: Iterable[Entry], revision: int, decided_s: float) -> None:
        """Take in the newest values of requests, up to a revision."""
        for entry in entries:
            self._see(entry, decided_s)
        self.revision = revision

    def _see(self, entry: Entry, decided_s: float) -> None:
        self._drop(entry.key)
        before = self._decided.pop(entry.key, None)
        if entry.deleted:
            return
        try:
            record = decode_record(entry.body)
        except DecodeFailedError:
            return
        if record.status == "pending":
            waiting = Waiting(record.created_unix_ms, record.expires_unix_ms, record.gated.task)
            self._waiting[entry.key] = waiting
            self._of_task.setdefault(waiting.task, set()).add(entry.key)
        elif record.status in ("granted", "denied"):
            self._decided[entry.key] = before or (record.gated.task, decided_s)

    def _drop(self, request: str) -> None:
        """It does not wait any more."""
        waiting = self._waiting.pop(request, None)
        if waiting is None:
            return
        of_task = self._of_task[waiting.task]
        of_task.discard(request)
        if not of_task:
            del self._of_task[waiting.task]

    def count(self, now_unix_ms: int) -> int:
        """How many wait."""
        return sum(each.expires_unix_ms > now_unix_ms for each in self._waiting.values())

    def oldest_s(self, now_unix_ms: int) -> float:
        """How long the oldest has waited; 0 where none does."""
        waiting = (each for each in self._waiting.values() if each.expires_unix_ms > now_unix_ms)
        return max((now_unix_ms - each.created_unix_ms for each in waiting), default=0) / 1000

    def pending(self, now_unix_ms: int, task: str | None = None) -> list[str]:
        """The ids of those that wait, of one task or of all; the oldest first."""
        requests = self._waiting if task is None else self._of_task.get(task, ())
        found = [
            (waiting.created_unix_ms, request)
            for request in requests
            if (waiting := self._waiting[request]).expires_unix_ms > now_unix_ms
        ]
        return [request for _, request in sorted(found)]

    def to_be_woken(self, now_s: float) -> list[tuple[str, str]]:
        """The requests, each with its task, on whose decisions nobody has acted in time; some at a time."""
        left = [
            (request, task) for request, (task, since_s) in self._decided.items() if now_s - since_s >= WOKEN_AFTER_S
        ]
        return left[:WOKEN_AT_ONCE_MAX]

    def woken(self, request: str) -> None:
        """Its task was woken: its message is due, or in the hands of somebody who comes to the decision."""
        self._decided.pop(request, None)
