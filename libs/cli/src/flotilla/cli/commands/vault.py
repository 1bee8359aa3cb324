"""`flotilla vault`: the vaults of a scope by handle and age, and how to be rid of one. Values are shown nowhere."""

import time
from typing import Any, Final

import msgspec
from cyclopts import App

from flotilla.cli.console import exits, terminal
from flotilla.cli.console.arguments import NO_WHERE, Where
from flotilla.cli.console.examples import examples_of
from flotilla.cli.console.readable import moment
from flotilla.cli.console.tables import table
from flotilla.contracts.redaction import VaultOutput

vault: Final = App(name="vault", help_format="plaintext", help_epilogue=examples_of("vault"))

_MINUTE_S: Final = 60
_HOUR_S: Final = 3600


@vault.command(name="list")
async def list_(*, where: Where = NO_WHERE) -> int:
    """List the vaults, the oldest first: handle, age, entries, and until when each lives."""
    found = await _asked(where, {"action": "list"})
    if where.json:
        for entry in found.vaults:
            terminal.json_line(msgspec.json.encode(entry))
        return exits.OK
    rows = [
        (entry.vault, _age(entry.created_unix_ms), f"{entry.entries:,}", moment(entry.expires_unix_ms))
        for entry in found.vaults
    ]
    table(("vault", "age", "entries", "until"), rows)
    if not rows:
        terminal.aside("no vault is kept; `flotilla redact FILE` makes one")
    if found.more:
        terminal.aside(f"the first {len(rows)} of more")
    if found.unreadable:
        terminal.aside(f"of keys that no worker has any more, to be forgotten: {', '.join(found.unreadable)}")
    return exits.OK


@vault.command
async def forget(handle: str = "", /, *, case: str | None = None, where: Where = NO_WHERE) -> int:  # noqa: D417
    """
    Delete a vault at once: nothing that was redacted into it can be restored any more. Exits with 1 when there is none.

    Parameters
    ----------
    handle
        As `redact` gave it.
    case
        In its place: the name that the documents were redacted under.
    """
    if bool(handle) == (case is not None):
        raise exits.UsageError("give the handle of a vault, or --case NAME")
    found = await _asked(where, {"action": "forget", **({"vault": handle} if handle else {"case": case})})
    if where.json:
        terminal.json_line(msgspec.json.encode({"forgotten": found.forgotten}))
    elif found.forgotten:
        terminal.write("forgotten\n")
    else:
        terminal.aside("there is no such vault: it was forgotten before, has expired, or is another scope's")
    return exits.OK if found.forgotten else exits.FAILED


async def _asked(where: Where, given: dict[str, Any]) -> VaultOutput:
    async with where.fleet() as fleet:
        return (await fleet.ask("vault", given)).output_as(VaultOutput)


def _age(created_unix_ms: int) -> str:
    age_s = max(0.0, time.time() - created_unix_ms / 1000)
    if age_s < _HOUR_S:
        return f"{age_s / _MINUTE_S:.0f} min"
    return f"{age_s / _HOUR_S:.1f} h"
