"""
How the room for one capability's tasks is shared among its priorities, and which capabilities are pulled for at all.
"""

import time
from collections.abc import Callable, Collection
from typing import Final

from flotilla.contracts.subjects import PRIORITIES, Priority
from flotilla.fabric.consumers import INACTIVE_THRESHOLD_S
from flotilla.fabric.pull_consumers import Puller

WEIGHTS: Final[dict[Priority, int]] = {"high": 8, "normal": 3, "low": 1}
"""Shares of an orchestrator's room when several priorities have a backlog: high goes first, low never starves."""


class PullGroup:
    """
    The pullers of one capability: how the room there is is shared among its priorities.

    Attributes:
        held: Messages being answered, by priority.
        parked: Messages that wait for a route; they take no room.
        ack_pending_max: The consumers' limit, as it was last set.
        wanted_at_s: When somebody last served the capability or had it waiting, by this process's clock.
    """

    def __init__(self, pullers: dict[Priority, Puller]) -> None:
        self.pullers: Final = pullers
        self._each = tuple(pullers.values())
        self.held: dict[Priority, int] = {"high": 0, "normal": 0, "low": 0}
        self.parked = 0
        self.ack_pending_max = 0
        self.wanted_at_s = time.monotonic()

    @property
    def is_idle(self) -> bool:
        """Whether nothing of it is in hand, parked or on its way."""
        return not (self.in_hand or self.parked or any(puller.outstanding for puller in self._each))

    @property
    def in_hand(self) -> int:
        """Messages that are held, and those that may arrive at any moment."""
        held = self.held
        return held["high"] + held["normal"] + held["low"]

    def hold(self, priority: Priority) -> None:
        """A message is being answered."""
        self.held[priority] += 1

    def release(self, priority: Priority) -> None:
        """It is not any more."""
        self.held[priority] -= 1

    def asks_enough(self, room: int) -> bool:
        """Whether every priority has asked for all that there is room for, however it is shared out."""
        for puller in self._each:  # noqa: SIM110  (a generator costs as much as all the rest)
            if puller.outstanding < room:
                return False
        return True

    async def pull(self, room: int) -> None:
        """Share out room for `room` more messages among the priorities."""
        held = self.held
        capacity = room + self.in_hand
        waiting: list[Priority] = [
            priority for priority, puller in self.pullers.items() if puller.backlog or held[priority]
        ]
        shares = sum([WEIGHTS[priority] for priority in waiting])
        for priority, puller in self.pullers.items():
            mine = WEIGHTS[priority]
            others = shares - mine if priority in waiting else shares
            quota = max(1, capacity * mine // (mine + others)) if others else capacity
            await puller.pull(min(room, quota - held[priority]))


class PullGroups:
    """
    The pull groups of a scope.

    One that nobody has wanted for as long as the server keeps an unused consumer is closed: a worker that announces other
    capabilities every hour would else have each pulled for until this process ends.

    Attributes:
        of: By capability.
    """

    def __init__(self, make: Callable[[str, Priority], Puller], on_count: Callable[[int], None]) -> None:
        """Begin without any; `on_count` is told how many pullers there are."""
        self._make = make
        self._on_count = on_count
        self.of: Final[dict[str, PullGroup]] = {}

    def open(self, capability: str) -> PullGroup:
        """The pullers of a capability, whose consumers exist."""
        group = self.of.get(capability)
        if group is None:
            group = PullGroup({priority: self._make(capability, priority) for priority in PRIORITIES})
            self.of[capability] = group
            self._on_count(len(self.of) * len(PRIORITIES))
        return group

    async def close_unused(self, wanted: Collection[str]) -> None:
        """Close what has long not been wanted, and of which nothing is under way."""
        now_s = time.monotonic()
        for capability in wanted:
            if capability in self.of:
                self.of[capability].wanted_at_s = now_s
        oldest_s = now_s - INACTIVE_THRESHOLD_S
        unused = [name for name, group in self.of.items() if group.wanted_at_s < oldest_s and group.is_idle]
        for capability in unused:
            group = self.of.pop(capability)
            self._on_count(len(self.of) * len(PRIORITIES))
            for puller in group.pullers.values():
                await puller.close()
