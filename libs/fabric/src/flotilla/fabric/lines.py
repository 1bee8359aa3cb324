"""A line of waiting tasks in which scopes take turns by their weights: weighted fair queueing, counted in turns."""

import math
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Final, Generic, Protocol, TypeVar


class Waits(Protocol):
    """Who stands in a line."""

    @property
    def scope(self) -> str:
        """Whose turn it takes."""
        ...

    @property
    def ticket(self) -> int:
        """Its place among those of its scope: who has the lower one goes first."""
        ...


WaiterT = TypeVar("WaiterT", bound=Waits)


class Line(Generic[WaiterT]):
    """
    Tasks of one priority that wait for one pool.

    Within a scope they go by ticket. Between scopes each turn costs its scope 1 / weight (of 1, unless one is given),
    and the scope that has spent least goes next; one that has just come spends from now on, so that nobody saves turns
    up by waiting. So a scope with a long line delays another by its own turns alone.
    """

    __slots__ = ("_costs", "_count", "_now", "_queues", "_spent", "_whole")

    def __init__(self, weights: Mapping[str, int]) -> None:
        # In whole numbers, or what was spent and refunded would not be what it was.
        self._whole: Final = math.lcm(*weights.values())
        self._costs: Final = {scope: self._whole // weight for scope, weight in weights.items()}
        self._queues: Final[dict[str, deque[WaiterT]]] = {}
        self._spent: Final[dict[str, int]] = {}
        self._now = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def enter(self, waiter: WaiterT) -> None:
        """Put a waiter in its place, by its ticket."""
        queue = self._queues.get(waiter.scope)
        if queue is None:
            queue = self._queues[waiter.scope] = deque()
            self._spent[waiter.scope] = max(self._spent.get(waiter.scope, 0), self._now)
        if not queue or queue[-1].ticket < waiter.ticket:
            queue.append(waiter)
        else:
            # Back after a refused try: its place is near the front.
            at = next(index for index, other in enumerate(queue) if other.ticket > waiter.ticket)
            queue.insert(at, waiter)
        self._count += 1

    def is_last(self, waiter: WaiterT) -> bool:
        """Whether a waiter that enters now comes behind all others of its scope."""
        queue = self._queues.get(waiter.scope)
        return queue is None or queue[-1].ticket < waiter.ticket

    def forget(self, waiter: WaiterT) -> bool:
        """Take a waiter out; False when it was not there."""
        queue = self._queues.get(waiter.scope)
        if queue is None:
            return False
        if queue[0] is waiter:
            queue.popleft()
        else:
            try:
                queue.remove(waiter)
            except ValueError:
                return False
        if not queue:
            del self._queues[waiter.scope]
        self._count -= 1
        return True

    def in_turn(self) -> Iterator[WaiterT]:
        """All who wait, those of the scope whose turn it is first."""
        if len(self._queues) == 1:
            yield from next(iter(self._queues.values()))
            return
        for scope in sorted(self._queues, key=lambda each: (self._spent[each], self._queues[each][0].ticket)):
            yield from self._queues[scope]

    def spend(self, scope: str) -> None:
        """A scope has had a turn."""
        self._now = max(self._now, self._spent[scope])
        self._spent[scope] += self._costs.get(scope, self._whole)

    def refund(self, scope: str) -> None:
        """The turn came to nothing, and the task is back: it was none."""
        self._spent[scope] -= self._costs.get(scope, self._whole)
