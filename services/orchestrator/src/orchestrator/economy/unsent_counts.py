"""
Increments that wait to be sent, while the counters cannot be reached or are slow: in lines that take turns.

Each scope's ledger is a line, and so is each counter of a limit or budget. What fills one shuts no other out, and none waits
behind another's: a scope whose tasks come in a flood loses its own counts first.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from orchestrator.state.shares import Shares

WAITING_MAX: Final = 60_000
WAITING_PER_LINE_MAX: Final = 50_000
"""Of one line; where all together have WAITING_MAX, an equal part of that."""


class Later(Struct, frozen=True):
    """An increment that nobody waits for; `instead` is added in its place when it was counted before."""

    subject: str
    amount: int
    message_id: str
    headers: dict[str, str]
    give_up_at_s: float
    instead: int | None = None

    @property
    def line(self) -> str:
        """Where it waits."""
        match self.subject.split(".", 2):
            case ["ledger", scope, _]:
                return f"ledger.{scope}"
            case _:
                return self.subject


class UnsentCounts:
    """The lines. One that was taken out of them keeps its room until it is over."""

    def __init__(self) -> None:
        self._lines: dict[str, deque[Later]] = {}
        self._room = Shares(total_max=WAITING_MAX, per_scope_max=WAITING_PER_LINE_MAX)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def enter(self, later: Later) -> bool:
        """Put it at the end of its line; False where there is no room."""
        if not self._room.take(later.line):
            return False
        self._lines.setdefault(later.line, deque()).append(later)
        self._count += 1
        return True

    def take(self, count_max: int) -> list[Later]:
        """Take out those whose turn it is, one of each line after the other."""
        taken: list[Later] = []
        while self._lines and len(taken) < count_max:
            line = next(iter(self._lines))
            waiting = self._lines.pop(line)
            taken.append(waiting.popleft())
            if waiting:
                self._lines[line] = waiting
        self._count -= len(taken)
        return taken

    def put_back(self, taken: Sequence[Later]) -> None:
        """Put back what was taken and is to be sent again, before what has come since."""
        for later in reversed(taken):
            self._lines.setdefault(later.line, deque()).appendleft(later)
        self._count += len(taken)

    def over(self, later: Later) -> None:
        """One that was taken is counted, or given up."""
        self._room.give_back(later.line)
