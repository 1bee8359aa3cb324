"""`flotilla blackboard`: values that the fleet and its callers share."""

import json
import sys
from contextlib import aclosing
from typing import Annotated, Any, Final

import msgspec
from cyclopts import App, Parameter

from flotilla.cli.console import exits, terminal
from flotilla.cli.console.arguments import NO_WHERE, Where
from flotilla.cli.console.examples import examples_of
from flotilla.cli.console.readable import moment
from flotilla.cli.console.tables import table
from flotilla.client.blackboard import Entry

blackboard: Final = App(name="blackboard", help_format="plaintext", help_epilogue=examples_of("blackboard"))

STDIN: Final = "-"
VALUE = Annotated[str, Parameter(allow_leading_hyphen=True)]
"""JSON, or else text; - reads it from standard input."""


@blackboard.command
async def get(key: str, /, *, where: Where = NO_WHERE) -> int:  # noqa: D417  (groups of options say it themselves)
    """
    Print the value of a key. Exits with 1 when it has none.

    Parameters
    ----------
    key
        Words with dots between.
    """
    async with where.fleet() as fleet:
        entry = await fleet.blackboard.get(key)
    if entry is None:
        if where.json:
            error = {"kind": "not_found", "message": f"{key} has no value"}
            terminal.json_line(json.dumps({"error": error}).encode())
        else:
            terminal.aside(f"{key} has no value")
        return exits.FAILED
    if where.json:
        terminal.json_line(msgspec.json.encode(entry))
    else:
        terminal.write(_text(entry.value) + "\n")
        terminal.aside(_about(entry))
    return exits.OK


@blackboard.command(name="set")
async def set_(  # noqa: D417  (groups of options say it themselves)
    key: str, value: VALUE, /, *, ttl_s: int | None = None, author: str = "", where: Where = NO_WHERE
) -> int:
    """
    Write a value whatever was there; prints its revision.

    Parameters
    ----------
    key
        Words with dots between.
    value
        JSON, or else text; - reads it from standard input.
    ttl_s
        Seconds after which it goes by itself.
    author
        Who writes.
    """
    async with where.fleet() as fleet:
        entry = await fleet.blackboard.set(key, _value(value), ttl_s=ttl_s, author=author)
    return _written(entry, where)


@blackboard.command
async def update(  # noqa: D417  (groups of options say it themselves)
    key: str, value: VALUE, /, *, revision: int, ttl_s: int | None = None, author: str = "", where: Where = NO_WHERE
) -> int:
    """
    Write a value only if nobody wrote since; prints its revision. Exits with 1 when somebody did.

    Parameters
    ----------
    key
        Words with dots between.
    value
        JSON, or else text; - reads it from standard input.
    revision
        That must still be the newest; 0 for a key without a value.
    ttl_s
        Seconds after which it goes by itself.
    author
        Who writes.
    """
    async with where.fleet() as fleet:
        entry = await fleet.blackboard.update(key, _value(value), revision=revision, ttl_s=ttl_s, author=author)
    return _written(entry, where)


@blackboard.command
async def delete(key: str, /, *, revision: int | None = None, where: Where = NO_WHERE) -> int:  # noqa: D417  (groups of options say it themselves)
    """
    Delete a key; its history stays.

    Parameters
    ----------
    key
        Words with dots between.
    revision
        Only if this is still its newest.
    """
    async with where.fleet() as fleet:
        return _written(await fleet.blackboard.delete(key, revision=revision), where)


@blackboard.command(name="list")
async def list_(pattern: str = ">", /, *, where: Where = NO_WHERE) -> int:  # noqa: D417  (groups of options say it themselves)
    """
    List the keys that match, with their values.

    Parameters
    ----------
    pattern
        * stands for one word, > for the rest.
    """
    async with where.fleet() as fleet:
        entries = await fleet.blackboard.list(pattern)
    if not entries and not where.json:
        terminal.aside(f"nothing stands under {pattern}")
    return _entries(entries, where)


@blackboard.command
async def history(key: str, /, *, where: Where = NO_WHERE) -> int:  # noqa: D417  (groups of options say it themselves)
    """
    List the values of a key that the fleet still has, oldest first.

    Parameters
    ----------
    key
        Words with dots between.
    """
    async with where.fleet() as fleet:
        return _entries(await fleet.blackboard.history(key), where)


@blackboard.command
async def watch(pattern: str = ">", /, *, after: int | None = None, where: Where = NO_WHERE) -> int:  # noqa: D417  (groups of options say it themselves)
    """
    Print the values that match, then each change, until Ctrl-C.

    Parameters
    ----------
    pattern
        * stands for one word, > for the rest.
    after
        Only what was written after this revision.
    """
    async with where.fleet() as fleet, aclosing(fleet.blackboard.watch(pattern, after=after)) as entries:
        async for entry in entries:
            if where.json:
                terminal.json_line(msgspec.json.encode(entry))
            else:
                value = "(gone)" if entry.deleted else _text(entry.value)
                terminal.write(f"{entry.key}\t{entry.revision}\t{entry.author}\t{' '.join(value.split())}\n")
    return exits.OK


def _entries(entries: list[Entry], where: Where) -> int:
    if where.json:
        for entry in entries:
            terminal.json_line(msgspec.json.encode(entry))
    elif entries:
        rows = [
            (
                entry.key,
                str(entry.revision),
                moment(entry.at_unix_ms) if entry.at_unix_ms else "",
                entry.author,
                "(gone)" if entry.deleted else _text(entry.value),
            )
            for entry in entries
        ]
        table(("key", "revision", "at", "author", "value"), rows)
    return exits.OK


def _written(entry: Entry, where: Where) -> int:
    if where.json:
        terminal.json_line(msgspec.json.encode(entry))
    else:
        terminal.write(f"{entry.revision}\n")
    return exits.OK


def _value(given: str) -> Any:
    text = sys.stdin.read() if given == STDIN else given
    try:
        return json.loads(text)
    except ValueError:
        return text


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _about(entry: Entry) -> str:
    expires = f"until {moment(entry.expires_unix_ms)}" if entry.expires_unix_ms else ""
    written = moment(entry.at_unix_ms) if entry.at_unix_ms else ""
    return " · ".join(part for part in (f"revision {entry.revision}", written, entry.author, expires) if part)
