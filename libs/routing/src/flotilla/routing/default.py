"""The candidates of a fleet without a policy: whoever is live and can, local or, where the data may go, in the cloud."""

import random
from typing import TypeVar

from flotilla.routing.eligibility import barred, missing, model_for, wish
from flotilla.routing.types import Exclusion, FleetView, PoolView, TaskView

Item = TypeVar("Item")


def pools_by_default(
    task: TaskView,
    fleet: FleetView,
) -> tuple[list[tuple[PoolView, str]], list[Exclusion]]:
    """
    Every live pool that announces the capability, in no order, and what was ruled out.

    Each stands once, with its first model that has the capability, or the one that the caller asked for.
    """
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
