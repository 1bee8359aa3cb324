"""`flotilla policy`: the routing policy."""

import getpass
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final

import msgspec
from cyclopts import App, Parameter

from flotilla.chassis.policy_toml import read_policy
from flotilla.chassis.terminal_text import encodable
from flotilla.cli.console import exits, terminal
from flotilla.cli.console.arguments import NO_WHERE, Where
from flotilla.cli.console.examples import examples_of
from flotilla.cli.console.readable import moment
from flotilla.cli.console.tables import table
from flotilla.client.errors import NoFleetError
from flotilla.contracts.api_routing import PolicyReply, PolicyVersion
from flotilla.routing.policy_check import parse_policy, warnings

policy: Final = App(name="policy", help_format="plaintext", help_epilogue=examples_of("policy"))
NONE_IN_FORCE: Final = "no policy is in force: any live pool, local first, the cloud where the data may go"
Force = Annotated[bool, Parameter(negative="")]


@policy.command
async def get(*, revision: int | None = None, where: Where = NO_WHERE) -> int:  # noqa: D417  (groups of options say it themselves)
    """
    Print the policy in force, as it was written.

    Parameters
    ----------
    revision
        An older one; `flotilla policy history` shows which there are.
    """
    async with where.fleet() as fleet:
        found = await fleet.policy.get(revision)
    if where.json:
        terminal.json_line(msgspec.json.encode(found))
    elif found.revision:
        terminal.write(found.toml if found.toml.endswith("\n") else found.toml + "\n")
        terminal.aside(_about(found))
        for warning in found.warnings:
            terminal.aside(f"warning: {warning}")
    else:
        terminal.aside(NONE_IN_FORCE)
    return exits.OK


@policy.command
async def check(  # noqa: D417  (groups of options say it themselves)
    file: Path, /, *, offline: Annotated[bool, Parameter(negative="")] = False, where: Where = NO_WHERE
) -> int:
    """
    Say what is wrong with a policy, every fault with its line and key. Needs no fleet; one that is there is compared with it.

    Parameters
    ----------
    file
        The policy (TOML).
    offline
        Look for no fleet.
    """
    text = read_policy(file)
    found: list[str] | None = None
    if not offline:
        with suppress(NoFleetError):
            async with where.fleet() as fleet:
                found = (await fleet.policy.check(text)).warnings
    known = found is not None
    found = _without_fleet(text) if found is None else found
    if where.json:
        terminal.json_line(msgspec.json.encode({"file": encodable(str(file)), "warnings": found, "fleet": known}))
        return exits.OK
    for warning in found:
        terminal.write(f"{file}: warning: {warning}\n")
    terminal.aside(f"{file} is a policy" + ("" if known else "; whether its pools are there only a fleet can say"))
    return exits.OK


@policy.command(name="set")
async def set_(  # noqa: D417  (groups of options say it themselves)
    file: Path,
    /,
    *,
    expected_revision: int | None = None,
    author: str | None = None,
    force: Force = False,
    where: Where = NO_WHERE,
) -> int:
    """
    Put a policy in force: every orchestrator follows it within a second. Prints its revision.

    Parameters
    ----------
    file
        The policy (TOML).
    expected_revision
        Only if this one is in force; 0 for none.
    author
        For the history; your user name unless given.
    force
        Also where it leaves a capability that is served now without a live route.
    """
    text = read_policy(file)
    async with where.fleet() as fleet:
        done = await fleet.policy.set(text, expected_revision=expected_revision, author=_author(author), force=force)
    return _changed(done, str(file), where)


@policy.command
async def history(*, where: Where = NO_WHERE) -> int:
    """List the versions that the fleet still has, newest first."""
    async with where.fleet() as fleet:
        versions = await fleet.policy.history()
    if where.json:
        for version in versions:
            terminal.json_line(msgspec.json.encode(version))
    elif versions:
        rows = [(str(each.revision), moment(each.at_unix_ms), each.author, _state(each)) for each in versions]
        table(("revision", "at", "author", ""), rows)
    else:
        terminal.aside("there was no policy yet")
    return exits.OK


def _state(version: PolicyVersion) -> str:
    if version.unset:
        return "unset: none in force from then on"
    return "in force" if version.in_force else ""


@policy.command
async def rollback(  # noqa: D417  (groups of options say it themselves)
    revision: int | None = None,
    /,
    *,
    expected_revision: int | None = None,
    author: str | None = None,
    force: Force = False,
    where: Where = NO_WHERE,
) -> int:
    """
    Put an older version in force again, under a new revision, which is printed (0 for none).

    Parameters
    ----------
    revision
        Which one. Unless given: the last other one that leaves every capability a live route; none, where the policy in
        force was the first.
    expected_revision
        Only if this one is in force.
    author
        For the history; your user name unless given.
    force
        Also where it leaves a capability that is served now without a live route.
    """
    async with where.fleet() as fleet:
        done = await fleet.policy.rollback(
            revision, expected_revision=expected_revision, author=_author(author), force=force
        )
    return _changed(done, "policy", where)


@policy.command
async def unset(  # noqa: D417  (groups of options say it themselves)
    *, expected_revision: int | None = None, author: str | None = None, where: Where = NO_WHERE
) -> int:
    """
    Have no policy in force: any live pool serves, local first, the cloud where the data may go. The history stays.

    Parameters
    ----------
    expected_revision
        Only if this one is in force.
    author
        For the history; your user name unless given.
    """
    async with where.fleet() as fleet:
        done = await fleet.policy.unset(expected_revision=expected_revision, author=_author(author))
    return _changed(done, "policy", where)


def _changed(done: PolicyReply, source: str, where: Where) -> int:
    if where.json:
        terminal.json_line(msgspec.json.encode(done))
        return exits.OK
    terminal.write(f"{done.revision}\n")
    if not done.revision:
        terminal.aside(NONE_IN_FORCE)
    for warning in done.warnings:
        terminal.aside(f"{source}: warning: {warning}")
    return exits.OK


def _without_fleet(text: str) -> list[str]:
    """The warnings that no fleet is needed for: every pool and capability counts as known."""
    found = parse_policy(text)
    entries = [*found.capabilities.values(), *([found.default] if found.default is not None else [])]
    pools = {route.pool for entry in entries for route in entry.routes or ()}
    return warnings(found, pools, {*found.capabilities, *found.declassify})


def _author(given: str | None) -> str:
    if given is not None:
        return given
    with suppress(OSError, KeyError, ImportError):
        return getpass.getuser()
    return ""


def _about(found: PolicyReply) -> str:
    parts = (f"revision {found.revision}", moment(found.at_unix_ms) if found.at_unix_ms else "", found.author)
    return " · ".join(part for part in parts if part)
