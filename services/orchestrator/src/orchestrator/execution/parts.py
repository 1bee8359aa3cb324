"""Parts of a task's run: several routes asked at the same time, each by a run of its own that is limited to it."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from flotilla.contracts.attempts import Finished
from flotilla.contracts.errors import TaskError
from flotilla.contracts.results import Result
from flotilla.routing.consensus import agreed_on, is_undecided
from flotilla.routing.types import Choice
from orchestrator.execution.run_state import RunState
from orchestrator.execution.run_steps import AskPanel, PanelEnded, PartEnded

KeyOf = Callable[[Finished], bytes]
"""What stands for an answer when it is compared."""


class PartRun(Protocol):
    """What is needed of a task's run that is a part."""

    @property
    def state(self) -> RunState:
        """What has happened in it."""
        ...

    @property
    def finished(self) -> Finished | None:
        """The worker's last word, when it went well."""
        ...

    async def run(self) -> Result:
        """Ask the one route that it is limited to; raises TaskError as a run does."""
        ...

    def record_success(self) -> None:
        """Count the attempt that went well."""
        ...

    def leave(self) -> None:
        """Stand in no line any more."""
        ...


async def run_part(run: PartRun, choice: Choice) -> PartEnded:
    """One part, heard out; it is counted and left when it ends, however it does."""
    try:
        result = await run.run()
    except TaskError as error:
        return PartEnded(choice, run.state, error=error)
    finally:
        run.record_success()
        run.leave()
    return PartEnded(choice, run.state, run.finished, result.replica)


async def stop_parts(tasks: "Iterable[asyncio.Task[PartEnded]]") -> None:
    """End parts that nobody waits for any more: their attempts are cancelled at the workers, and stand in their states."""
    stopping = list(tasks)
    for task in stopping:
        task.cancel()
    if stopping:
        await asyncio.wait(stopping)


async def ask_parts(runs: Sequence[PartRun], ask: AskPanel, key_of: KeyOf) -> PanelEnded:
    """
    Run the parts for as long as it is undecided (`is_undecided`); those that have not ended then are cancelled.

    Raises:
        FabricError: The server could not be asked.
    """
    tasks = [asyncio.ensure_future(run_part(run, choice)) for run, choice in zip(runs, ask.choices, strict=True)]
    keys: list[bytes | None] = [None] * len(tasks)
    pending = set(tasks)
    try:
        while is_undecided(keys, ask.agree, pending=len(pending)):
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                finished = task.result().finished
                keys[tasks.index(task)] = None if finished is None else key_of(finished)
    finally:
        await stop_parts(pending)
    parts = [
        PartEnded(choice, run.state) if task.cancelled() else task.result()
        for task, run, choice in zip(tasks, runs, ask.choices, strict=True)
    ]
    return PanelEnded(tuple(parts), agreed_on(keys, ask.agree))
