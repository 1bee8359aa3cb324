"""Engines that stand in for models: none is listed for a capability that a live model serves, in whichever zone."""

from flotilla.contracts.policy import RouteEntry
from flotilla.routing.types import Exclusion, FleetView, PoolView, TaskView

Listed = tuple[RouteEntry, PoolView, str]


def without_stand_ins(
    task: TaskView,
    fleet: FleetView,
    routes: tuple[RouteEntry, ...] | None,
    found: list[Listed],
    excluded: list[Exclusion],
) -> list[Listed]:
    """
    What is left of live routes when stand-ins give way to models; the rest goes to `excluded`.

    A model counts that the task's data may not reach, too: an answer that only looks like a model's is worse than none.
    Where the policy lists routes, those of its models count that it lists: who names a stand-in alone means it.
    """
    if not any(pool.gives_way for _, pool, _ in found):
        return found
    named = None if routes is None else {entry.pool for entry in routes}
    model = next(
        (
            pool
            for pool in fleet.serving(task.capability)
            if not pool.gives_way and (named is None or pool.pool in named)
        ),
        None,
    )
    if model is None:
        return found
    reason = f"stands in where there is no model; {model.pool} serves {task.capability}"
    excluded += [Exclusion(pool=pool.pool, model=name, reason=reason) for _, pool, name in found if pool.gives_way]
    return [each for each in found if not each[1].gives_way]
