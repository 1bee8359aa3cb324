"""What a run waits for besides a slot: a pause to be over, or a route to appear."""

import asyncio
import time

from orchestrator.state.fleet import Fleet
from orchestrator.state.tasks import Task


async def pause(task: Task, fleet: Fleet, *, up_to_s: float, deadline_at: float) -> None:
    """
    Wait, but not past the deadline, a cancellation or a change of the fleet.

    Args:
        task: Whose run waits.
        fleet: A change of it may bring a route.
        up_to_s: How long at most.
        deadline_at: By the monotonic clock.
    """
    waits = [asyncio.ensure_future(wait) for wait in (task.cancelled.wait(), fleet.changed.wait())]
    left_s = max(0.0, deadline_at - time.monotonic())
    try:
        await asyncio.wait(waits, timeout=min(up_to_s, left_s), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


async def park(task: Task, fleet: Fleet, *, up_to_s: float, deadline_at: float) -> None:
    """The same for a task that has no route: who holds it is told, so that it takes no room from others meanwhile."""
    told, away = task.park or _nobody, task.away or _nobody
    told(True)
    away(True)
    try:
        await pause(task, fleet, up_to_s=up_to_s, deadline_at=deadline_at)
    finally:
        away(False)
        told(False)


def _nobody(_begins: bool) -> None:  # noqa: FBT001  (see `Task.park`)
    pass
