"""`flotilla doctor`: what is wrong, and the line that mends it."""

import os

import msgspec

from flotilla.chassis.terminal_text import clean_line
from flotilla.cli.console import exits, terminal
from flotilla.cli.console.arguments import NO_WHERE, Where


async def doctor(  # noqa: D417  (groups of options say it themselves)
    *,
    where: Where = NO_WHERE,
    local_models: str = "",
    cloud_models: str = "",
) -> int:
    """
    Look at this machine, its models and keys, and the fleet; says what is wrong and what mends it.

    Sends nothing but questions: which models there are, and how the fleet is. Exit code 1 when something is wrong.

    Parameters
    ----------
    local_models
        Those that Ollama should have, with commas between; by default any.
    cloud_models
        Those that the API should have; by default what `flotilla up` would use.
    """
    from flotilla.cli.doctor import examine  # noqa: PLC0415  (--help needs no supervisor)

    found = await examine(where, os.environ, local_models=local_models, cloud_models=cloud_models)
    for finding in found:
        if where.json:
            terminal.json_line(msgspec.json.encode(finding))
            continue
        terminal.write(f"{finding.state:<6}{finding.subject}: {clean_line(finding.says)}\n")
        if finding.mend:
            terminal.write(f"      -> {clean_line(finding.mend)}\n")
    return exits.FAILED if any(finding.state == "wrong" for finding in found) else exits.OK
