"""`flotilla explain`: where a task would go now, and why."""

from typing import Annotated

import msgspec
from cyclopts import Parameter

from flotilla.cli.console import exits, terminal
from flotilla.cli.console.arguments import NO_WHERE, Where, labels_of
from flotilla.cli.console.routes import explained_rows, explained_steps, gate_lines, goes_nowhere
from flotilla.cli.console.tables import table
from flotilla.contracts.headers import DataClass


async def explain(  # noqa: D417  (groups of options say it themselves)
    capability: str,
    /,
    *,
    where: Where = NO_WHERE,
    data_class: DataClass | None = None,
    route: str | None = None,
    sticky: str | None = None,
    label: Annotated[list[str] | None, Parameter(negative="")] = None,
    input_bytes: int = 0,
) -> int:
    """
    Where a task would go now, and why; nothing is sent. Exits with 1 when it would go nowhere.

    Of a pipeline, where each step would go, under the data class that it has when all goes well.

    Parameters
    ----------
    capability
        What needs doing.
    data_class
        Of the task; the scope's default unless given.
    route
        POOL or POOL/MODEL, as a caller may ask for it.
    sticky
        Tasks with the same key take the same branch of a split.
    label
        KEY=VALUE of the task. May be repeated.
    input_bytes
        The size of its input; only the strategy fastest looks at it.
    """
    async with where.fleet() as fleet:
        found = await fleet.explain(
            capability,
            data_class=data_class,
            route=route,
            sticky=sticky,
            labels=labels_of(label),
            input_bytes=input_bytes,
        )
    if where.json:
        terminal.json_line(msgspec.json.encode(found))
    else:
        table(*(explained_steps(found) if found.steps else explained_rows(found)))
        policy = f"policy revision {found.policy_revision}" if found.policy_revision else "no policy"
        terminal.aside(f"{found.capability}, {found.data_class} data: {found.strategy}, {policy}")
        for line in gate_lines(found):
            terminal.aside(line)
        if found.reason:
            terminal.aside(found.reason)
    return exits.FAILED if goes_nowhere(found) else exits.OK
