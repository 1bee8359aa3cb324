"""How the command ends: an exit code, and one or two lines that say what to do next."""

import difflib
import json
from collections.abc import Collection
from contextlib import suppress
from typing import Any, Final, cast

import msgspec

from flotilla.cli.console import terminal
from flotilla.client.errors import (
    CertificateNotTrustedError,
    CredentialsRefusedError,
    CredentialsUnusableError,
    NoFleetError,
    NoOrchestratorError,
    NotAllowedError,
    TaskFailedError,
    TaskIdTakenError,
)
from flotilla.contracts.errors import BadRequestError, FlotillaError, PolicyError, TaskError
from flotilla.contracts.failures import ErrorKind, FailureKind
from flotilla.contracts.providers import OLLAMA_MODELS

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
NO_FLEET: Final = 3
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141

_HINTS: Final = {
    ErrorKind.UNKNOWN_CAPABILITY: "`flotilla status` shows what the live pools can do",
    ErrorKind.NO_ROUTE: "`flotilla status` shows which pools are live and what they can do",
    ErrorKind.NO_CAPACITY: "try again, or let it wait its turn with `flotilla submit`",
    ErrorKind.BACKLOG_FULL: "try again later; `flotilla status` shows the backlog",
    ErrorKind.DEADLINE_EXCEEDED: "give it longer with --deadline-s",
    ErrorKind.TOO_LARGE: "split the document",
    ErrorKind.NOT_PERMITTED: "ask whoever runs the fleet, or give other credentials with --creds",
    ErrorKind.APPROVAL_REQUIRED: "an approver signs the input with `flotilla approvals sign`; give the grant with --approval",
    ErrorKind.APPROVAL_DENIED: "nothing was sent; `flotilla audit` says who denied it, with an approver's credentials",
    ErrorKind.APPROVAL_EXPIRED: "nothing was sent; submit it again, and have an approver decide in time",
    ErrorKind.PROVIDER_FAILED: "every route was tried; try again later",
    ErrorKind.CONFLICT: "look at what it is now, and apply the change to that",
}

_BY_OUTCOME: Final = {
    FailureKind.AUTH: "set the key of that pool's provider again; `flotilla doctor` tries keys",
    FailureKind.UNKNOWN_MODEL: f"its server does not have it: `{OLLAMA_MODELS.pull_command} MODEL`, or FLOTILLA_MODELS",
    FailureKind.INVALID_OUTPUT: "a larger model may do it: `flotilla ask --route POOL/MODEL`, or the policy",
    FailureKind.REFUSED: "the model or its provider declined; another route may take it: --route POOL/MODEL",
}
"""Of a task whose every route failed: what mends that which waiting does not; by what the last attempt failed of."""

_IN_A_STEP: Final = {
    ErrorKind.APPROVAL_REQUIRED: "submit it with `flotilla submit`: its step waits until somebody has approved it"
}
"""Where a step of a pipeline failed of it."""

_BY_POLICY: Final = (
    "`flotilla policy get` shows the policy; `flotilla policy rollback` goes back to the last good one, "
    "`flotilla policy unset` to none"
)


_MINE: Final = "`flotilla tasks` lists what was submitted from here lately"
_NOT_FOUND: Final = {
    "approvals": "`flotilla approvals list --all` shows those that are kept",
    "cancel": _MINE,
    "dead": "`flotilla dead list` shows those that are kept",
    "experiment": "`flotilla policy get` shows which capabilities are split, and between which routes",
    "policy": "`flotilla policy history` lists the revisions that are kept",
    "result": _MINE,
    "status": _MINE,
}
"""Where what was not found could be seen, by the command."""

NO_ORCHESTRATOR: Final = (
    "the terminal of `flotilla up` and the folder logs beside its credentials say why; "
    "in a cluster `kubectl -n flotilla get pods`"
)
_OTHER_CREDENTIALS: Final = "name those of another role with --creds, or in FLOTILLA_NATS_CREDS"
_APPROVER: Final = "name an approver's with --creds: `approver.<scope>.nk` in the folder credentials of `flotilla up`"
_CREDENTIALS: Final = {"approvals": _APPROVER, "decide": _APPROVER}
"""Whose credentials may ask, by the last word of the subject."""


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
    if isinstance(error, NoFleetError):
        return [f"flotilla: {error}", f"  {_way_in(error)}"]
    lines = [f"flotilla: {error}"]
    if isinstance(error, TaskFailedError):
        lines += [
            f"  {attempt.pool}/{attempt.model}: {attempt.outcome} after {attempt.latency_ms:,.0f} ms"
            + (f": {attempt.message}" if attempt.message else "")
            for attempt in error.answer.attempts
        ]
    if isinstance(error, TaskError) and (meant := _meant(error)):
        lines.append(f"  did you mean {meant}?")
    if isinstance(error, TaskError) and not isinstance(error, TaskIdTakenError):
        lines += [f"  {hint}" for hint in _by_outcome(error) or _hints(error)]
    if isinstance(error, TaskError) and error.kind is ErrorKind.NOT_FOUND and command in _NOT_FOUND:
        lines.append(f"  {_NOT_FOUND[command]}")
    if isinstance(error, TaskError) and error.kind is ErrorKind.NO_ROUTE and error.details.get("policy_revision"):
        lines.append(f"  {_BY_POLICY}")
    return lines


def _way_in(error: NoFleetError) -> str:
    if isinstance(error, CredentialsRefusedError):
        return "name a file with --creds, or in FLOTILLA_NATS_CREDS"
    if isinstance(error, NotAllowedError):
        return _CREDENTIALS.get(error.subject.rpartition(".")[2], _OTHER_CREDENTIALS)
    if isinstance(error, CertificateNotTrustedError):
        return "name the CA's certificate with --tls-ca, or in FLOTILLA_NATS_TLS_CA"
    if isinstance(error, NoOrchestratorError):
        return NO_ORCHESTRATOR
    return "start one with `flotilla up`, or name another with --url"


def _by_outcome(error: TaskError) -> list[str]:
    """What to do about what the last attempt failed of, where trying again would be no use."""
    if error.kind is not ErrorKind.PROVIDER_FAILED or not isinstance(error, TaskFailedError):
        return []
    outcome = next((attempt.outcome for attempt in reversed(error.answer.attempts)), "")
    return [hint for kind, hint in _BY_OUTCOME.items() if kind.value == outcome]


def _hints(error: TaskError) -> list[str]:
    """What to do next; of a run of a pipeline, about what its step failed of."""
    if error.kind is not ErrorKind.STEP_FAILED:
        return [_HINTS[error.kind]] if error.kind in _HINTS else []
    with suppress(ValueError):
        inner = ErrorKind(error.details.get("kind"))
        found = {**_HINTS, **_IN_A_STEP}.get(inner)
        # A durable run is among the dead.
        again = isinstance(error, TaskFailedError) and isinstance(error.answer.result.input_sha256, str)
        hints = [found] if found else []
        return [*hints, "`flotilla dead retry` goes on from this step"] if again else hints
    return []


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
