"""The routing of a fleet without a policy: whoever is live and can, local first, the cloud where the data may go."""

import random
from typing import TypeVar

from flotilla.contracts.subjects import ZONES
from flotilla.routing.eligibility import barred, missing, model_for, wish
from flotilla.routing.types import Choice, Decision, Exclusion, FleetView, PoolView, Route, TaskView

Item = TypeVar("Item")


def route_by_default(task: TaskView, fleet: FleetView, rng: random.Random) -> Decision:
    """
    Every live pool that announces the capability: the local zone first, the pools of a zone in random order.

    Each pool stands once, with its first model that has the capability (or the one that the caller asked for).
    Restricted data never gets a cloud route. A decision without routes has a reason.
    """
    found, excluded = pools_by_default(task, fleet)
    routes = tuple(
        Choice(route=Route(zone=pool.zone, pool=pool.pool, model=model), reason=_reason(task, pool))
        for zone in ZONES
        for pool, model in shuffled([each for each in found if each[0].zone == zone], rng)
    )
    return Decision(routes=routes, excluded=tuple(excluded), reason="" if routes else _why_none(task, excluded))


def pools_by_default(
    task: TaskView,
    fleet: FleetView,
) -> tuple[list[tuple[PoolView, str]], list[Exclusion]]:
    """The pools of `route_by_default` in no order, each with its model, and what was ruled out."""
    found: list[tuple[PoolView, str]] = []
    excluded: list[Exclusion] = []
    for pool in fleet.pools.values():
        model = model_for(task, pool)
        out = _without_model(task, pool) if model is None else barred(task, pool, model)
        if out is not None:
            excluded.append(out)
        elif model is not None:
            found.append((pool, model))
    excluded += _unserved_wish(task, fleet)
    return found, excluded


def shuffled(items: list[Item], rng: random.Random) -> list[Item]:
    """The items in random order; several times faster than `random.shuffle`, which draws integers."""
    if len(items) < 2:  # noqa: PLR2004
        return items
    draws = [rng.random() for _ in items]
    return [items[index] for index in sorted(range(len(items)), key=draws.__getitem__)]


def _reason(task: TaskView, pool: PoolView) -> str:
    if task.wanted_pool is not None:
        return "asked for by the caller"
    return "default routing: local first" if pool.zone == "local" else "default routing: cloud behind local"


def _without_model(task: TaskView, pool: PoolView) -> Exclusion | None:
    """A pool that serves the capability, but not with the model asked for; None when it does not serve it at all."""
    first = next((model for model, capabilities in pool.models.items() if task.capability in capabilities), None)
    if first is None:
        return None
    refused = barred(task, pool, first)
    if refused is not None and not refused.waits:
        return refused
    reason = f"the caller asked for {wish(task)}, which serves no {task.capability} here"
    return Exclusion(pool=pool.pool, model=first, reason=reason)


def _unserved_wish(task: TaskView, fleet: FleetView) -> list[Exclusion]:
    """The pool asked for, when it is not live or cannot serve the capability at all."""
    if task.wanted_pool is None:
        return []
    pool = fleet.pools.get(task.wanted_pool)
    if pool is None:
        return [missing(task, task.wanted_pool, task.wanted_model or "")]
    if any(task.capability in capabilities for capabilities in pool.models.values()):
        return []
    reason = f"does not serve {task.capability}"
    return [Exclusion(pool=pool.pool, model=task.wanted_model or "", reason=reason)]


def _why_none(task: TaskView, excluded: list[Exclusion]) -> str:
    if not excluded:
        return f"no live pool serves {task.capability}"
    return f"every route for {task.capability} is ruled out"
