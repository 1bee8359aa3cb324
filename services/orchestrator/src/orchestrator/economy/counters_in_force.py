"""
Keeps the totals of the counters in force in their stream.

The stream is shared by all limits and budgets, and when it is full its oldest messages go, whoever's they are. A counter's
total is in its newest message: that of a budget on which nobody has drawn for days would be pushed out by what others
count, and the budget begin anew. So a counter that the policy in force has is written again, with nothing added, once half
as many messages have come after it as the stream holds: at least that half goes before it does.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Final

from flotilla.contracts import subjects
from flotilla.contracts.policy import Policy
from flotilla.fabric.per_item import guarded
from flotilla.routing.limit_rules import period_of
from orchestrator.economy.counters import Counters
from orchestrator.economy.errors import CountersAwayError

LOOK_EVERY_S: Final = 5.0
"""The half that goes before is tens of MiB: more than a server stores of increments in so long."""


class CountersInForce:
    """Looks after the counters of the policy in force; one without budgets and bounds on attempts at a time costs nothing."""

    def __init__(self, counters: Counters, policy: Callable[[], Policy]) -> None:
        self._counters = counters
        self._policy = policy
        self._looking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look after them until `stop`."""
        self._looking = asyncio.get_running_loop().create_task(self._look_loop())

    def stop(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()

    async def _look_loop(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            with guarded("counters", "in force"):
                await self.look()

    async def look(self) -> None:
        """Write those again that have come near the end of a stream that is filling up."""
        in_force = list(_in_force(self._policy(), time.time()))
        if not in_force:
            return
        try:
            usage = await self._counters.usage()
            if usage.size_bytes * 2 < usage.size_bytes_max:
                return
            for subject in in_force:
                stands = await self._counters.standing_of(subject)
                if stands.sequence and (usage.last_sequence - stands.sequence) * 2 >= usage.messages:
                    # All orchestrators look: the id has it written once.
                    await self._counters.add(subject, 0, message_id=f"keep.{stands.sequence}")
        except CountersAwayError:
            # It has been told; nothing is counted meanwhile either.
            return


def _in_force(policy: Policy, now_unix_s: float) -> Iterator[str]:
    """The counters whose totals must outlive their use: those of rates begin anew after a minute."""
    for name, budget in policy.budgets.items():
        yield subjects.budget_counter(name, period_of(budget.per, now_unix_s))
    for name, limit in policy.limits.items():
        if limit.concurrent_requests is not None:
            yield subjects.held_counter(name)
