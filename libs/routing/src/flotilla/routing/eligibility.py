"""What rules a live pool out for a task whatever the policy says: where its data may go, and what the caller asked."""

from flotilla.contracts.redaction import LOCAL_CAPABILITIES
from flotilla.contracts.subjects import ZONES, Zone
from flotilla.routing.one_model import base_name
from flotilla.routing.types import Exclusion, PoolView, TaskView


def may_enter(task: TaskView, zone: str) -> bool:
    """
    Whether the task's data may go to a zone at all. Fails closed: only `local` holds restricted data.

    Nor does anything but `local` get what is redacted or restored, whichever class somebody gave it.
    """
    return zone == "local" or (task.data_class in ("public", "internal") and task.capability not in LOCAL_CAPABILITIES)


def open_zones(task: TaskView) -> tuple[Zone, ...]:
    """The zones that a task without wishes of its own may enter; empty for one with wishes: that is looked at alone."""
    if task.wanted_pool is not None or task.wanted_model is not None:
        return ()
    return tuple(zone for zone in ZONES if may_enter(task, zone))


def is_wanted(task: TaskView, pool: str, model: str) -> bool:
    """Whether the caller's own wish for a route leaves this one in; a wish only ever narrows."""
    if task.wanted_pool is not None and pool != task.wanted_pool:
        return False
    return task.wanted_model is None or is_called(model, task.wanted_model)


def wish(task: TaskView) -> str:
    """The route that the caller asked for, as it stands in `Flotilla-Route`."""
    pool = task.wanted_pool or "*"
    return pool if task.wanted_model is None else f"{pool}/{task.wanted_model}"


def model_for(task: TaskView, pool: PoolView) -> str | None:
    """
    The model of a pool that serves the task: the one asked for, else its first that has the capability.

    None when the pool has no such model.
    """
    if task.wanted_model is not None:
        return named_model(task.capability, pool, task.wanted_model)
    return next((model for model, capabilities in pool.models.items() if task.capability in capabilities), None)


def named_model(capability: str, pool: PoolView, name: str) -> str | None:
    """A pool's model that somebody named, as the pool calls it; None when no live replica serves the capability with it."""
    if capability in pool.models.get(name, ()):
        return name
    serving = (model for model, capabilities in pool.models.items() if capability in capabilities)
    return next((model for model in serving if is_called(model, name)), None)


def is_called(model: str, name: str) -> bool:
    """Whether a model is the one of this name; `smollm2` and `smollm2:latest` are the same."""
    return model == name or base_name(model) == base_name(name)


def barred(task: TaskView, pool: PoolView, model: str) -> Exclusion | None:
    """
    Rule a live pool's model out by data class, by the caller's wish, or because every replica leaves; None lets it in.

    The data class is looked at first, so that the reason given is the one that no later change of the fleet lifts.
    """
    if not may_enter(task, pool.zone):
        reason = (
            f"{task.capability} is served in the local zone alone"
            if task.capability in LOCAL_CAPABILITIES
            else f"{task.data_class} data never enters the {pool.zone} zone"
        )
        return Exclusion(pool=pool.pool, model=model, reason=reason)
    if not is_wanted(task, pool.pool, model):
        return Exclusion(pool=pool.pool, model=model, reason=f"the caller asked for {wish(task)}")
    if pool.slots < 1:
        return Exclusion(pool=pool.pool, model=model, reason="no replica takes new work", waits=True)
    return None


def missing(task: TaskView, pool: str, model: str) -> Exclusion:
    """A route to a pool of which no replica is live."""
    if not is_wanted(task, pool, model):
        return Exclusion(pool=pool, model=model, reason=f"the caller asked for {wish(task)}")
    return Exclusion(pool=pool, model=model, reason="no live replica", waits=True)
