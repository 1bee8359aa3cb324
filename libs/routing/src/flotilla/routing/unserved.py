"""Which capabilities a policy would leave without a live route. Pure."""

import random
from collections.abc import Iterable
from typing import Final

from flotilla.contracts.headers import DataClass
from flotilla.contracts.policy_rules import Rules
from flotilla.routing.compiled import CompiledPolicy
from flotilla.routing.health import UNKNOWN
from flotilla.routing.policy_routing import route
from flotilla.routing.types import FleetView, TaskView

_SCOPE: Final = "default"
"""Whose task it is changes its data class and nothing else."""


def unserved(policy: CompiledPolicy, fleet: FleetView, capabilities: Iterable[str]) -> list[str]:
    """
    The capabilities for which the fleet has a route without a policy, and none with this one.

    A capability counts as served when a task of the data class that may go furthest, with every label that the policy
    asks for, has a route. Health is left out: a route that is ill now is still one.
    """
    without = CompiledPolicy(None, policy.held)
    return [
        capability
        for capability in capabilities
        if not _is_served(policy, fleet, capability) and _is_served(without, fleet, capability)
    ]


def _is_served(policy: CompiledPolicy, fleet: FleetView, capability: str) -> bool:
    rules = policy.rules_of(capability)
    task = TaskView(
        capability=capability,
        scope=_SCOPE,
        data_class=_widest(rules),
        labels=dict.fromkeys(rules.task_labels, ""),
    )
    decision = route(task, policy, fleet, UNKNOWN, now_unix_ms=0, rng=random.Random(0))
    return bool(decision.routes) or decision.to_hold is not None


def _widest(rules: Rules) -> DataClass:
    classes: tuple[DataClass, ...] = ("public", "internal", "restricted")
    return next(each for each in classes if each in rules.data_classes)
