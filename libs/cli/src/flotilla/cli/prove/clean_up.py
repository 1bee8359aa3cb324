"""What a run leaves behind is removed: its results, dead letters and steps, which hold its canaries."""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Final

from flotilla.client.fleet import Fleet
from flotilla.contracts import subjects
from flotilla.contracts.errors import FlotillaError, TaskError
from flotilla.fabric.inbox import Requests
from flotilla.fabric.stored import purge

CLEAN_UP_S: Final = 60.0
ANY: Final = "*"


async def clean_up(fleet: Fleet, requests: Requests, scope: str, tasks: Mapping[str, bool]) -> int:
    """
    Stop the tasks that still run, and delete what the streams hold of all of them.

    Args:
        fleet: Of which the tasks are.
        requests: With the rights of the fleet's admin.
        scope: Whose tasks they are.
        tasks: By id, whether each is known to have ended.

    Returns:
        How many could not be cleaned up within CLEAN_UP_S.
    """
    left = set(tasks)
    with contextlib.suppress(TimeoutError, FlotillaError):
        async with asyncio.timeout(CLEAN_UP_S):
            for task in (task for task, ended in tasks.items() if not ended):
                with contextlib.suppress(TaskError):  # it has ended meanwhile
                    await fleet.cancel(task)
            for task in tasks:
                for stream, pattern in _kept_of(scope, task):
                    await purge(requests, stream, pattern)
                left.discard(task)
    return len(left)


def _kept_of(scope: str, task: str) -> tuple[tuple[str, str], ...]:
    """By stream, the subjects of what is kept of a task."""
    return (
        (subjects.results_stream(scope), subjects.results(scope, ANY, task)),
        (subjects.dead_stream(scope), subjects.dead(scope, ANY, task)),
        (subjects.steps_stream(scope), subjects.pipeline_steps(scope, task)),
    )
