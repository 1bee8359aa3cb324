"""
Where a shadow may have a task too. Pure.

A shadow is no route of the policy's list, so nothing of it is asked for a caller; but the same rules hold for it: the data's
class, the labels that pools must carry, what a task may cost. It gets nothing while it is ill or has no slot to spare.
"""

from collections.abc import Mapping

import msgspec

from flotilla.contracts.policy import RouteEntry
from flotilla.contracts.policy_rules import Rules
from flotilla.routing.candidates import Row, ruled_out
from flotilla.routing.compiled import CompiledPolicy
from flotilla.routing.eligibility import barred, model_for, named_model
from flotilla.routing.health import NOTHING, UNSEEN, Health
from flotilla.routing.types import FleetView, Route, TaskView


def shadow_route(
    task: TaskView,
    policy: CompiledPolicy,
    fleet: FleetView,
    health: Health,
    *,
    now_unix_ms: int,
    busy: Mapping[str, int],
) -> Route | str:
    """The shadow's route at this moment, or why the task is not shadowed."""
    rules = policy.rules_of(task.capability)
    if rules.shadow is None:
        return "the policy names no shadow"
    name, wanted = rules.shadow.pool, rules.shadow.model
    pool = fleet.pools.get(name)
    if pool is None:
        return "no live replica"
    # The caller's wish for a route is about the answer that the caller gets.
    seen = msgspec.structs.replace(task, wanted_pool=None, wanted_model=None)
    model = model_for(seen, pool) if wanted is None else named_model(task.capability, pool, wanted)
    if model is None:
        return f"no live replica serves {task.capability}"
    row = Row(
        Route(zone=pool.zone, pool=name, model=model),
        RouteEntry(pool=name, model=model),
        pool,
        health.routes.get(task.capability, NOTHING).get((name, model), UNSEEN),
    )
    refusal = _refusal(seen, rules, row, health, now_unix_ms)
    if refusal:
        return refusal
    return row.route if pool.slots > busy.get(name, pool.busy) else "no free slot"


def _refusal(task: TaskView, rules: Rules, row: Row, health: Health, now_unix_ms: int) -> str:
    """What the data's class, the policy or the route's health say against it."""
    if task.data_class not in rules.data_classes:
        return f"the policy does not allow {task.data_class} data for {task.capability}"
    out = barred(task, row.pool, row.route.model) or ruled_out(rules, row)
    if out is not None:
        return out.reason
    pair = (row.route.pool, row.route.model)
    closed = pair in health.closures or health.retry_after.get(pair, 0) > now_unix_ms
    return "closed for a time" if closed else ""
