"""What this orchestrator has in hand of one scope's durable tasks, and what of it takes room from the next ones."""

from collections import Counter
from typing import Final, Literal

from flotilla.contracts.subjects import Priority
from flotilla.fabric.pull_groups import PullGroup
from orchestrator.execution.executors import Executor

State = Literal["new", "answering", "parked", "settling"]
"""
A delivery takes room of its capability and executor while it is answered. Parked it waits for a route and takes none;
being settled it needs no executor any more.
"""


class Place:
    """
    One delivery's place among what is in hand.

    Attributes:
        state: Where the delivery stands; changed by `enter` alone.
    """

    __slots__ = ("_executor", "_group", "_in_hand", "_is_resumed", "_priority", "_size_bytes", "state")

    def __init__(
        self,
        in_hand: "InHand",
        group: PullGroup,
        priority: Priority,
        executor: Executor,
        size_bytes: int,
        *,
        is_resumed: bool = False,
    ) -> None:
        self._in_hand = in_hand
        self._group = group
        self._priority: Priority = priority
        self._executor = executor
        self._size_bytes = size_bytes
        self._is_resumed = is_resumed
        self.state: State = "new"

    def enter(self, state: State) -> None:
        """Stand somewhere else; nothing follows where it stands there already."""
        before = self.state
        if state == before:
            return
        self.state = state
        if before == "answering":
            self._group.release(self._priority)
            self._in_hand.answering[self._executor] -= 1
        elif before == "parked":
            self._group.parked -= 1
            self._in_hand.parked_bytes -= self._size_bytes
            self._in_hand.resumed_parked -= self._is_resumed
        if state == "answering":
            self._group.hold(self._priority)
            self._in_hand.answering[self._executor] += 1
        elif state == "parked":
            self._group.parked += 1
            self._in_hand.parked_bytes += self._size_bytes
            self._in_hand.resumed_parked += self._is_resumed


class InHand:
    """
    Counts of one scope.

    Attributes:
        answering: Deliveries being answered, by executor.
        parked_bytes: The bytes of those that are parked.
        resumed_parked: How many of those that are parked were suspended before.
    """

    def __init__(self) -> None:
        self.answering: Final[Counter[Executor]] = Counter()
        self.parked_bytes = 0
        self.resumed_parked = 0
