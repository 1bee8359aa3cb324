"""How the command ends: an exit code, and one or two lines that say what to do next."""

import difflib
import json
from collections.abc import Collection
from typing import Any, Final, cast

import msgspec

from flotilla.cli.console import hints, terminal
from flotilla.client.errors import (
    CredentialsUnusableError,
    NoFleetError,
    NotAllowedError,
    TaskFailedError,
    TaskIdTakenError,
    UnconfirmedError,
)
from flotilla.contracts.errors import BadRequestError, FlotillaError, PolicyError, TaskError
from flotilla.contracts.failures import ErrorKind

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
NO_FLEET: Final = 3
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141


class UsageError(FlotillaError):
    """The command line asks for something that makes no sense; one line."""


def report(error: FlotillaError, *, as_json: bool, command: str = "") -> int:
    """
    Tell of an error that a command ended with; gives the exit code.

    On standard error for people. On standard output for programs: the result of a task that failed, else an `error`.
    """
    if as_json and isinstance(error, TaskFailedError):
        terminal.json_line(msgspec.json.encode(error.answer.result))
    elif as_json:
        terminal.json_line(json.dumps({"error": _body(error)}, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    else:
        terminal.error(explain(error, command))
    return code_of(error)


def code_of(error: FlotillaError) -> int:
    """The exit code that an error ends with."""
    # A BadRequestError of this process was found before anything was sent; one from the fleet is a plain TaskError.
    if isinstance(error, UsageError | BadRequestError | CredentialsUnusableError | PolicyError):
        return USAGE
    return NO_FLEET if isinstance(error, NoFleetError) else FAILED


def explain(error: FlotillaError, command: str = "") -> list[str]:
    """What went wrong, what was tried, and what to do next after this command; a line each."""
    if isinstance(error, UsageError):
        return [f"flotilla: {error}"]
    if isinstance(error, PolicyError):
        return [f"flotilla: {fault}" for fault in error.faults]
    if isinstance(error, NoFleetError | CredentialsUnusableError):
        return [f"flotilla: {error}", f"  {hints.way_in(error)}"]
    lines = [f"flotilla: {error}"]
    if isinstance(error, UnconfirmedError):
        lines.append(f"  {hints.NO_ROOM}")
    if isinstance(error, TaskFailedError):
        lines += [
            f"  {attempt.pool}/{attempt.model}: {attempt.outcome} after {attempt.latency_ms:,.0f} ms"
            + (f": {attempt.message}" if attempt.message else "")
            for attempt in error.answer.attempts
        ]
    if isinstance(error, TaskError) and (meant := _meant(error)):
        lines.append(f"  did you mean {meant}?")
    if isinstance(error, TaskError) and not isinstance(error, TaskIdTakenError):
        lines += [f"  {hint}" for hint in hints.of_task(error)]
    if isinstance(error, TaskError) and error.kind is ErrorKind.NOT_FOUND and command in hints.NOT_FOUND:
        lines.append(f"  {hints.NOT_FOUND[command]}")
    if isinstance(error, TaskError) and error.kind is ErrorKind.NO_ROUTE and error.details.get("policy_revision"):
        lines.append(f"  {hints.BY_POLICY}")
    return lines


def close_to(name: str, known: Collection[str]) -> str:
    """The one of some names that was probably meant; empty where none is close."""
    return next(iter(difflib.get_close_matches(name, known, n=1)), "")


def _meant(error: TaskError) -> str:
    """The capability that was probably meant, of those that the fleet knows."""
    if error.kind is not ErrorKind.UNKNOWN_CAPABILITY:
        return ""
    known: Any = error.details.get("known")
    names = [name for name in cast("list[Any]", known) if isinstance(name, str)] if isinstance(known, list) else []
    return close_to(str(error.details.get("capability", "")), names)


def _body(error: FlotillaError) -> dict[str, Any]:
    if isinstance(error, TaskError):
        body = error.body
        return {
            "kind": body.kind.value,
            "message": body.message,
            "retryable": body.retryable,
            "details": body.details,
        }
    if isinstance(error, PolicyError):
        return {"kind": "usage", "message": str(error), "retryable": False, "details": {"faults": error.faults}}
    if isinstance(error, NotAllowedError):
        details = {"subject": error.subject}
        return {"kind": ErrorKind.NOT_PERMITTED.value, "message": str(error), "retryable": False, "details": details}
    kind = {USAGE: "usage", NO_FLEET: "no_fleet"}.get(code_of(error), "failed")
    return {"kind": kind, "message": str(error), "retryable": kind == "no_fleet", "details": {}}
