"""What was submitted from here: where each task stands, and the results of a folder."""

from collections.abc import AsyncGenerator, Sequence
from typing import Final

from flotilla.cli.console import exits
from flotilla.cli.console.arguments import Where
from flotilla.cli.console.journal import Noted, fleet_name, journal_path, noted_in
from flotilla.cli.console.outcomes import JOBS_DEFAULT, Outcome, in_parallel, show
from flotilla.client.answers import Answer
from flotilla.client.errors import NoFleetError, ResultTimeoutError
from flotilla.client.fleet import Fleet
from flotilla.contracts.api import TaskStatus
from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorKind

GONE: Final = "gone"
"""The fleet does not know the task any more: results are kept for a week."""
UNKNOWN: Final = "unknown"
"""Nobody could say in time."""


def noted_for(fleet: Fleet, where: Where) -> list[Noted]:
    """
    What was submitted to a fleet, oldest first.

    Raises:
        PrivateFileError: The journal cannot be read.
    """
    return list(noted_in(journal_path(), fleet_name(fleet.url, where.scope)).values())


async def state_of(fleet: Fleet, task: str) -> tuple[str, TaskStatus | None]:
    """Where a task stands, in a word, and what more is known."""
    try:
        status = await fleet.task_status(task)
    except NoFleetError:
        return UNKNOWN, None
    except TaskError as error:
        return (GONE if error.kind is ErrorKind.NOT_FOUND else UNKNOWN), None
    return status.state, status


async def show_batch(fleet: Fleet, where: Where, batch: str, *, timeout_s: float | None) -> int:
    """
    Show the results of a folder; with a timeout those that are not there yet are waited for.

    Raises:
        UsageError: Nothing was submitted from here under this name.
    """
    noted = [each for each in noted_for(fleet, where) if each.batch == batch]
    if not noted:
        raise exits.UsageError(
            f"no batch {batch} was submitted from here to {fleet.url}; `flotilla tasks` lists what was"
        )
    outcomes = _present(fleet, noted) if timeout_s is None else _awaited(fleet, noted, timeout_s)
    return await show(outcomes, total=len(noted), as_json=where.json)


async def _present(fleet: Fleet, noted: Sequence[Noted]) -> AsyncGenerator[Outcome]:
    async def look(each: Noted) -> Outcome:
        found = await _committed(fleet, each.task)
        if found is None:
            state, _ = await state_of(fleet, each.task)
            # It may have ended while it was looked for.
            found = await _committed(fleet, each.task) if state in ("ok", "failed") else None
            if found is None:
                return Outcome(name=each.file, status=state, task=each.task)
        return Outcome(name=each.file, answer=found)

    async for outcome in in_parallel(look, noted, JOBS_DEFAULT):
        yield outcome


async def _awaited(fleet: Fleet, noted: Sequence[Noted], timeout_s: float) -> AsyncGenerator[Outcome]:
    files = {each.task: each.file for each in noted}
    for capability in sorted({each.capability for each in noted}):
        tasks = [each.task for each in noted if each.capability == capability]
        try:
            async for answer in fleet.results(capability, tasks, timeout_s=timeout_s):
                yield Outcome(name=files.pop(answer.task), answer=answer)
        except ResultTimeoutError:
            for task in [task for task in tasks if task in files]:
                state, _ = await state_of(fleet, task)
                yield Outcome(name=files.pop(task), status=state, task=task)


async def _committed(fleet: Fleet, task: str) -> Answer | None:
    try:
        return await fleet.committed(task)
    except TaskError as error:
        if error.kind is not ErrorKind.NOT_FOUND:
            raise
    return None
