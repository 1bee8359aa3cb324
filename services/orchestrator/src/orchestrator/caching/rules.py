"""Which tasks a kept answer will do for, and whose answers are kept. Pure."""

from typing import Final

from msgspec import Struct

from flotilla.contracts.policy_rules import CacheRules
from flotilla.contracts.redaction import LOCAL_CAPABILITIES
from orchestrator.state.tasks import Task

NEVER_CACHED: Final = frozenset(LOCAL_CAPABILITIES)
"""What changes vaults, or gives personal data back."""


class CachePlan(Struct, frozen=True, kw_only=True):
    """
    What the cache does for a task.

    Attributes:
        refresh: Nothing kept will do: the task is run, and its answer takes the place of what is kept.
        ttl_s: For how long an answer will do, from the moment that it was made.
    """

    refresh: bool
    ttl_s: int


def wants(task: Task, rules: CacheRules) -> bool:
    """Whether the caller or the policy wants it for this task; `plan_for` says whether it may be."""
    asked = task.options.cache
    if asked is None:
        return rules.tasks == "all"
    return asked != "off" and rules.tasks != "none"


def plan_for(task: Task, rules: CacheRules) -> CachePlan | None:
    """
    What the cache does for a task that `wants` it; None where it does nothing.

    Restricted tasks have a part in it only where the policy says so. A task with a grant has none: its worker is to see
    each grant.
    """
    if task.capability in NEVER_CACHED or task.options.approval is not None:
        return None
    if task.data_class == "restricted" and not rules.restricted:
        return None
    return CachePlan(refresh=task.options.cache == "refresh", ttl_s=rules.ttl_s)
