"""
How the room for one capability's tasks is shared among its priorities.
"""

from typing import Final

from flotilla.contracts.subjects import Priority
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
    """

    def __init__(self, pullers: dict[Priority, Puller]) -> None:
        self.pullers: Final = pullers
        self._each = tuple(pullers.values())
        self.held: dict[Priority, int] = {"high": 0, "normal": 0, "low": 0}
        self.parked = 0
        self.ack_pending_max = 0

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
