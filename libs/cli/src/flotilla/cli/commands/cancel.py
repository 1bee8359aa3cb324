"""`flotilla cancel`: stop tasks."""

import msgspec

from flotilla.cli.console import exits, terminal
from flotilla.cli.console.arguments import NO_WHERE, Where
from flotilla.contracts.errors import TaskError


async def cancel(*tasks: str, where: Where = NO_WHERE) -> int:  # noqa: D417  (groups of options say it themselves)
    """
    Stop tasks, waiting or running.

    Parameters
    ----------
    tasks
        Their ids.
    """
    if not tasks:
        raise exits.UsageError("give the id of a task")
    worst = exits.OK
    async with where.fleet() as fleet:
        for task in tasks:
            try:
                cancelled = await fleet.cancel(task)
            except TaskError as error:
                worst = max(worst, exits.report(error, as_json=where.json, command="cancel"))
                continue
            if where.json:
                terminal.json_line(msgspec.json.encode(cancelled))
            else:
                was = "while it ran" if cancelled.was == "running" else "before it began"
                terminal.write(f"{task} cancelled {was}\n")
    return worst
