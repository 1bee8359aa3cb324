"""
Hedging: when a second attempt may be made beside one that takes long, where, and how many there may be. Pure.

Only routes of the task's own decision come into question, so a hedge goes nowhere where the task itself may not.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from flotilla.routing.types import Choice, PoolView
from orchestrator.execution.run_state import RunState

BURST_MAX: Final = 10.0
"""Hedges that may be made at once where none was needed for a while, of one capability."""
CAPABILITIES_MAX: Final = 4_096
"""With a share of their own; beyond them all begin anew."""


class HedgeShares:
    """A token bucket for each capability: attempts fill it by the share that may be hedged, hedges empty it."""

    def __init__(self) -> None:
        self._tokens: dict[str, float] = {}

    def sent(self, capability: str, share_max: float) -> None:
        """An attempt was sent that may be hedged."""
        if capability not in self._tokens and len(self._tokens) >= CAPABILITIES_MAX:
            self._tokens.clear()
        self._tokens[capability] = min(BURST_MAX, self._tokens.get(capability, 0.0) + share_max)

    def take(self, capability: str) -> bool:
        """Take the room for one hedge; False where the share is used up."""
        left = self._tokens.get(capability, 0.0)
        # A thousand shares of 0.05 add up to a hair less than fifty.
        if left < 1.0 - 1e-9:
            return False
        self._tokens[capability] = left - 1.0
        return True


def hedge_after_s(run: RunState, choice: Choice) -> float | None:
    """
    How long an attempt may take before a second one is made; None for one that is never hedged.

    That is a part of a run, a health probe, and whatever may be a deadly task.
    """
    hedge = run.rules.hedge
    if hedge is None or run.part is not None or run.losses or run.deaths or choice.probe:
        return None
    after_ms = hedge.after_ms
    if after_ms is None:
        after_ms = choice.figures.p95_ms if choice.figures is not None else None
    return None if after_ms is None else after_ms / 1000


def second_choice(
    run: RunState, first: Choice, pools: Mapping[str, PoolView], busy: Mapping[str, int], *, why: str
) -> Choice | None:
    """
    Where a second attempt goes: the next route of the decision that has a free slot, else another replica of the same.

    None where neither is there.
    """
    others = [each for each in run.choices if each.route != first.route and not (each.probe or each.last_resort)]
    for choice in (*others, first):
        pool = pools.get(choice.route.pool)
        if pool is None or pool.slots - busy.get(pool.pool, 0) < 1:
            continue
        if choice is not first or pool.replicas > 1:
            return msgspec.structs.replace(choice, reason=why)
    return None
