"""Parts of a task's run: several routes asked at the same time, each by a run of its own that is limited to it."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from flotilla.contracts.attempts import Finished
from flotilla.contracts.errors import TaskError
from flotilla.contracts.results import Result
from flotilla.routing.consensus import agreed_on, is_undecided
from flotilla.routing.types import Choice
from orchestrator.execution.run_state import PartEnded, RunState
from orchestrator.execution.run_steps import AskPanel, PanelEnded

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

    One that was lost with its replica may still answer when it is asked again: it is no reason to decide without it.

    Raises:
        FabricError: The server could not be asked.
    """
    consensus = ask.consensus
    tasks = {asyncio.ensure_future(run_part(run, choice)): run for run, choice in zip(runs, ask.choices, strict=True)}
    ended = {part.choice.route: part for part in consensus.ended}
    keys = {route: key_of(part.finished) for route, part in ended.items() if part.finished is not None}
    to_come = len(consensus.choices) - len(ended)

    def is_open() -> bool:
        return is_undecided(list(keys.values()), consensus.agree, pending=to_come)

    pending = set(tasks)
    try:
        while pending and is_open():
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                part = task.result()
                ended[part.choice.route] = part
                to_come -= not part.is_lost
                if part.finished is not None:
                    keys[part.choice.route] = key_of(part.finished)
    finally:
        await stop_parts(pending)
    for (task, run), choice in zip(tasks.items(), ask.choices, strict=True):
        ended[choice.route] = PartEnded(choice, run.state) if task.cancelled() else task.result()
    parts = tuple(ended[choice.route] for choice in consensus.choices if choice.route in ended)
    agreed = agreed_on([keys.get(part.choice.route) for part in parts], consensus.agree)
    return PanelEnded(parts, agreed, is_open())
