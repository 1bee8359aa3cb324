"""Tasks that pass by a gate: it stands before some zones alone, and they are worked on elsewhere."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from flotilla.contracts.subjects import Zone
from flotilla.routing.types import TaskView
from orchestrator.execution.dependencies import GateAheadError
from orchestrator.state.tasks import Task

Ended = TypeVar("Ended")
GoesElsewhere = Callable[[TaskView, frozenset[Zone]], bool]
"""Whether a task would not be sent into any of these zones now."""


async def run_elsewhere(
    task: Task,
    zones: frozenset[Zone],
    run: Callable[[Task], Awaitable[Ended]],
    *,
    goes_elsewhere: GoesElsewhere,
) -> Ended | None:
    """
    Run a task kept out of the zones before which a gate stands; None where it has to come to the gate.

    Raises:
        NoRouteNowError, FabricError: It cannot be worked on now.
    """
    if not goes_elsewhere(task.view, zones):
        return None
    try:
        return await run(task.kept_out_of(zones))
    except GateAheadError:
        return None
