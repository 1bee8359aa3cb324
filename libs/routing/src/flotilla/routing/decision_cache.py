"""
Decisions that hold for the next task too: nothing in them was left to chance, to the clock or to the task's own size.

In a healthy fleet nearly every decision is the one before. Keeping it until the policy, the fleet or the health is another
object (the health is, twice a second) takes routing off the path that every task takes.
"""

from collections.abc import Mapping
from typing import Final

from flotilla.contracts.policy_rules import Rules
from flotilla.routing.compiled import CompiledPolicy
from flotilla.routing.health import Health
from flotilla.routing.strategies import strategy_named
from flotilla.routing.types import Decision, FleetView, TaskView

DECISIONS_CACHED_MAX: Final = 1000
SETTLED: Final = "settled"


class CachedDecision:
    """A decision, and what it rests on."""

    __slots__ = ("_fleet", "_health", "_policy", "_slots", "decision")

    def __init__(self, decision: Decision, policy: CompiledPolicy, fleet: FleetView, health: Health) -> None:
        self.decision: Final = decision
        self._policy = policy
        self._fleet = fleet
        self._health = health
        self._slots = tuple((choice.route.pool, fleet.pools[choice.route.pool].slots) for choice in decision.routes)

    def holds(
        self, task: TaskView, policy: CompiledPolicy, fleet: FleetView, health: Health, busy: Mapping[str, int]
    ) -> bool:
        """Whether the same would be decided again; full pools go behind free ones, so none may be full."""
        if fleet is not self._fleet or health is not self._health or policy is not self._policy or task.labels:
            return False
        for pool, slots in self._slots:  # noqa: SIM110  (a generator costs every task two calls more)
            if busy.get(pool, 0) >= slots:
                return False
        return True


def may_be_cached(decision: Decision, rules: Rules) -> bool:
    """Whether a decision depends on nothing but policy, fleet, health, and what a task of its kind asks for."""
    if (
        strategy_named(rules.strategy).depends_on_task
        or rules.cost_usd_max is not None
        or rules.task_labels
        or not decision.routes
    ):
        return False
    if any(exclusion.waits or exclusion.until_unix_ms for exclusion in decision.excluded):
        return False
    zones = [choice.route.zone for choice in decision.routes]
    if rules.routes is None and len(set(zones)) < len(zones):
        return False
    return all(
        not choice.probe
        and not choice.last_resort
        and choice.free_slots > 0
        and (choice.figures is None or (choice.figures.standing == SETTLED and choice.figures.breaker == "closed"))
        for choice in decision.routes
    )
