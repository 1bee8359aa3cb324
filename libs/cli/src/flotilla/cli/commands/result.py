"""`flotilla result`: the results of durable tasks."""

from typing import Annotated

import msgspec
from cyclopts import Parameter

from flotilla.cli.console import exits, readable, terminal
from flotilla.cli.console.arguments import NO_WHERE, Where
from flotilla.cli.console.submitted import show_batch
from flotilla.client.answers import Answer
from flotilla.client.errors import ClientError, ResultTimeoutError, TaskFailedError
from flotilla.client.fleet import RESULT_TIMEOUT_S, Fleet
from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorKind


async def result(  # noqa: D417  (groups of options say it themselves)
    *tasks: str,
    batch: str | None = None,
    where: Where = NO_WHERE,
    wait: Annotated[bool, Parameter(negative="")] = False,
    timeout_s: float = RESULT_TIMEOUT_S,
) -> int:
    """
    Print the results of durable tasks.

    Parameters
    ----------
    tasks
        Their ids.
    batch
        In place of ids: all tasks of a folder that was submitted from here; `flotilla tasks` names it.
    wait
        Wait for results that are not there yet.
    timeout_s
        With --wait: how long, in seconds.
    """
    if bool(tasks) == (batch is not None):
        raise exits.UsageError("give the id of a task, which `flotilla submit` printed, or --batch")
    worst = exits.OK
    async with where.fleet() as fleet:
        if batch is not None:
            return await show_batch(fleet, where, batch, timeout_s=timeout_s if wait else None)
        for task in tasks:
            answer = await (_awaited(fleet, task, timeout_s) if wait else _present(fleet, task))
            worst = max(worst, _show(answer, where))
    return worst


def _show(answer: Answer, where: Where) -> int:
    if where.json:
        terminal.json_line(msgspec.json.encode(answer.result))
    elif answer.error is not None:
        return exits.report(TaskFailedError(answer.error, answer), as_json=False)
    else:
        terminal.write(readable.full(answer).rstrip("\n") + "\n")
        terminal.aside(readable.origin(answer))
    return exits.OK if answer.ok else exits.FAILED


async def _awaited(fleet: Fleet, task: str, timeout_s: float) -> Answer:
    try:
        return await fleet.result(task, timeout_s=timeout_s)
    except TaskFailedError as error:
        return error.answer
    except ResultTimeoutError as error:
        await fleet.task_status(task)  # an id that no task has: not_found says it better
        raise ClientError(str(error)) from error


async def _present(fleet: Fleet, task: str) -> Answer:
    try:
        return await fleet.committed(task)
    except TaskError as error:
        if error.kind is not ErrorKind.NOT_FOUND:
            raise
    status = await fleet.task_status(task)
    if status.state in ("ok", "failed"):
        return await fleet.committed(task)  # it ended just now
    place = f" on {status.pool}/{status.model}" if status.pool else ""
    text = f"task {task} is {status.state}{place}; --wait waits for its result"
    raise TaskError(ErrorKind.NOT_FOUND, text, details={"task": task, "state": status.state})
